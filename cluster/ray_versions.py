"""Which versions of Ray were tried. Knows no Ray, so that anybody may ask."""

import re
from importlib.metadata import version
from typing import Final

TRIED: Final = ">=2.60,<2.61"
"""As pip writes it; the package asks for the same."""
_FIRST, _BELOW = (2, 60), (2, 61)


def untried(found: str | None = None) -> str | None:
    """Say that the installed Ray was never tried; None when it was.

    Args:
        found: Its version; None looks it up.
    """
    found = version("ray") if found is None else found
    numbers = tuple(map(int, re.findall(r"\d+", found)[:2]))
    if _FIRST <= numbers < _BELOW:
        return None
    return (
        f"Ray {found} was never tried with this version of Constellation; the versions {TRIED} were"
    )
