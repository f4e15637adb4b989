"""A connection of uvicorn's, with the limits that uvicorn leaves to a proxy in front of it.

uvicorn waits without limit for the head of a first request and for a reader of an answer, and takes
a head of any length. Here each of them has a limit, a caller that goes away cancels the work on its
request, and broken HTTP is answered with an error object as everything else.
"""

import asyncio
import logging
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from constellation.wire.http.error_replies import LINE_BYTES_MAX, Problem, http_problem
from constellation.wire.http.responses import refusal_bytes

HEAD_BYTES_MAX = 64 * 1024
"""Longest head of a request, all lines together."""
PIPELINED_MAX = 16
"""Requests of one connection that may wait for the one before."""

_IDLE_S = 30.0
"""Seconds a connection may be open without sending a whole request's head."""
_LINGER_S = 1.0
"""Seconds a caller may take to send what is refused, and to read that it is."""
_silent = logging.getLogger(f"{__name__}.uvicorn")
_silent.disabled = True  # what callers do wrong is answered, and has its line in the access log


class Connection(HttpToolsProtocol):
    """One connection of a caller; a request finds its own under "connection" in its state."""

    def __init__(
        self,
        config: uvicorn.Config,
        state: ServerState,
        *,
        stall_s: float,
        refusal: Problem | None = None,
    ) -> None:
        """Take the limits.

        Args:
            config: The application, and uvicorn's own settings.
            state: Uvicorn's list of connections and tasks.
            stall_s: Seconds a reader may take nothing.
            refusal: The answer to whatever is sent, for a connection beyond the limit.
        """
        super().__init__(config, state, {"connection": self})
        self.logger = _silent
        self._refusal = refusal
        self.work: asyncio.Task[Any] | None = None
        """What works on the request under way; cancelled when the caller goes away."""
        self.lost = asyncio.Event()
        """Set when the connection is closed."""
        self._stall_s = stall_s
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._head_bytes: int | None = 0
        """Bytes since a request's head began; None while its body is awaited."""

    def abort(self) -> None:
        """Close the connection at once: `close` would wait for a reader who takes nothing."""
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        if self._refusal is not None:
            self.connections.discard(self)
        self._await_head(_IDLE_S if self._refusal is None else _LINGER_S)

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the work for a caller that is gone."""
        super().connection_lost(error)
        self.lost.set()
        for timer in (self._head_timer, self._reader_timer):
            if timer is not None:
                timer.cancel()
        if self.work is not None:
            self.work.cancel()

    # --- heads ------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came, as long as the head that it belongs to is not too long."""
        if self._refusal is not None:
            self._close_with(self._refusal)
            return
        self._unset_keepalive_if_required()
        if self._head_bytes is not None:
            self._head_bytes += len(data)
        self._parse(data)
        if self._head_bytes is not None and self._head_bytes > HEAD_BYTES_MAX:
            self._close_with(http_problem(431))

    def _parse(self, data: bytes) -> None:
        """Parse what came; an upgrade is not done, and its request is parsed as any other."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The parser has left out the body, which an upgrade does not have.
            head = [self.parser.get_method() + b" " + self.url + b" HTTP/1.1"]
            head += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
            self._parse(b"\r\n".join(head) + b"\r\n\r\n" + data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._close_with(http_problem(400))

    def on_headers_complete(self) -> None:
        """Begin with a request."""
        lines = [len(self.url), *(len(name) + len(value) for name, value in self.headers)]
        if max(lines) > LINE_BYTES_MAX:
            self._close_with(http_problem(431))
        if max(lines) > LINE_BYTES_MAX or len(self.pipeline) >= PIPELINED_MAX:
            raise ValueError("ends the parsing, and with it the connection")
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise ValueError("this is no proxy")
            return
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that a body is whole; one that was refused on the way has come to its end."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._head_bytes = 0
        if self.cycle.response_complete:
            self._await_head(_IDLE_S)

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for it."""
        body_is_coming = self.cycle.more_body
        super().on_response_complete()
        if self.cycle.response_complete:  # else it is the next one already
            self._await_head(_LINGER_S if body_is_coming else _IDLE_S)

    def _await_head(self, wait_s: float) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        self._head_timer = self.loop.call_later(wait_s, self.abort)

    def _close_with(self, said: Problem) -> None:
        """Send an error, unless an answer is under way, and close the connection."""
        if self.transport.is_closing():
            return
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            self.abort()
            return
        self.transport.write(refusal_bytes(said))
        self.transport.close()
        self._await_head(_LINGER_S)

    # --- readers ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Wait for a reader that is slower than the answer."""
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        """Go on with the answer."""
        super().resume_writing()
        if self._reader_timer is not None:
            self._reader_timer.cancel()

    def _await_reader(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        self._reader_timer = self.loop.call_later(self._stall_s, self._check_reader, unsent)

    def _check_reader(self, unsent_before: int) -> None:
        if self.transport.get_write_buffer_size() < unsent_before:
            self._await_reader()
        else:
            self.abort()
