"""Measure trained kernels on held-out text: bits per byte, routing, Phi and kappa."""
