"""What may name a kernel. A name is also that of a folder: it never leads out of the artifacts."""

import re

from constellation.errors import InvalidRequest

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
