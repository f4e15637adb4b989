"""What may name a kernel, and a source of its text.

A kernel's name is also that of a folder: it never leads out of the artifacts.
"""

import re

from constellation.errors import InvalidRequest

SOURCE_MAX = 1024
"""Characters of a source's name."""

KERNEL_NAMES = "1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit"
"""What a kernel may be named, in words."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_kernel_name(name: str) -> bool:
    """Return whether `name` is one of `KERNEL_NAMES`: as a folder it stays where it is put."""
    return _NAME.fullmatch(name) is not None


def check_kernel_name(field: str, name: str) -> str:
    """Return `name`, or refuse one that cannot name a kernel.

    Args:
        field: What the name stands for, for the message.
        name: What was given.

    Raises:
        InvalidRequest: It is not 1 to 64 characters of a-z, 0-9, '.', '_' and '-', the first a
            letter or digit.
    """
    if not is_kernel_name(name):
        raise InvalidRequest(field, name, KERNEL_NAMES)
    return name


def check_source_name(field: str, name: str) -> str:
    """Return `name`, or refuse one that no source has; it is looked up, never opened.

    Raises:
        InvalidRequest: It is empty or has more than 1024 characters.
    """
    if not 1 <= len(name) <= SOURCE_MAX:
        raise InvalidRequest(field, name, f"1 to {SOURCE_MAX} characters")
    return name
