"""Corpora: read files to documents, clean, de-duplicate, split and check training text.

No network and no torch, except `conversation_checks`.
"""
