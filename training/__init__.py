"""Train kernels: the loop that knows no Ray, the run around it, and the shell for Ray Train."""
