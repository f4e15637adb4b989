"""Peers of Fisher-Rao routing. Euclidean and cosine forms live here and nowhere else."""
