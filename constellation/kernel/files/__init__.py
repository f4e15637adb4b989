"""The files of a kernel: checkpoints, weights mapped from files, folders of `transformers`."""
