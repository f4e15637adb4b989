"""Pass-or-fail checks of architectures, trained kernels and runs."""
