"""The direct client: routes texts itself and calls kernels without a router in between.

It holds a coordizer and the routers' table, so that a call costs one hop. A table that has changed
it learns of within seconds, or when a kernel does not answer where it should be.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from constellation.client import requests
from constellation.client.client import Client, Stream
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
from constellation.wire.channel import open_channel

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

FOLLOW_S = 5.0
"""Seconds after which a table is asked for again."""
FOLLOW_LOST_S = 0.1
"""The same when a kernel was lost."""
FOLLOW_WAIT_S = 1.0
"""Seconds that a router may take to hand out its table when an older one is at hand."""


class DirectClient(NotCopied):
    """Asks the kernels of a constellation on this machine. Close it, or use `with`.

    Replies, routes and errors are those of `Client`. Routers are needed for the first table, and to
    hear of changes; while none answers, the last table is used. Kernels listen on loopback, so this
    works on the machine of the constellation only. What it asks appears in no router's figures, and
    a `request_id` means nothing to it. Mode and handoff are for routers.

    Args:
        endpoint: host:port of a router, or of several, on this machine.
        coordizer: The one that the constellation routes by: `Coordizer.load(...)` of the folder
            `coordizer` of the release that it serves.
        coordizers: Gives the coordizer of a table whose coordinates are others, because kernels
            joined or left: `ReleasedCoordizers` of the artifacts that are served. None raises
            `ArtifactError` then.
        token: As for `Client`, like everything that follows; TLS is for the routers, calls of
            kernels stay on loopback and are plain.
        ca: PEM file with the authorities that vouch for the routers.
        certificate: PEM file with our own certificate.
        key: PEM file with its private key.
        timeouts: How long calls may take.
        retries: How often they are tried.
        now_s: Clock that deadlines are kept by, in seconds.
        draw: Uniform numbers in [0, 1), for the pauses between tries.

    Raises:
        ConfigError: As for `Client`, or the endpoint is not on loopback.
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
        self._routers = Client(
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
        self._kernels = KernelWays(lambda each: open_channel(each, None))
        self._followed_s = -FOLLOW_S

    def ask(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Return the whole answer to `text`; arguments and errors as for `Client.ask`."""
        return self._perform(self._local.ask(text, **options), timeout_s, traceparent)

    def stream(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Stream:
        """Return the answer to `text` as an iterator over its pieces.

        A kernel that is lost after the first piece ends it with `KernelUnavailable`; through a
        router, another kernel goes on.
        """
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        message = requests.generate(text, **options)
        return Stream(_Streaming(self, self._local.stream(message), attempts), message, attempts)

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
        errand = self._local.score(text, context, **options)
        return self._perform(errand, timeout_s, traceparent)

    def route(
        self, text: str, *, timeout_s: float | None = None, **options: Unpack[RouteOptions]
    ) -> Route:
        """Return where `text` would go, and why; nobody is asked but for the table."""
        self._follow(self._session.begin(timeout_s, self._session.timeouts.lookup_s))
        return self._local.decide(self._local.question(text, **options), ())[0]

    def close(self) -> None:
        """Cancel what is running and close the connections."""
        self._routers.close()
        for channel in self._kernels.channels():
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

    def _perform(
        self, errand: Errand[ResultT], timeout_s: float | None, traceparent: str | None
    ) -> ResultT:
        request_s = self._session.timeouts.request_s
        attempts = self._session.begin(timeout_s, request_s, traceparent)
        lost: set[str] = set()
        while True:
            route = None
            try:
                self._follow(attempts)
                route, endpoint = self._local.decide(errand.question, lost)
                way = self._kernels.to(endpoint)
                with self._translated(way, route):
                    return errand.read(route, self._start(way, errand, route, attempts))
            except ConstellationError as error:
                self._recover(attempts, error, route, lost)

    def _start(self, way: Way, errand: Errand[Any], route: Route, attempts: Attempts) -> Any:
        request = errand.request(route.kernel)
        return self._routers._start(way, errand.method, request, attempts)

    def _recover(
        self, attempts: Attempts, error: ConstellationError, route: Route | None, lost: set[str]
    ) -> None:
        """Return when another kernel may be asked, or the same after a pause; else raise."""
        if route is not None and kernel_lost(error, route):
            lost.add(route.kernel)
        else:
            self._routers._pause(attempts, error)
            lost.clear()
        self._follow(attempts, after_s=FOLLOW_LOST_S)

    def _follow(self, attempts: Attempts, *, after_s: float = FOLLOW_S) -> None:
        """Ask for the table, when none is known or the last one came so long ago."""
        now_s = self._session.now_s()
        if self._local.version == 0:
            call = requests.table(0)
            self._take(self._routers._perform(call, attempts.remaining_s(now_s), 0.0))
            self._followed_s = now_s
        elif now_s - self._followed_s >= after_s:
            self._followed_s = now_s  # at once: other threads go on with what is known
            try:
                self._take(self._table_of(self._routers._way()))
            except ConstellationError as error:
                self._routers._ways.note(error)
                logger.info("table not renewed", extra={"reason": str(error)})

    def _table_of(self, way: Way) -> constellation_pb2.TableReply:
        request = requests.table(self._local.version).request
        with self._routers._translated(way):
            reply: constellation_pb2.TableReply = way.stub.Table(
                request, timeout=FOLLOW_WAIT_S, metadata=self._session.metadata
            )
        return reply

    def _take(self, reply: constellation_pb2.TableReply) -> None:
        self._local.take(reply)
        self._kernels.keep(self._local.endpoints)

    @contextmanager
    def _translated(self, way: Way, route: Route) -> Iterator[None]:
        try:
            with self._routers._translated(way):
                yield
        except ServiceUnavailable as error:
            raise KernelUnavailable(route.kernel, "its process was lost") from error


class _Streaming:
    """What a stream takes for its client: every start of it decides anew."""

    def __init__(self, client: DirectClient, errand: Errand[Reply], attempts: Attempts) -> None:
        self._client = client
        self._errand = errand
        self._attempts = attempts
        self._route: Route | None = None
        self._lost: set[str] = set()

    def _way(self) -> Way:
        self._route = None
        self._client._follow(self._attempts)
        self._route, endpoint = self._client._local.decide(self._errand.question, self._lost)
        return self._client._kernels.to(endpoint)

    def _start(self, way: Way, method: str, request: Any, attempts: Attempts) -> Any:
        assert self._route is not None
        call = self._client._start(way, self._errand, self._route, attempts)
        return _WithRoute(call, self._route)

    @contextmanager
    def _translated(self, way: Way) -> Iterator[None]:
        assert self._route is not None
        with self._client._translated(way, self._route):
            yield

    def _pause(self, attempts: Attempts, error: ConstellationError) -> None:
        self._client._recover(attempts, error, self._route, self._lost)


class _WithRoute:
    """A kernel's replies with the route in the first one."""

    def __init__(self, call: Any, route: Route) -> None:
        self._call = call
        self._route: Route | None = route

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> constellation_pb2.GenerateReply:
        message: constellation_pb2.GenerateReply = next(self._call)
        if self._route is not None:
            message.route.CopyFrom(convert.route_to_message(self._route))
            self._route = None
        return message

    def cancel(self) -> None:
        self._call.cancel()
