"""The registry's process: who is alive, which kernels there are, the table."""
