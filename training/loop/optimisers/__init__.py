"""Optimisers that torch lacks, with all state in tensors so that checkpoints can store it."""
