"""Corpora: reading, preparing and checking text. No network, no torch."""
