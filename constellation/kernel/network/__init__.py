"""The network of a kernel: its configuration, its layers, and the keys and values that it keeps."""
