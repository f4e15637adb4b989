"""What may name a kernel, and a source of its text.

A kernel's name is also that of a folder: it never leads out of the artifacts.
"""

import re

from constellation.errors import InvalidRequest

SOURCE_MAX = 1024
"""Characters of a source's name."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_kernel_name(field: str, name: str) -> str:
    """Return `name`, or refuse one that cannot name a kernel.

    Args:
        field: What the name stands for, for the message.
        name: What was given.

    Raises:
        InvalidRequest: It is not 1 to 64 characters of a-z, 0-9, '.', '_' and '-', the first a
            letter or digit.
    """
    if not _NAME.fullmatch(name):
        allowed = "1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit"
        raise InvalidRequest(field, name, allowed)
    return name


def check_source_name(field: str, name: str) -> str:
    """Return `name`, or refuse one that no source has; it is looked up, never opened.

    Raises:
        InvalidRequest: It is empty or has more than 1024 characters.
    """
    if not 1 <= len(name) <= SOURCE_MAX:
        raise InvalidRequest(field, name, f"1 to {SOURCE_MAX} characters")
    return name
