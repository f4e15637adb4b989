"""Writes the places of the 240 seats on the page: `.venv/bin/python -m tools.page_seats`.

    constellation.geometry.e8.coxeter_projection -> constellation/wire/http/page/seats.json

The file holds one pair [x, y] per seat, in the order of the seats, with the outermost ring at
radius 1. With `--check` nothing is written, and a stale file is an error.
"""

import json
import sys
from pathlib import Path

import numpy as np

from constellation.geometry.e8 import coxeter_projection

FILE = Path("constellation/wire/http/page/seats.json")
DIGITS = 4


def seats_json() -> str:
    """Return the content of the file."""
    places_N2 = coxeter_projection()
    scaled_N2 = places_N2 / np.linalg.norm(places_N2, axis=1).max()
    rows = [json.dumps([round(float(each), DIGITS) + 0.0 for each in row]) for row in scaled_N2]
    return "[\n" + ",\n".join(rows) + "\n]\n"


def main() -> None:
    """Write the file, or check that the file is fresh."""
    content = seats_json()
    if "--check" not in sys.argv[1:]:
        FILE.write_text(content, encoding="utf-8")
    elif not FILE.is_file() or FILE.read_text(encoding="utf-8") != content:
        sys.exit(f"{FILE} is stale: run .venv/bin/python -m tools.page_seats")


if __name__ == "__main__":
    main()
