"""What made a worker give up, kept in a file: the driver raises it as it was.

Ray delivers the text of a worker's error, and starts workers anew whatever it was. An error that
the project raises on purpose, such as a full disk, would only come again: the next worker sees the
file and ends at once.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from constellation import errors
from training.checkpoints import write_json


def record_failure(path: Path, error: errors.ConstellationError) -> None:
    """Keep an error; on a disk where nothing can be written it is not kept."""
    facts = {key: value for key, value in vars(error).items() if _is_plain(value)}
    with suppress(OSError):
        write_json(path, {"kind": type(error).__name__, "message": str(error), "facts": facts})


def read_failure(path: Path) -> errors.ConstellationError | None:
    """Return the error that was kept, or None."""
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        kind = getattr(errors, values["kind"])
        return errors.rebuild(kind, values["message"], values["facts"])
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool | None)
