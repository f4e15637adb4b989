"""Files of a kernel on disk: checkpoints, memory-mapped weights, `transformers` folders."""
