"""The asynchronous client: the same calls as `client.Client`, for one event loop."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, Unpack

import grpc
from grpc_health.v1 import health_pb2

from constellation.client import requests
from constellation.client.ownership import NotCopied, Owner
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
from constellation.wire.channel import open_async_channel

ResultT = TypeVar("ResultT")


class AsyncClient(NotCopied):
    """Asks a constellation from asyncio code; arguments, retries and errors as in `Client`.

    Connects on first use, in the loop that runs then, and belongs to that loop: another one gets
    a `ConfigError`.
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
        self._ways = Ways(self._session.endpoints, lambda each: open_async_channel(each, tls))
        self._owner = Owner()
        self._closed = False

    async def ask(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Return the whole answer to `text`."""
        call = requests.ask(text, **options)
        return await self._perform(call, timeout_s, self._session.timeouts.request_s, traceparent)

    def stream(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> "AsyncStream":
        """Return the answer to `text` as an async iterator over its pieces."""
        request = requests.generate(text, **options)
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        return AsyncStream(self, request, attempts)

    async def route(
        self, text: str, *, timeout_s: float | None = None, **options: Unpack[RouteOptions]
    ) -> Route:
        """Return where `text` would go, and why, without asking a kernel."""
        return await self._look_up(requests.route(text, **options), timeout_s)

    async def basin(self, text: str, *, timeout_s: float | None = None) -> TextBasin:
        """Return the tokens of `text` and its point of the simplex."""
        return await self._look_up(requests.basin(text), timeout_s)

    async def score(
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
        return await self._perform(call, timeout_s, self._session.timeouts.request_s, traceparent)

    async def status(self, *, timeout_s: float | None = None) -> ConstellationStatus:
        """Return what the kernels are doing."""
        return await self._look_up(requests.status(), timeout_s)

    async def change(self, change: Change, *, timeout_s: float | None = None) -> Changed:
        """Change what is served, without a dropped request; the methods below are its kinds.

        A change makes a release and switches to it. Only `Reload` is tried again when the reply is
        lost; after a lost reply to another change, look at `status`.

        Raises:
            GrowthRefused, ReloadRefused: It cannot be done; what is served goes on unchanged.
        """
        call = requests.change(change)
        return await self._perform(call, timeout_s, self._session.timeouts.request_s)

    async def reload(self, *, timeout_s: float | None = None) -> Changed:
        """Serve what training has written since; answers under way finish as they began.

        Raises:
            ReloadRefused: It does not fit what is served, which goes on unchanged.
        """
        return await self.change(Reload(), timeout_s=timeout_s)

    async def add(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Serve a kernel that lies in the constellation's artifacts; `constellation add` makes it.

        Raises:
            GrowthRefused: The name is taken, the table is full, or the kernel's files are damaged.
            IncompatibleKernels: It was trained with another vocabulary.
        """
        return await self.change(Add(name=name), timeout_s=timeout_s)

    async def spawn(self, parent: str, name: str, *, timeout_s: float | None = None) -> Changed:
        """Share the queries of `parent` with a new kernel that begins with the same weights.

        Raises:
            UnknownKernel: There is no `parent`.
            GrowthRefused: The name is taken, or the parent's latest queries are too few or alike.
        """
        return await self.change(Spawn(parent=parent, name=name), timeout_s=timeout_s)

    async def retire(self, name: str, *, timeout_s: float | None = None) -> Changed:
        """Serve a kernel no more; what it is answering it finishes, and its files stay.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: It is the only one, or shares its queries with spawned kernels.
        """
        return await self.change(Retire(name=name), timeout_s=timeout_s)

    async def unlearn(self, kernel: str, source: str, *, timeout_s: float | None = None) -> Changed:
        """Route as if a source of a kernel's text had never been read; its weights stay.

        Raises:
            UnknownKernel: There is none of that name.
            GrowthRefused: No text of that source counts for it, or it is all that does.
        """
        return await self.change(Unlearn(kernel=kernel, source=source), timeout_s=timeout_s)

    async def roll_back(
        self, release: int | None = None, *, timeout_s: float | None = None
    ) -> Changed:
        """Serve an earlier release again; None means the parent of the one that is served.

        Raises:
            ReloadRefused: There is no such release, or its files are damaged.
        """
        return await self.change(RollBack(release=release), timeout_s=timeout_s)

    async def healthy(self, *, timeout_s: float = 2.0) -> bool:
        """Say whether a router serves now; never raises for a constellation that is down."""
        self._owner.check_loop()
        for _ in self._session.endpoints:
            try:
                way = self._way()
                check = way.health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
                reply = await self._translated(check, way)
                return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)
            except ConstellationError as error:
                self._ways.note(error)
        return False

    async def close(self) -> None:
        """Cancel what is running and close the connections."""
        self._closed = True
        if not self._owner.is_here():
            return  # connections end with the loop that they belong to
        for channel in self._ways.channels():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _way(self) -> Way:
        if self._closed:
            raise Cancelled("the client is closed")
        self._owner.check_loop()
        return self._ways.current()

    async def _look_up(self, call: Call[ResultT], timeout_s: float | None) -> ResultT:
        return await self._perform(call, timeout_s, self._session.timeouts.lookup_s)

    async def _perform(
        self,
        call: Call[ResultT],
        timeout_s: float | None,
        default_s: float,
        traceparent: str | None = None,
    ) -> ResultT:
        attempts = self._session.begin(timeout_s, default_s, traceparent)
        while True:
            try:
                way = self._way()
                rpc = self._start(way, call.method, call.request, attempts)
                return call.read(await self._translated(rpc, way))
            except ConstellationError as error:
                if not call.repeatable:
                    raise
                await self._pause(attempts, error)

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any:
        remaining_s = attempts.remaining_s(self._session.now_s())
        rpc = getattr(way.stub, method)
        return rpc(request, timeout=remaining_s, metadata=attempts.metadata)

    async def _pause(self, attempts: Attempts, error: ConstellationError) -> None:
        self._ways.note(error)
        await asyncio.sleep(self._session.pause_s(attempts, error))

    async def _translated(self, waiting: Awaitable[ResultT], way: Way) -> ResultT:
        try:
            return await waiting
        except grpc.RpcError as error:
            raise self._session.typed(error, way.endpoint) from None
        except asyncio.CancelledError:
            # grpc also raises this for a call that was closed here. A task that is itself being
            # cancelled must see its own cancellation.
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise Cancelled("the call was closed") from None


class _Caller(Protocol):
    """What a stream needs of its client."""

    def _way(self) -> Way: ...

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any: ...

    async def _translated(self, waiting: Awaitable[ResultT], way: Way) -> ResultT: ...

    async def _pause(self, attempts: Attempts, error: ConstellationError) -> None: ...


class AsyncStream(NotCopied):
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
        self._loop: asyncio.AbstractEventLoop | None = None
        self._cancelled = False

    def __del__(self) -> None:
        # grpc's own tasks hold the call until it ends: a stream that was left by `break` would
        # keep its kernel's slot. A finaliser may run in any thread, hence the detour.
        if self._call is not None and self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # closed in between
                self._loop.call_soon_threadsafe(self._call.cancel)

    @property
    def route(self) -> Route | None:
        """Where the query went; None before the first piece."""
        return self._answer.route

    def reply(self) -> Reply:
        """Return the whole answer, after its last piece."""
        return self._answer.reply()

    async def close(self) -> None:
        """Stop the answer; the kernel's slot is free again within one step."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        while self._answer.finish is None:
            try:
                return self._answer.add(await self._receive())
            except ConstellationError as error:
                if self._answer.started:
                    raise
                await self._client._pause(self._attempts, error)
                self._answer, self._call = Answer(), None
        with suppress(ConstellationError):
            await self._read_end()
        raise StopAsyncIteration

    async def _receive(self) -> constellation_pb2.GenerateReply:
        if self._cancelled:
            raise Cancelled("the stream is closed")
        way = self._client._way()  # refuses in another loop
        if self._call is None or self._way is None:
            self._loop = asyncio.get_running_loop()
            self._way = way
            self._call = self._client._start(way, "Generate", self._request, self._attempts)
        message = await self._client._translated(self._call.read(), self._way)
        if not isinstance(message, constellation_pb2.GenerateReply):  # grpc.aio.EOF
            raise ServiceUnavailable(self._way.endpoint, "the answer stopped before its end")
        return message

    async def _read_end(self) -> None:
        # The status follows the last piece; leaving it unread would look like a cancellation.
        if not self._cancelled and self._way is not None:
            await self._client._translated(self._call.read(), self._way)
