"""Training: the Ray-free loop, and the shell that runs it under Ray Train."""
