"""Write a JSON file atomically."""

import json
from collections.abc import Mapping
from pathlib import Path

from constellation.atomic_files import write_whole


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write JSON atomically."""
    write_whole(path, json.dumps(value, indent=2, sort_keys=True).encode() + b"\n")
