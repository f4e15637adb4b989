"""How our processes run: modules of ours as processes of their own, and what they write."""

import os
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module by this Python.

    With -P the working directory is not searched for modules: people keep files such as
    `secrets.py` or `queue.py` where they work, and whoever can write there could have code run.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def keep_others_from_writing() -> None:
    """Have nothing that this process and its children write be open to other users' writing."""
    os.umask(os.umask(0o022) | 0o022)
