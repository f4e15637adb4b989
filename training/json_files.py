"""Write a JSON file atomically."""

import json
from collections.abc import Mapping
from pathlib import Path

from constellation.atomic_files import write_whole


def write_json(path: Path, value: Mapping[str, object]) -> None:
    """Write JSON atomically."""
    write_whole(path, json_bytes(value))


def json_bytes(value: Mapping[str, object]) -> bytes:
    """Return what `write_json` writes."""
    return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"
