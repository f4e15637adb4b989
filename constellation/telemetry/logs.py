"""Logging set-up: one JSON object per line, constant phrases with facts as fields."""

import json
import logging
from pathlib import Path

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's time, level, logger, phrase, fields and traceback."""
        content: dict[str, object] = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        content |= {
            name: value
            for name, value in record.__dict__.items()
            # Libraries mark records for themselves, Ray with a time of its own.
            if name not in _STANDARD and not name.startswith("_")
        }
        if record.exc_info:
            content["traceback"] = self.formatException(record.exc_info)
        return json.dumps(content, default=str)


def set_up_logging(path: Path | None, *, level: int = logging.INFO) -> None:
    """Send our packages' logs to `path` (append), or to stderr when it is None."""
    handler: logging.Handler
    handler = logging.StreamHandler() if path is None else logging.FileHandler(path)
    handler.setFormatter(JsonFormatter())
    for name in ("constellation", "actors", "training", "cluster"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level)
        logger.propagate = False
