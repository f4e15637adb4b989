"""Access log: one JSON line per gRPC or HTTP request, without texts unless prompts are enabled.

Code that handles a request adds facts by `note_route` and `note_finish`, which find the request's
line by a context variable. Lines are written in batches, so that a request costs one `json.dumps`.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from constellation.atomic_files import append_whole
from constellation.records import Finish, Route

logger = logging.getLogger(__name__)

_BATCH_BYTES = 64 * 1024
_DELAY_S = 0.5
FILE_BYTES_MAX = 64 * 2**20
"""Size in bytes at which a log file is renamed to NAME.1, replacing the older one."""


class AccessLog:
    """Appends lines to a log file of at most about `file_bytes_max`, and keeps one older file."""

    def __init__(
        self,
        path: Path,
        *,
        prompts: bool = False,
        file_bytes_max: int = FILE_BYTES_MAX,
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Store the options; the file is opened when the first line is written.

        `on_lost` is called when lines could not be written. A new file is started at
        `file_bytes_max` bytes.
        """
        self.prompts = prompts
        self._path = path
        self._bytes_max = file_bytes_max
        self._on_lost = on_lost
        self._lines: list[str] = []
        self._num_characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: dict[str, Any]) -> None:
        """Add a line, which is written within half a second; needs a running event loop."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        self._lines.append(text)
        self._num_characters += len(text)
        if self._num_characters >= _BATCH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self.flush)

    def flush(self) -> None:
        """Write all added lines; lines that cannot be written are lost, which is logged."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines, self._num_characters = self._lines, [], 0
        if not lines:
            return
        try:
            size = append_whole(self._path, "".join(lines).encode("ascii"))
            if size >= self._bytes_max:
                self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        except OSError as error:  # a full disk must not make requests fail
            self._on_lost()
            facts = {"path": str(self._path), "lines": len(lines), "why": error.strerror}
            logger.warning("access log lines lost", extra=facts)


@dataclass(slots=True)
class Entry:
    """Log line of one request, written when the with block ends; does nothing without a log."""

    log: AccessLog | None
    door: str
    """"grpc" or "http", the protocol by which the request came."""
    method: str
    status: str | int = "CANCELLED"
    """Status with which the request ended; a request that never ends was cancelled by its
    caller."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Further fields of the line: kernel, tokens, error."""
    _started_s: float = 0.0
    _token: Token["Entry | None"] | None = None

    def __enter__(self) -> Self:
        if self.log is not None:
            self._started_s = time.monotonic()
            self._token = _current.set(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.log is None or self._token is None:
            return
        _current.reset(self._token)
        self.log.write(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "door": self.door,
                "method": self.method,
                "status": self.status,
                "seconds": round(time.monotonic() - self._started_s, 6),
                **self.facts,
            }
        )


_current: ContextVar[Entry | None] = ContextVar("access_entry", default=None)


def wanted() -> bool:
    """Return whether the current request has a log line."""
    return _current.get() is not None


def note(**facts: Any) -> None:
    """Add fields to the log line of the current request."""
    entry = _current.get()
    if entry is not None:
        entry.facts |= facts


def note_prompt(text: str) -> None:
    """Add the prompt to the line of the current request, if prompts are logged."""
    entry = _current.get()
    if entry is not None and entry.log is not None and entry.log.prompts:
        entry.facts["prompt"] = text


def note_route(route: Route) -> None:
    """Add the kernel that answers, and the reason, to the line of the current request."""
    note(kernel=route.kernel, reason=route.reason)


def note_finish(finish: Finish) -> None:
    """Add the numbers of tokens read and written to the line of the current request."""
    note(prompt_tokens=finish.num_prompt_tokens, tokens=finish.num_tokens)
