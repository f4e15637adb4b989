"""The registry's process: which members are up, which kernels there are, and the table."""
