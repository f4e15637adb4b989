"""Many trainings as one run: plan, schedule by memory, budget, workers, the Ray Train shell."""
