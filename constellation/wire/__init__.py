"""Network and file formats: protobuf and msgpack messages, gRPC services, HTTP, TLS, errors."""
