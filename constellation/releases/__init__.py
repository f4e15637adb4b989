"""What is served, as immutable releases: blobs, manifests, the store, comparison and replay.

Imports nothing eagerly: listing the releases of a folder needs neither numpy nor torch.
"""
