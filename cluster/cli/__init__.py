"""The command line, one file per group of commands. Entry point: `constellation`."""
