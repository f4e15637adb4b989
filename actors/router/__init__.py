"""A router's process: listeners for clients, the choice of kernels, and the dispatch to them."""
