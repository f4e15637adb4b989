"""Commands and file permissions of the processes that this project starts."""

import os
import sys


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with this Python in a new process.

    With -P the working directory is not searched for modules: people keep files such as
    `secrets.py` or `queue.py` where they work, and other users who can write there could run code.
    """
    return [sys.executable, "-P", "-m", module, *arguments]


def keep_others_from_writing() -> None:
    """Create files, in this process and its children, that other users cannot write to."""
    os.umask(os.umask(0o022) | 0o022)
