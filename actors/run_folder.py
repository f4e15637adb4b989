"""Files in the run folder for processes that start later, written whenever the disk allows.

No process waits for these files, so a disk that is full, read-only or gone must not stop any
process: a file that cannot be written now is tried again.
"""

import json
import logging
from pathlib import Path

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.telemetry.process_metrics import WRITE_FAILURES
from constellation.wire.table_file import deployment_of, unpack_table

logger = logging.getLogger(__name__)


class KeptFiles:
    """Writes files of one process, and writes them again when they were removed.

    `keep` only notes the content of a file; `write` has to be called repeatedly.
    """

    def __init__(self) -> None:
        self._wanted: dict[Path, bytes] = {}
        self._written: dict[Path, bytes] = {}
        self._failing: dict[Path, str] = {}

    def keep(self, path: Path, content: bytes) -> None:
        """Note the content that the next `write` gives a file."""
        self._wanted[path] = content

    def write(self) -> None:
        """Write files that changed or are gone; failures are logged, counted and tried again.

        Blocks as long as the disk does. One thread at a time may call this.
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
    """Return plain values as the content of a JSON file."""
    return json.dumps(value, indent=1).encode() + b"\n"


def last_table(path: Path, deployment: str | None = None) -> Table | None:
    """Return the table that a registry published last; None when the file cannot be read.

    Args:
        path: The file.
        deployment: Id of the deployment that published the table; a table of another deployment
            counts as absent. None accepts every table.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.error("last table is not read", extra={"reason": str(error)})
        return None
    if deployment is not None and deployment_of(data) != deployment:
        logger.info("table of another deployment is ignored", extra={"path": str(path)})
        return None
    try:
        return unpack_table(data, source=path)
    except ArtifactError as error:
        logger.error("last table is not read", extra={"reason": str(error)})
        return None
