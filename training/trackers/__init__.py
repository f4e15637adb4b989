"""Where else a run's numbers go: files for TensorBoard, an offline run of Weights & Biases."""
