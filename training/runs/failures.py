"""What made a worker give up, kept in a file: the driver raises it as it was.

Ray delivers the text of a worker's error, and starts workers anew whatever it was. An error that
the project raises on purpose, such as a full disk, would only come again: the next worker sees the
file and ends at once.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from constellation import errors
from training.json_files import write_json


def record_failure(path: Path, error: errors.ConstellationError) -> None:
    """Keep an error; on a disk where nothing can be written it is not kept."""
    with suppress(OSError):
        write_json(path, to_values(error))


def read_failure(path: Path) -> errors.ConstellationError | None:
    """Return the error that was kept, or None."""
    try:
        return from_values(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def to_values(error: errors.ConstellationError) -> dict[str, Any]:
    """Return an error as plain JSON values."""
    facts = {key: value for key, value in vars(error).items() if _is_plain(value)}
    return {"kind": type(error).__name__, "message": str(error), "facts": facts}


def from_values(values: Mapping[str, Any]) -> errors.ConstellationError:
    """Return the error that `to_values` told of."""
    kind = getattr(errors, values["kind"])
    return errors.rebuild(kind, values["message"], values["facts"])


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)
