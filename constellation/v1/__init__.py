"""Generated protobuf modules of package constellation.v1. Change `proto/`, then `make proto`."""
