"""Check names of kernels (models), and of the sources of their training text.

A kernel's name is also the name of a folder: a valid name cannot lead out of the artifacts folder.
"""

import re

from constellation.errors import InvalidRequest

SOURCE_MAX = 1024
"""Most characters of a source's name."""

KERNEL_NAMES = "1 to 64 characters of a-z, 0-9, '.', '_', '-', the first a letter or digit"
"""Description of valid names of kernels, for error messages."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_kernel_name(name: str) -> bool:
    """Return whether `name` matches `KERNEL_NAMES`, so that it is safe as a folder's name."""
    return _NAME.fullmatch(name) is not None


def check_kernel_name(field: str, name: str) -> str:
    """Return the name in a request's field; raise an error unless it can name a kernel.

    Raises:
        InvalidRequest: The name is not 1 to 64 characters of a-z, 0-9, '.', '_' and '-', the first
            a letter or digit.
    """
    if not is_kernel_name(name):
        raise InvalidRequest(field, name, KERNEL_NAMES)
    return name


def check_source_name(field: str, name: str) -> str:
    """Return `name`; raise an error unless it can be the name of a source.

    Raises:
        InvalidRequest: The name is empty or has more than 1024 characters.
    """
    if not 1 <= len(name) <= SOURCE_MAX:
        raise InvalidRequest(field, name, f"1 to {SOURCE_MAX} characters")
    return name
