"""How to run a module of ours as a process of its own."""

import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module by this Python.

    With -P the working directory is not searched for modules: people keep files such as
    `secrets.py` or `queue.py` where they work, and whoever can write there could have code run.
    """
    return [sys.executable, "-P", "-m", module, *arguments]
