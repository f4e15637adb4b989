"""Train many kernels as one run: plan, schedule by memory, budget, workers, Ray Train."""
