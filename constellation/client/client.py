"""The synchronous client: a thin shell that makes calls, waits and obeys `retries`."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

import grpc
from grpc_health.v1 import health_pb2

from constellation.client import requests
from constellation.client.ownership import NotCopied
from constellation.client.replies import Answer, ConstellationStatus, Reply, TextBasin, TextScore
from constellation.client.requests import AskOptions, Call, RouteOptions
from constellation.client.retries import Attempts, RetryPolicy, Timeouts
from constellation.client.router_endpoints import Way, Ways
from constellation.client.session import open_session
from constellation.errors import Cancelled, ConstellationError, ServiceUnavailable
from constellation.records import (
    Add,
    Change,
    Changed,
    Piece,
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


class Client(NotCopied):
    """Asks a constellation. Safe to share between threads; close it, or use `with`.

    Every call has a deadline. Failures that may pass by themselves (a router or kernel that is
    restarting, a full queue) are tried again until the deadline, but never after the first token
    of an answer. Every error is one of `constellation.errors`.

    Args:
        endpoint: host:port of a router, or of several: a list, or one text with commas. When one
            is lost, the next is asked, within the retries.
        token: Secret; None takes CONSTELLATION_TOKEN from the environment, if set.
        ca: PEM file with the authorities that vouch for the server; None speaks plain text.
        certificate: PEM file with our own certificate, where the server asks for one.
        key: PEM file with its private key.
        timeouts: How long calls may take.
        retries: How often they are tried.
        now_s: Clock that deadlines are kept by, in seconds.
        draw: Uniform numbers in [0, 1), for the pauses between tries.

    Raises:
        ConfigError: The endpoint is not host:port, the token cannot be sent, or a TLS file is not
            what it should be.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        *,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        now_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._session = open_session(
            endpoint,
            token=token,
            ca=ca,
            certificate=certificate,
            key=key,
            timeouts=timeouts,
            retries=retries,
            now_s=now_s,
            draw=draw,
        )
        tls = self._session.tls
        self._ways = Ways(self._session.endpoints, lambda each: open_channel(each, tls))
        self._ways.current()  # what is wrong with TLS files is said here
        self._closed = threading.Event()

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
            timeout_s: Seconds for the whole call; None takes `timeouts.request_s`.
            traceparent: The span that the call belongs to, as W3C's header of that name; None
                takes OpenTelemetry's current span, where the program has one.
            options: See `AskOptions`.

        Raises:
            RequestError: One of its subclasses says what is wrong and what to do.
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
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        return Stream(self, request, attempts)

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
        """Change what is served, without a dropped request; the methods below are its kinds.

        A change makes a release and switches to it. Only `Reload` is tried again when the reply is
        lost; after a lost reply to another change, look at `status`.

        Raises:
            GrowthRefused, ReloadRefused: It cannot be done; what is served goes on unchanged.
        """
        call = requests.change(change)
        return self._perform(call, timeout_s, self._session.timeouts.request_s)

    def reload(self, *, timeout_s: float | None = None) -> Changed:
        """Serve what training has written since; answers under way finish as they began.

        Raises:
            ReloadRefused: It does not fit what is served, which goes on unchanged.
        """
        return self.change(Reload(), timeout_s=timeout_s)

    def add(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Serve a kernel that lies in the constellation's artifacts; `constellation add` makes it.

        Raises:
            GrowthRefused: The name is taken, the table is full, or the kernel's files are damaged.
            IncompatibleKernels: It was trained with another vocabulary.
        """
        return self.change(Add(name=name), timeout_s=timeout_s)

    def spawn(self, parent: str, name: str, *, timeout_s: float | None = None) -> Changed:
        """Share the queries of `parent` with a new kernel that begins with the same weights.

        Raises:
            UnknownKernel: There is no `parent`.
            GrowthRefused: The name is taken, or the parent's latest queries are too few or alike.
        """
        return self.change(Spawn(parent=parent, name=name), timeout_s=timeout_s)

    def retire(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Serve a kernel no more; what it is answering it finishes, and its files stay.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: It is the only one, or shares its queries with spawned kernels.
        """
        return self.change(Retire(name=name), timeout_s=timeout_s)

    def unlearn(self, kernel: str, source: str, *, timeout_s: float | None = None) -> Changed:
        """Route as if a source of a kernel's text had never been read; its weights stay.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: No text of that source counts for it, or it is all that does.
        """
        return self.change(Unlearn(kernel=kernel, source=source), timeout_s=timeout_s)

    def roll_back(self, release: int | None = None, *, timeout_s: float | None = None) -> Changed:
        """Serve an earlier release again; None means the parent of the one that is served.

        Raises:
            ReloadRefused: There is no such release, or its files are damaged.
        """
        return self.change(RollBack(release=release), timeout_s=timeout_s)

    def healthy(self, *, timeout_s: float = 2.0) -> bool:
        """Say whether a router serves now; never raises for a constellation that is down."""
        for _ in self._session.endpoints:
            way = self._ways.current()
            try:
                with self._translated(way):
                    reply = way.health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
                    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
            except ConstellationError as error:
                self._ways.note(error)
        return False

    def close(self) -> None:
        """Cancel what is running and close the connections."""
        self._closed.set()
        for channel in self._ways.channels():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

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
            way = self._way()
            try:
                with self._translated(way):
                    return call.read(self._start(way, call.method, call.request, attempts))
            except ConstellationError as error:
                if not call.repeatable:
                    raise
                self._pause(attempts, error)

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any:
        remaining_s = attempts.remaining_s(self._session.now_s())
        rpc = getattr(way.stub, method)
        return rpc(request, timeout=remaining_s, metadata=attempts.metadata)

    def _way(self) -> Way:
        return self._ways.current()

    def _pause(self, attempts: Attempts, error: ConstellationError) -> None:
        self._ways.note(error)
        # An event, not a sleep: closing the client ends the pause.
        if self._closed.wait(self._session.pause_s(attempts, error)):
            raise Cancelled("the client was closed")

    @contextmanager
    def _translated(self, way: Way) -> Iterator[None]:
        if self._closed.is_set():
            raise Cancelled("the client is closed")
        try:
            yield
        except grpc.RpcError as error:
            raise self._session.typed(error, way.endpoint) from None
        except ValueError:
            # What grpc raises for a call on a channel that another thread has just closed.
            if self._closed.is_set():
                raise Cancelled("the client was closed") from None
            raise


class _Caller(Protocol):
    """What a stream needs of its client."""

    def _way(self) -> Way: ...

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any: ...

    def _translated(self, way: Way) -> AbstractContextManager[None]: ...

    def _pause(self, attempts: Attempts, error: ConstellationError) -> None: ...


class Stream(NotCopied):
    """One answer while it is written: iterate over its pieces. `close` cancels it."""

    def __init__(
        self, client: _Caller, request: constellation_pb2.GenerateRequest, attempts: Attempts
    ) -> None:
        self._client = client
        self._request = request
        self._attempts = attempts
        self._answer = Answer()
        self._call: Any = None
        self._way: Way | None = None
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
        if self._call is not None:
            self._call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Piece:
        while self._answer.finish is None:
            try:
                return self._answer.add(self._receive())
            except ConstellationError as error:
                if self._answer.started:
                    raise
                self._client._pause(self._attempts, error)
                self._answer, self._call = Answer(), None
        with suppress(ConstellationError):
            self._read_end()
        raise StopIteration

    def _receive(self) -> constellation_pb2.GenerateReply:
        if self._cancelled:
            raise Cancelled("the stream is closed")
        if self._call is None or self._way is None:
            self._way = self._client._way()
        with self._client._translated(self._way):
            if self._call is None:
                self._call = self._client._start(
                    self._way, "Generate", self._request, self._attempts
                )
            message: constellation_pb2.GenerateReply | None = next(self._call, None)
        if message is None:
            raise ServiceUnavailable(self._way.endpoint, "the answer stopped before its end")
        return message

    def _read_end(self) -> None:
        # The status follows the last piece; leaving it unread would look like a cancellation.
        if not self._cancelled and self._way is not None:
            with self._client._translated(self._way):
                next(self._call, None)
