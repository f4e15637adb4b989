"""What kernels take over from others: adapters, soft targets, embeddings, averages."""
