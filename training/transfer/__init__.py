"""Use other models in training: adapters, soft targets, embeddings, averages of kernels."""
