"""Held-out figures and observables of trained kernels."""
