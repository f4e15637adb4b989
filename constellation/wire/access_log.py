"""The access log: one JSON line a request, both doors alike, without what was asked or answered.

A handler's facts are noted where they are known (`note_route`, `note_finish`) and find their line
by context. Lines are written in batches, so that a request pays for one `json.dumps`.
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
"""A file that has grown beyond is put aside as the only older one, NAME.1."""


class AccessLog:
    """Appends lines to a file that is kept below `file_bytes_max`, and one older file."""

    def __init__(
        self,
        path: Path,
        *,
        prompts: bool = False,
        file_bytes_max: int = FILE_BYTES_MAX,
        on_lost: Callable[[], object] = lambda: None,
    ) -> None:
        """Name the file; nothing is opened before the first line.

        Args:
            path: The file.
            prompts: Write down what was asked, too.
            file_bytes_max: Size in bytes at which a new file is begun.
            on_lost: Called when lines could not be written.
        """
        self.prompts = prompts
        self._path = path
        self._bytes_max = file_bytes_max
        self._on_lost = on_lost
        self._lines: list[str] = []
        self._num_characters = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, line: dict[str, Any]) -> None:
        """Add a line; it reaches the file within half a second. Needs a running event loop."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        self._lines.append(text)
        self._num_characters += len(text)
        if self._num_characters >= _BATCH_BYTES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self.flush)

    def flush(self) -> None:
        """Write what has been added so far; what cannot be written is lost, which is logged."""
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
        except OSError as error:  # a full disk is no reason to refuse anybody
            self._on_lost()
            facts = {"path": str(self._path), "lines": len(lines), "why": error.strerror}
            logger.warning("access log lost", extra=facts)


@dataclass(slots=True)
class Entry:
    """One request on its way to a line. Use with `with`; without a log it does nothing."""

    log: AccessLog | None
    door: str
    """"grpc" or "http"."""
    method: str
    status: str | int = "CANCELLED"
    """How the request ended; what is never ended was left by its caller."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else is known: kernel, tokens, error."""
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
    """Say whether the request that is being handled will have a line."""
    return _current.get() is not None


def note(**facts: Any) -> None:
    """Add facts to the line of the request that is being handled."""
    entry = _current.get()
    if entry is not None:
        entry.facts |= facts


def note_prompt(text: str) -> None:
    """Add what was asked, when the log is to have it."""
    entry = _current.get()
    if entry is not None and entry.log is not None and entry.log.prompts:
        entry.facts["prompt"] = text


def note_route(route: Route) -> None:
    """Add which kernel answers, and why."""
    note(kernel=route.kernel, reason=route.reason)


def note_finish(finish: Finish) -> None:
    """Add how many tokens were read and written."""
    note(prompt_tokens=finish.num_prompt_tokens, tokens=finish.num_tokens)
