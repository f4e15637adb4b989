"""A kernel's process: models, their gRPC server, and texts written with other kernels."""
