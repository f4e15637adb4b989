"""The direct client for asyncio: the same as `direct.DirectClient`, for one event loop."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from constellation.client import requests
from constellation.client.async_client import AsyncClient, AsyncStream
from constellation.client.direct import FOLLOW_LOST_S, FOLLOW_S, FOLLOW_WAIT_S
from constellation.client.local_routing import (
    Errand,
    LocalRouter,
    ReaderSource,
    TextReader,
    check_same_machine,
    kernel_lost,
)
from constellation.client.ownership import NotCopied
from constellation.client.replies import Reply, TextScore
from constellation.client.requests import AskOptions, RouteOptions
from constellation.client.retries import Attempts, RetryPolicy, Timeouts
from constellation.client.router_endpoints import KernelWays, Way
from constellation.errors import ConstellationError, KernelUnavailable, ServiceUnavailable
from constellation.records import Route
from constellation.v1 import constellation_pb2
from constellation.wire import convert
from constellation.wire.channel import open_async_channel
from constellation.wire.long_texts import LongTexts

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

TEXTS_MAX = 1024
"""Long texts that may be read or wait for it."""


class AsyncDirectClient(NotCopied):
    """Asks kernels from asyncio code; arguments, replies and errors as in `DirectClient`.

    Reading a text, some tenths of a millisecond for one of 64 tokens, happens in the event loop;
    texts beyond `LONG_CHARACTERS`, and explanations, are read in a thread.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        coordizer: TextReader,
        *,
        coordizers: ReaderSource | None = None,
        token: str | None = None,
        ca: str | Path | None = None,
        certificate: str | Path | None = None,
        key: str | Path | None = None,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
        now_s: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._routers = AsyncClient(
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
        self._session = self._routers._session
        check_same_machine(self._session.endpoints)
        self._local = LocalRouter(coordizer, coordizers)
        self._texts = LongTexts("this client", waiting_max=TEXTS_MAX)
        self._kernels = KernelWays(lambda each: open_async_channel(each, None))
        self._followed_s = -FOLLOW_S

    async def ask(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Return the whole answer to `text`."""
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        read = partial(self._local.ask, text, **options)
        return await self._perform(await self._read(text, read, attempts, options), attempts)

    def stream(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> AsyncStream:
        """Return the answer to `text` as an async iterator over its pieces.

        A kernel that is lost after the first piece ends it with `KernelUnavailable`; through a
        router, another kernel goes on.
        """
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        message = requests.generate(text, **options)
        self._local.check(message)
        read = partial(self._local.stream, message)
        start = partial(self._read, text, read, attempts, options)
        return AsyncStream(_Streaming(self, start), message, attempts)

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
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        read = partial(self._local.score, text, context, **options)
        errand = await self._read(text + context, read, attempts, options)
        return await self._perform(errand, attempts)

    async def route(
        self, text: str, *, timeout_s: float | None = None, **options: Unpack[RouteOptions]
    ) -> Route:
        """Return where `text` would go, and why; nobody is asked but for the table."""
        attempts = self._session.begin(timeout_s, self._session.timeouts.lookup_s)
        await self._follow(attempts)
        read = partial(self._local.question, text, **options)
        return self._local.decide(await self._read(text, read, attempts, options), ())[0]

    async def close(self) -> None:
        """Cancel what is running and close the connections."""
        self._texts.close()
        await self._routers.close()
        for channel in self._kernels.channels():
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

    async def _read(
        self,
        text: str,
        read: Callable[[], ResultT],
        attempts: Attempts,
        options: RouteOptions | AskOptions,
    ) -> ResultT:
        """Return what `read` makes of a text; a long one leaves the event loop to others."""
        return await self._texts.read(
            text,
            read,
            timeout_s=attempts.remaining_s(self._session.now_s()),
            is_slow=options.get("explain", False),
        )

    async def _perform(self, errand: Errand[ResultT], attempts: Attempts) -> ResultT:
        lost: set[str] = set()
        while True:
            route = None
            try:
                await self._follow(attempts)
                route, endpoint = self._local.decide(errand.question, lost)
                way = self._kernels.to(endpoint)
                call = self._start(way, errand, route, attempts)
                return errand.read(route, await self._translated(call, way, route))
            except ConstellationError as error:
                await self._recover(attempts, error, route, lost)

    def _start(self, way: Way, errand: Errand[Any], route: Route, attempts: Attempts) -> Any:
        self._routers._way()  # refuses when the client is closed
        request = errand.request(route.kernel)
        return self._routers._start(way, errand.method, request, attempts)

    async def _recover(
        self, attempts: Attempts, error: ConstellationError, route: Route | None, lost: set[str]
    ) -> None:
        """Return when another kernel may be asked, or the same after a pause; else raise."""
        if route is not None and kernel_lost(error, route):
            lost.add(route.kernel)
        else:
            await self._routers._pause(attempts, error)
            lost.clear()
        await self._follow(attempts, after_s=FOLLOW_LOST_S)

    async def _follow(self, attempts: Attempts, *, after_s: float = FOLLOW_S) -> None:
        """Ask for the table, when none is known or the last one came so long ago."""
        now_s = self._session.now_s()
        if self._local.version == 0:
            call = requests.table(0)
            await self._take(await self._routers._perform(call, attempts.remaining_s(now_s), 0.0))
            self._followed_s = now_s
        elif now_s - self._followed_s >= after_s:
            self._followed_s = now_s  # at once: other tasks go on with what is known
            try:
                await self._take(await self._table_of(self._routers._way()))
            except ConstellationError as error:
                self._routers._ways.note(error)
                logger.info("table not renewed", extra={"reason": str(error)})

    async def _table_of(self, way: Way) -> constellation_pb2.TableReply:
        request = requests.table(self._local.version).request
        call = way.stub.Table(request, timeout=FOLLOW_WAIT_S, metadata=self._session.metadata)
        reply: constellation_pb2.TableReply = await self._routers._translated(call, way)
        return reply

    async def _take(self, reply: constellation_pb2.TableReply) -> None:
        await asyncio.to_thread(self._local.take, reply)  # it may read other coordinates
        self._kernels.keep(self._local.endpoints)

    async def _translated(self, waiting: Awaitable[ResultT], way: Way, route: Route) -> ResultT:
        try:
            return await self._routers._translated(waiting, way)
        except ServiceUnavailable as error:
            raise KernelUnavailable(route.kernel, "its process was lost") from error


class _Streaming:
    """What a stream takes for its client: every start of it decides anew."""

    def __init__(
        self, client: AsyncDirectClient, read: Callable[[], Awaitable[Errand[Reply]]]
    ) -> None:
        self._client = client
        self._read = read
        self._errand: Errand[Reply] | None = None
        self._route: Route | None = None
        self._lost: set[str] = set()

    def _way(self) -> Way:
        self._client._routers._way()  # refuses when the client is closed
        return Way("the kernels", None, None)

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any:
        self._route = None
        return _Call(self, attempts)

    async def _translated(self, waiting: Awaitable[ResultT], way: Way) -> ResultT:
        return await waiting

    async def _pause(self, attempts: Attempts, error: ConstellationError) -> None:
        await self._client._recover(attempts, error, self._route, self._lost)

    async def decide(self, attempts: Attempts) -> tuple[Any, Way, Route]:
        """Start the answer; return its call, with whom, and why."""
        client = self._client
        await client._follow(attempts)
        errand = self._errand = self._errand or await self._read()
        self._route, endpoint = client._local.decide(errand.question, self._lost)
        way = client._kernels.to(endpoint)
        return client._start(way, errand, self._route, attempts), way, self._route


class _Call:
    """A kernel's replies, the route in the first; which kernel's is decided by the first read."""

    def __init__(self, streaming: _Streaming, attempts: Attempts) -> None:
        self._streaming = streaming
        self._attempts = attempts
        self._started: tuple[Any, Way, Route] | None = None
        self._cancelled = False

    async def read(self) -> Any:
        first = self._started is None
        if self._started is None:
            self._started = await self._streaming.decide(self._attempts)
        call, way, route = self._started
        if self._cancelled:
            call.cancel()
            raise asyncio.CancelledError
        message = await self._streaming._client._translated(call.read(), way, route)
        if first and isinstance(message, constellation_pb2.GenerateReply):
            message.route.CopyFrom(convert.route_to_message(route))
        return message

    def cancel(self) -> None:
        self._cancelled = True
        if self._started is not None:
            self._started[0].cancel()
