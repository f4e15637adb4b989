"""The synchronous client: makes calls, waits, and tries again as `retries` decides.

Generated from `async_client.py` by `make clients`: edit that file.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from constellation.client import requests
from constellation.client.ownership import NotCopied
from constellation.client.replies import Answer, ConstellationStatus, Reply, TextBasin, TextScore
from constellation.client.requests import AskOptions, Call, RouteOptions
from constellation.client.retries import Attempts
from constellation.client.router_endpoints import Connection, RouterConnections
from constellation.client.session import ClientOptions, open_session
from constellation.client.sync_waiting import SyncMessages, SyncWaiting
from constellation.errors import Cancelled, ConfigError, ConstellationError, ServiceUnavailable
from constellation.records import (
    Add,
    Change,
    Changed,
    Piece,
    Rebalance,
    Reload,
    Retire,
    RollBack,
    Route,
    Spawn,
    Unlearn,
)
from constellation.v1 import constellation_pb2
from constellation.wire.channel import open_channel

ResultT = TypeVar("ResultT")


class Closing(NotCopied, ABC):
    """Base of what is closed at the end of `with`."""

    @abstractmethod
    def close(self) -> None:
        """Stop what is running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Client(Closing):
    """Sends texts to a constellation; close it, or use `with`.

    Threads may share a client.

    Every call has a deadline. Failures that may pass by themselves (a router or kernel that is
    restarting, a full queue) are tried again until the deadline, but never after the first token
    of an answer. Every error is one of `constellation.errors`.

    Args:
        endpoint: host:port of a router, or of several: a list, or one text with commas. When a
            router is lost, the next router is tried, within the retries.
        options: Token, certificates, timeouts and retries; see `ClientOptions`.

    Raises:
        ConfigError: The endpoint is not host:port, the token cannot be sent, or a TLS file is
            missing or holds something else.
    """

    def __init__(self, endpoint: str | Sequence[str], **options: Unpack[ClientOptions]) -> None:
        self._session = open_session(endpoint, **options)
        tls = self._session.tls
        self._connections = RouterConnections(
            self._session.endpoints, lambda each: open_channel(each, tls)
        )
        self._waiting = SyncWaiting(self._session, self._connections)

    def ask(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Return the whole answer to `text`.

        Args:
            text: The text to continue, 1 byte to 1 MiB of UTF-8.
            timeout_s: Seconds for the whole call; None means `timeouts.request_s`.
            traceparent: The span that the call belongs to, in the form of W3C's header of that
                name; None means OpenTelemetry's current span, if the program has one.
            options: See `AskOptions`.

        Raises:
            RequestError: A subclass says what is wrong and what to do.
        """
        call = requests.ask(text, **options)
        return self._perform(call, timeout_s, self._session.timeouts.request_s, traceparent)

    def stream(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> "Stream":
        """Return the answer to `text` as an iterator over its pieces, as they are written."""
        request = requests.generate(text, **options)
        attempts = self._session.begin_request(timeout_s, traceparent)
        return Stream(partial(self._open, request, attempts), partial(self._pause, attempts))

    def route(
        self, text: str, *, timeout_s: float | None = None, **options: Unpack[RouteOptions]
    ) -> Route:
        """Return where `text` would go, and why, without asking a kernel."""
        return self._look_up(requests.route(text, **options), timeout_s)

    def basin(self, text: str, *, timeout_s: float | None = None) -> TextBasin:
        """Return the tokens of `text` and its point of the simplex."""
        return self._look_up(requests.basin(text), timeout_s)

    def score(
        self,
        text: str,
        *,
        context: str = "",
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[RouteOptions],
    ) -> TextScore:
        """Return how likely `text` is after `context` under the kernel they route to."""
        call = requests.score(text, context, **options)
        return self._perform(call, timeout_s, self._session.timeouts.request_s, traceparent)

    def status(self, *, timeout_s: float | None = None) -> ConstellationStatus:
        """Return what the kernels are doing."""
        return self._look_up(requests.status(), timeout_s)

    def change(self, change: Change, *, timeout_s: float | None = None) -> Changed:
        """Change what is served, without a dropped request; the methods below make such changes.

        A change writes a release and switches to that release. When a reply is lost, only `Reload`
        and `Rebalance` are tried again; after another change, look at `status`.

        Raises:
            GrowthRefused, ReloadRefused: The change cannot be made; the served release stays as
                it is.
        """
        call = requests.change(change)
        return self._perform(call, timeout_s, self._session.timeouts.request_s)

    def reload(self, *, timeout_s: float | None = None) -> Changed:
        """Serve what training has written since; running answers finish with the old weights.

        Raises:
            ReloadRefused: The new files do not fit the served release, which stays as it is.
        """
        return self.change(Reload(), timeout_s=timeout_s)

    def add(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Serve a kernel from the constellation's artifacts, where `constellation add` writes it.

        Raises:
            GrowthRefused: The name is taken, the table is full, or the kernel's files are damaged.
            IncompatibleKernels: The kernel was trained with another vocabulary.
        """
        return self.change(Add(name=name), timeout_s=timeout_s)

    def spawn(self, parent: str, name: str, *, timeout_s: float | None = None) -> Changed:
        """Share the queries of `parent` with a new kernel that starts with the same weights.

        Raises:
            UnknownKernel: No kernel is named `parent`.
            GrowthRefused: The name is taken, or the parent's latest queries are too few or alike.
        """
        return self.change(Spawn(parent=parent, name=name), timeout_s=timeout_s)

    def retire(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Stop serving a kernel; its running answers finish, and its files stay.

        Raises:
            UnknownKernel: No kernel has that name.
            GrowthRefused: The kernel is the only one, or shares its queries with spawned kernels.
        """
        return self.change(Retire(name=name), timeout_s=timeout_s)

    def unlearn(self, kernel: str, source: str, *, timeout_s: float | None = None) -> Changed:
        """Route as if a source of a kernel's text had never been read; the weights stay.

        Raises:
            UnknownKernel: No kernel has that name.
            GrowthRefused: The kernel has no text of that source, or no other text.
        """
        return self.change(Unlearn(kernel=kernel, source=source), timeout_s=timeout_s)

    def roll_back(self, release: int | None = None, *, timeout_s: float | None = None) -> Changed:
        """Serve an earlier release again; None means the parent of the served release.

        Raises:
            ReloadRefused: The release does not exist, or its files are damaged.
        """
        return self.change(RollBack(release=release), timeout_s=timeout_s)

    def rebalance(self, *, timeout_s: float | None = None) -> Changed:
        """Move kernels between nodes until the nodes are about equally full, by few moves.

        Every kernel is served all the time. On one machine nothing moves.
        """
        return self.change(Rebalance(), timeout_s=timeout_s)

    def healthy(self, *, timeout_s: float = 2.0) -> bool:
        """Say whether a router serves now; never raises for a constellation that is down."""
        request = health_pb2.HealthCheckRequest()
        for _ in self._session.endpoints:
            try:
                connection = self._connection()
                check = partial(connection.health.Check, request, timeout=timeout_s)
                reply = self._waiting.result(check, connection.endpoint)
                return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
            except ConfigError:
                raise
            except ConstellationError as error:
                self._connections.switch_after(error)
        return False

    def close(self) -> None:
        """Cancel what is running and close the connections."""
        if self._waiting.close():
            for channel in self._connections.channels():
                channel.close()

    def _look_up(self, call: Call[ResultT], timeout_s: float | None) -> ResultT:
        return self._perform(call, timeout_s, self._session.timeouts.lookup_s)

    def _perform(
        self,
        call: Call[ResultT],
        timeout_s: float | None,
        default_s: float,
        traceparent: str | None = None,
    ) -> ResultT:
        attempts = self._session.begin(timeout_s, default_s, traceparent)
        while True:
            try:
                connection = self._connection()
                start = partial(self._start, connection, call.method, call.request, attempts)
                return call.read(self._waiting.result(start, connection.endpoint))
            except ConstellationError as error:
                if not call.repeatable:
                    raise
                self._pause(attempts, error)

    def _connection(self) -> Connection:
        self._waiting.check()
        return self._connections.current()

    def _start(
        self, connection: Connection, method: str, request: Message, attempts: Attempts
    ) -> Any:
        remaining_s = attempts.remaining_s(self._session.now_s())
        rpc = getattr(connection.stub, method)
        return rpc(request, timeout=remaining_s, metadata=attempts.metadata)

    def _open(self, request: constellation_pb2.GenerateRequest, attempts: Attempts) -> SyncMessages:
        connection = self._connection()
        start = partial(self._start, connection, "Generate", request, attempts)
        return SyncMessages(self._waiting, start, connection.endpoint)

    def _pause(self, attempts: Attempts, error: ConstellationError) -> None:
        self._connections.switch_after(error)
        self._waiting.pause(self._session.pause_s(attempts, error))


class Messages(Protocol):
    """The messages of one answer."""

    endpoint: str
    """host:port of the server that writes the answer, named in errors."""

    def read(self) -> Any:
        """Return the next message, or at the end an object that is no message."""

    def cancel(self) -> None:
        """Stop the answer."""


class Stream(Closing):
    """One answer while it is written: iterate over its pieces. `close` cancels it."""

    def __init__(
        self,
        open_messages: Callable[[], Messages],
        pause: Callable[[ConstellationError], None],
    ) -> None:
        """Take what begins an answer, and what waits before another try or raises the error."""
        self._open_messages = open_messages
        self._pause = pause
        self._answer = Answer()
        self._messages: Messages | None = None
        self._cancelled = False

    @property
    def route(self) -> Route | None:
        """Where the query went; None before the first piece."""
        return self._answer.route

    def reply(self) -> Reply:
        """Return the whole answer, after its last piece."""
        return self._answer.reply()

    def close(self) -> None:
        """Stop the answer; the kernel's slot is free again within one step."""
        self._cancelled = True
        if self._messages is not None:
            self._messages.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while self._answer.finish is None:
            try:
                return self._answer.add(self._receive())
            except ConstellationError as error:
                if self._answer.started:
                    raise
                self._pause(error)
                self._answer, self._messages = Answer(), None
        if self._messages is not None and not self._cancelled:
            with suppress(ConstellationError):
                # The status follows the last piece: unread, it would look like a cancellation.
                self._messages.read()
        raise StopIteration

    def _receive(self) -> constellation_pb2.GenerateReply:
        if self._cancelled:
            raise Cancelled("the stream is closed")
        if self._messages is None:
            self._messages = self._open_messages()
        message = self._messages.read()
        if not isinstance(message, constellation_pb2.GenerateReply):
            raise ServiceUnavailable(self._messages.endpoint, "the answer stopped before its end")
        return message
