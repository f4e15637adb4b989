"""Store the error that ended a worker in a file, from which the driver raises it again.

Ray passes on only the text of a worker's error, and restarts workers after any error. An error that
the project raises on purpose, such as for a full disk, would only occur again: a restarted worker
finds the file and ends at once.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from constellation import errors
from training.json_files import json_bytes
from training.run_files.shared_files import SHARED, RunFiles


def record_failure(path: Path, error: errors.ConstellationError, files: RunFiles = SHARED) -> None:
    """Store an error; on a disk that cannot be written the error is not stored."""
    with suppress(OSError):
        files.write(path, json_bytes(to_values(error)))


def read_failure(path: Path, files: RunFiles = SHARED) -> errors.ConstellationError | None:
    """Return the stored error, or None."""
    try:
        return from_values(json.loads(files.read(path)))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def to_values(error: errors.ConstellationError) -> dict[str, Any]:
    """Return an error as plain JSON values."""
    facts = {key: value for key, value in vars(error).items() if _is_plain(value)}
    return {"kind": type(error).__name__, "message": str(error), "facts": facts}


def from_values(values: Mapping[str, Any]) -> errors.ConstellationError:
    """Return the error of `to_values`' result."""
    kind = getattr(errors, values["kind"])
    return errors.rebuild(kind, values["message"], values["facts"])


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)
