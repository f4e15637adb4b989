"""Optimisers that torch does not have; all of their state is tensors, so checkpoints hold it."""
