"""Logging set-up: one JSON object per line, with a constant message and facts as fields."""

import json
import logging
import sys
from contextlib import suppress
from pathlib import Path

from constellation.atomic_files import append_whole
from constellation.telemetry.process_metrics import WRITE_FAILURES

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a log record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's time, level, logger, message, fields and traceback as JSON."""
        content: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        content |= {
            name: value
            for name, value in record.__dict__.items()
            # Libraries add private fields to records, such as Ray's own time.
            if name not in _STANDARD and not name.startswith("_")
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


class AppendingHandler(logging.Handler):
    """Appends log records to a file, which is opened again for every record.

    A log file that was removed or renamed is therefore created again. A record that cannot be
    written goes to standard error and is counted; no request fails because a disk is full.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        line = self.format(record) + "\n"
        try:
            append_whole(self._path, line.encode())
        except OSError:
            WRITE_FAILURES.labels("log").inc()
            with suppress(OSError):  # standard error may be a file on the same disk
                sys.stderr.write(line)


def set_up_logging(path: Path | None, *, level: int = logging.INFO) -> None:
    """Append this project's logs to the file `path`, or write them to stderr for None."""
    handler: logging.Handler
    handler = logging.StreamHandler() if path is None else AppendingHandler(path)
    handler.setFormatter(JsonFormatter())
    # asyncio logs errors in callbacks and results that were never retrieved.
    for name in ("constellation", "actors", "training", "cluster", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(max(level, logging.WARNING) if name == "asyncio" else level)
        logger.propagate = False
