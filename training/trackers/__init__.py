"""Write a run's numbers for other tools: TensorBoard files, offline Weights & Biases runs."""
