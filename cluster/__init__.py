"""Composition root: configuration in, a running constellation out; and the command line."""
