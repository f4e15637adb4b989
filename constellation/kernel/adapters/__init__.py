"""Adapters: small trained additions to a kernel whose own weights are frozen and shared."""
