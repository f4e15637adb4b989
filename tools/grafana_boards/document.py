"""Find the pictures of panels that docs/watching.md shows."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "watching.md"
PICTURE: Final = re.compile(r"dashboard “([^”]+)”, panel “([^”]+)”.*?!\[[^\]]+\]\(([^)]+)\)", re.S)
"""What the document says of a picture: dashboard, panel, file."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A panel that the document shows, and the file of its picture."""

    board: str
    panel: str
    path: Path


def pictures_of(document: Path) -> list[Picture]:
    """Return the pictures of panels that a document names."""
    found = PICTURE.findall(document.read_text(encoding="utf-8"))
    return [
        Picture(board=board, panel=" ".join(panel.split()), path=document.parent / path)
        for board, panel, path in found
    ]
