"""The status of a router as a stream of server-sent events, one a second.

The listeners share one serialisation per second, and without listeners nothing is computed. The
first event of a listener holds the whole document; each later event holds the top-level parts
whose JSON changed. A listener that missed an event gets the whole document again, so that no
events are queued.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.types import Receive, Scope, Send

from constellation.errors import Overloaded
from constellation.wire.http.page_files import SECURITY_HEADERS
from constellation.wire.http.responses import encode

STREAMS_MAX: Final = 64
"""Listeners that may be connected at one time."""
PERIOD_S: Final = 1.0
"""Seconds between two events."""

Document = Mapping[str, Any]
_HEAD = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # or a proxy would gather the events
    **SECURITY_HEADERS,
}


class StatusEvents:
    """Sends the changes of one document to a bounded number of listeners."""

    def __init__(
        self,
        document: Callable[[], Document],
        *,
        streams_max: int = STREAMS_MAX,
        period_s: float = PERIOD_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the source of the document and the limits.

        Args:
            document: Returns the document now; called at most once per period.
            streams_max: Listeners that may be connected; one more is refused.
            period_s: Seconds between two events.
            clock: Seconds of a clock that never goes back.
        """
        self._document = document
        self._streams_max = streams_max
        self._period_s = period_s
        self._clock = clock
        self._closing = asyncio.Event()
        self._parts: dict[str, bytes] = {}
        self._changed = b""
        self._number = -1
        self._num_serialisations = 0
        self.num_streams = 0
        """Listeners that are connected."""

    @property
    def num_serialisations(self) -> int:
        """How often the document was serialised since the start."""
        return self._num_serialisations

    def close(self) -> None:
        """End all streams."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the listener leaves or the server stops.

        Raises:
            Overloaded: As many listeners are connected as may be.
        """
        if self.num_streams >= self._streams_max:
            raise Overloaded(
                "the event stream of the status",
                depth=self._streams_max,
                retry_after_s=10 * self._period_s,
                counted="listeners connected",
            )
        self.num_streams += 1
        try:
            await self._stream(send, has_body=scope["method"] != "HEAD")
        finally:
            self.num_streams -= 1
            if not self.num_streams:
                self._parts, self._changed = {}, b""

    async def _stream(self, send: Send, *, has_body: bool) -> None:
        headers = [(name.lower().encode(), value.encode()) for name, value in _HEAD.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        if has_body:
            await self._send_events(send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        seen = None
        while not self._closing.is_set():
            self._refresh()
            if seen != self._number:
                # A listener that is one event behind needs the changes only.
                body = self._changed if seen == self._number - 1 else _event(self._parts)
                seen = self._number
                await send({"type": "http.response.body", "body": body, "more_body": True})
            await self._wait()

    async def _wait(self) -> None:
        """Wait for the next period, or for the end."""
        now_s = self._clock()
        try:
            async with asyncio.timeout(self._period_s - now_s % self._period_s):
                await self._closing.wait()
        except TimeoutError:
            return

    def _refresh(self) -> None:
        """Serialise the document, once per period, and note the parts that changed."""
        number = int(self._clock() // self._period_s)
        if number == self._number and self._parts:
            return
        parts = {name: encode(part) for name, part in self._document().items()}
        self._num_serialisations += 1
        self._changed = _event(
            {name: part for name, part in parts.items() if self._parts.get(name) != part}
        )
        self._parts, self._number = parts, number


def _event(parts: Mapping[str, bytes]) -> bytes:
    members = (encode(name) + b":" + part for name, part in parts.items())
    return b"data: {" + b",".join(members) + b"}\n\n"
