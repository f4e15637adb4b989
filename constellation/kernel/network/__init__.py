"""The network of a kernel: configuration, layers, and the cache of keys and values."""
