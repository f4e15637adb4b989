"""Generate text with kernels: batches, sampling, stop strings, scores, faster products."""
