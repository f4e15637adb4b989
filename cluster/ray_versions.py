"""The versions of Ray that were tested with this project; does not import Ray."""

import re
from importlib.metadata import version
from typing import Final

TRIED: Final = ">=2.60,<2.61"
"""Tested versions in pip's notation, the same as in the package's requirements."""
_FIRST, _BELOW = (2, 60), (2, 61)


def untried(found: str | None = None) -> str | None:
    """Return a warning when the installed Ray was never tested; None when it was.

    Args:
        found: Version of Ray; None looks up the installed one.
    """
    found = version("ray") if found is None else found
    numbers = tuple(map(int, re.findall(r"\d+", found)[:2]))
    if _FIRST <= numbers < _BELOW:
        return None
    return (
        f"Ray {found} was never tried with this version of Constellation; the versions {TRIED} were"
    )
