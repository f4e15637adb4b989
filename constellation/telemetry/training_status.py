"""Read how far a training is from `status.json`, the file that training keeps up to date.

Another process writes the file, and anybody may have changed it, so that its size and every value
are checked.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from math import isfinite
from pathlib import Path
from typing import Any, Final

from constellation.errors import ArtifactError
from constellation.records import KernelTraining, TrainingStatus

STATUS_FILE: Final = "status.json"
"""Name of the file in the artifacts folder."""
SIZE_MAX: Final = 1_048_576
"""Largest file in bytes; 240 kernels take under 200,000."""
KERNELS_MAX: Final = 256
"""Most kernels in a file."""
_WORD_MAX = 64
_STATES = ("RUNNING", "FAILED", "STOPPED", "FINISHED")
_COUNTS = ("step", "num_steps")
_FIGURES = ("bits_per_byte", "dev_bits_per_byte", "tokens_per_second", "eta_s")
_WORDS = ("phase", "guard")


def read_training(path: Path) -> TrainingStatus | None:
    """Return the state of a training; None when there is no such file.

    Raises:
        ArtifactError: The file cannot be read, is over a mebibyte, or holds something else.
    """
    if not path.exists():
        return None
    try:
        return _status(json.loads(_content(path)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise ArtifactError(
            path,
            f"is not the status of a training ({reason}); the next training writes it anew, or "
            "remove it",
        ) from error


def stopped(training: TrainingStatus) -> TrainingStatus:
    """Return a training in which no kernel runs: for a file whose writer was killed."""
    kernels = tuple(
        replace(each, state="STOPPED") if each.state in ("RUNNING", "STAGED") else each
        for each in training.kernels
    )
    return replace(training, state="STOPPED", kernels=kernels)


def _content(path: Path) -> bytes:
    if not path.is_file():  # opening a pipe would wait for ever
        raise ValueError("not a file")
    with path.open("rb") as file:
        content = file.read(SIZE_MAX + 1)
    if len(content) > SIZE_MAX:
        raise ValueError(f"over {SIZE_MAX} bytes")
    return content


def _status(content: Any) -> TrainingStatus:
    rows = content["kernels"]
    if not isinstance(rows, dict) or len(rows) > KERNELS_MAX:
        raise ValueError(f"its kernels are not a mapping of {KERNELS_MAX} at most")
    kernels = tuple(_kernel(row) for row in rows.values())
    states = {"RUNNING" if each.state == "STAGED" else each.state for each in kernels}
    if content.get("part"):  # between two kernels none may be running
        states.add("RUNNING")
    return TrainingStatus(
        state=next((state for state in _STATES if state in states), "FINISHED"),
        updated_s=datetime.fromisoformat(content["updated"]).timestamp(),
        kernels=kernels,
    )


def _kernel(row: Mapping[str, Any]) -> KernelTraining:
    if row["state"] not in (*_STATES, "STAGED"):
        raise ValueError("a kernel has an unknown state")
    found: dict[str, Any] = {name: _figure(row.get(name), whole=True) for name in _COUNTS}
    found |= {name: _figure(row.get(name)) for name in _FIGURES}
    found |= {name: None if row.get(name) is None else _word(row[name]) for name in _WORDS}
    return KernelTraining(kernel=_word(row["kernel"]), state=row["state"], **found)


def _word(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _WORD_MAX or not value.isprintable():
        raise ValueError("a name is not a short text")
    return value


def _figure(value: Any, *, whole: bool = False) -> Any:
    """Return a number >= 0; None for a missing one and for one that is not finite."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise ValueError("a figure is not a number")
    return value if isfinite(value) and value >= 0 else None
