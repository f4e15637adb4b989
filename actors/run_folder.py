"""What actors leave in the run folder for processes that start later.

Nobody waits for these files while all is well, so a disk that is full, read-only or gone must not
keep anybody from working: what cannot be written now is written when it can be.
"""

import json
import logging
from pathlib import Path

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.telemetry.metrics import WRITE_FAILURES
from constellation.wire.table_file import load_table

logger = logging.getLogger(__name__)


class KeptFiles:
    """Keeps files of one process on the disk: writes them, and again when they are gone.

    `keep` says what a file is to hold, and does no more; `write` is called again and again.
    """

    def __init__(self) -> None:
        self._wanted: dict[Path, bytes] = {}
        self._written: dict[Path, bytes] = {}
        self._failing: dict[Path, str] = {}

    def keep(self, path: Path, content: bytes) -> None:
        """Have a file hold this from the next `write` on."""
        self._wanted[path] = content

    def write(self) -> None:
        """Write what is not on the disk; what fails is logged, counted, and left for the next call.

        May block as long as the disk does; one thread at a time.
        """
        for path, content in tuple(self._wanted.items()):
            if self._written.get(path) == content and path.exists():
                continue
            try:
                write_whole(path, content)
            except OSError as error:
                self._note_failure(path, error)
            else:
                self._written[path] = content
                if self._failing.pop(path, None) is not None:
                    logger.info("file is written again", extra={"path": str(path)})

    def _note_failure(self, path: Path, error: OSError) -> None:
        WRITE_FAILURES.labels(path.stem).inc()
        why = error.strerror or str(error)
        if self._failing.get(path) != why:  # once, not twice a second
            self._failing[path] = why
            logger.error("file is not written", extra={"path": str(path), "reason": why})


def as_json(value: object) -> bytes:
    """Return plain values as what a file of JSON holds."""
    return json.dumps(value, indent=1).encode() + b"\n"


def last_table(path: Path) -> Table | None:
    """Return the table that a registry published last; None when it cannot be read."""
    if not path.exists():
        return None
    try:
        return load_table(path)
    except ArtifactError as error:
        logger.error("last table is not read", extra={"reason": str(error)})
        return None
