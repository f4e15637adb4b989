"""Releases: immutable versions of all that is served, with their store, comparison and replay.

A release lists every file of the served kernels, coordizer and routing table by its sha256. Nothing
is imported eagerly: listing the releases of a folder needs neither numpy nor torch.
"""
