"""Serve causal models of the `transformers` library as kernels: folders, tokens, networks."""
