"""Causal models of the library `transformers` as kernels: their folders, tokens and networks."""
