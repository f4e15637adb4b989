"""Records <-> protobuf and msgpack, the gRPC services, and the translation of errors."""
