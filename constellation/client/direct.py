"""The synchronous direct client: routes texts itself and calls kernels without a router between.

The client holds a coordizer and the routers' table, so that a call costs one hop. A changed table
is noticed within seconds, or when a kernel does not answer at its endpoint.

Generated from `async_direct.py` by `make clients`: edit that file.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from constellation.client import requests
from constellation.client.client import Client, Closing, Stream
from constellation.client.local_routing import (
    KernelCall,
    LocalRouter,
    ReaderSource,
    Target,
    check_may_move,
    check_reachable,
    kernel_tls,
    process_lost,
)
from constellation.client.replies import Reply, TextScore
from constellation.client.requests import AskOptions, RouteOptions
from constellation.client.retries import Attempts
from constellation.client.router_endpoints import KernelConnections
from constellation.client.session import ClientOptions
from constellation.client.sync_waiting import SyncMessages, SyncTexts
from constellation.errors import (
    Cancelled,
    ConstellationError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import Route
from constellation.v1 import constellation_pb2
from constellation.wire import convert
from constellation.wire.channel import kernel_options, open_channel

if TYPE_CHECKING:
    from constellation.coordizer.coordizer import Coordizer

logger = logging.getLogger(__name__)
ResultT = TypeVar("ResultT")

TABLE_AGE_S = 5.0
"""Age of a table, in seconds, at which a newer one is asked for."""
TABLE_AGE_LOST_S = 0.1
"""The same after a kernel was lost."""
TABLE_WAIT_S = 1.0
"""Seconds that a router may take to hand out its table when an older table is at hand."""
TEXTS_MAX = 1024
"""Long texts that may be read or wait to be read."""


class DirectClient(Closing):
    """Sends texts to the kernels of a constellation without a router between.

    Close the client, or use `with`. Replies, routes and errors are those of `Client`.
    Routers hand out the first table and every changed table; while no router answers, the last
    table is used. Kernels on other machines accept only clients with a certificate of the
    deployment's authority. No router counts its requests, and `request_id` has no effect. Modes
    other than "nearest", and handoff, need a router.

    Args:
        endpoint: host:port of a router, or of several.
        coordizer: The coordizer that the constellation routes by: `Coordizer.load(...)` of the
            folder `coordizer` of the release that is served.
        coordizers: Gives the coordizer of a table with other coordinates, which follow when
            kernels join or leave: `ReleasedCoordizers` of the artifacts that are served. Without
            it, such a table raises `ArtifactError`.
        kernel_ca: PEM file with the deployment's authority, for calls of kernels. Without this
            file calls of kernels are plain text, and kernels beyond loopback are refused.
        kernel_certificate: PEM file with a certificate that this authority signed.
        kernel_key: PEM file with the private key of `kernel_certificate`.
        options: As for `Client`. The TLS files among them are for calls of routers.

    Raises:
        ConfigError: As for `Client`, or an endpoint is not on loopback and there is no
            `kernel_ca`.
    """

    def __init__(
        self,
        endpoint: str | Sequence[str],
        coordizer: "Coordizer",
        *,
        coordizers: ReaderSource | None = None,
        kernel_ca: str | Path | None = None,
        kernel_certificate: str | Path | None = None,
        kernel_key: str | Path | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        tls = kernel_tls(kernel_ca, kernel_certificate, kernel_key)
        self._routers = Client(endpoint, **options)
        self._session = self._routers._session
        check_reachable(self._session.endpoints, tls)
        self._local = LocalRouter(coordizer, coordizers, tls)
        self._texts = SyncTexts("this client", waiting_max=TEXTS_MAX)
        self._kernels = KernelConnections(
            lambda each: open_channel(each, tls, kernel_options(each))
        )
        self._asked_s = -TABLE_AGE_S

    def ask(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Reply:
        """Return the whole answer to `text`; arguments and errors as for `Client.ask`."""
        attempts = self._session.begin_request(timeout_s, traceparent)
        read = partial(self._local.generate, requests.generate(text, **options), "Ask")
        return self._perform(self._read(text, read, attempts, options), attempts)

    def stream(
        self,
        text: str,
        *,
        timeout_s: float | None = None,
        traceparent: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Stream:
        """Return the answer to `text` as an iterator over its pieces.

        When its kernel is lost after the first piece, the stream raises `KernelUnavailable`; behind
        a router, another kernel would continue.
        """
        attempts = self._session.begin_request(timeout_s, traceparent)
        message = requests.generate(text, **options)
        self._local.check(message)
        read = partial(self._local.generate, message, "Generate")
        answer = _Answer(self, partial(self._read, text, read, attempts, options), attempts)
        return Stream(answer.open, answer.pause)

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
        attempts = self._session.begin_request(timeout_s, traceparent)
        read = partial(self._local.score, text, context, **options)
        call = self._read(text + context, read, attempts, options)
        return self._perform(call, attempts)

    def route(
        self, text: str, *, timeout_s: float | None = None, **options: Unpack[RouteOptions]
    ) -> Route:
        """Return where `text` would go, and why; only the table is asked for."""
        attempts = self._session.begin(timeout_s, self._session.timeouts.lookup_s)
        self._follow(attempts)
        read = partial(self._local.question, text, **options)
        return self._local.decide(self._read(text, read, attempts, options), ())[0]

    def close(self) -> None:
        """Cancel what is running and close the connections."""
        self._texts.close()
        self._routers.close()
        for channel in self._kernels.channels():
            channel.close()

    def _read(
        self,
        text: str,
        read: Callable[[], ResultT],
        attempts: Attempts,
        options: RouteOptions | AskOptions,
    ) -> ResultT:
        """Return what `read` makes of a text."""
        return self._texts.read(
            text,
            read,
            timeout_s=attempts.remaining_s(self._session.now_s()),
            is_slow=options.get("explain", False),
        )

    def _perform(self, call: KernelCall[ResultT], attempts: Attempts) -> ResultT:
        lost: set[Target] = set()
        while True:
            route, endpoint = None, ""
            try:
                self._follow(attempts)
                route, endpoint = self._local.decide(call.question, lost)
                start = partial(self._start, endpoint, call, route, attempts)
                self._routers._waiting.check()
                with _lost_kernel_named(route):
                    return call.read(route, self._routers._waiting.result(start, endpoint))
            except ConstellationError as error:
                self._recover(attempts, error, route, endpoint, lost)

    def _start(self, endpoint: str, call: KernelCall[Any], route: Route, attempts: Attempts) -> Any:
        connection = self._kernels.open(endpoint)
        return self._routers._start(connection, call.method, call.request(route.kernel), attempts)

    def _recover(
        self,
        attempts: Attempts,
        error: ConstellationError,
        route: Route | None,
        endpoint: str,
        lost: set[Target],
    ) -> None:
        """Return when another process may be asked, or the same after a pause; else raise."""
        if route is not None and process_lost(error):
            lost.add((route.kernel, endpoint))
            check_may_move(error, route, self._local.left(route.kernel, lost))
        else:
            self._routers._pause(attempts, error)
            lost.clear()
        self._follow(attempts, age_s=TABLE_AGE_LOST_S)

    def _follow(self, attempts: Attempts, *, age_s: float = TABLE_AGE_S) -> None:
        """Ask for the table, when there is none or the last was asked for so long ago."""
        now_s = self._session.now_s()
        if self._local.version == 0:
            call = requests.table(0)
            self._take(self._routers._perform(call, attempts.remaining_s(now_s), 0.0))
            self._asked_s = now_s
        elif now_s - self._asked_s >= age_s:
            self._asked_s = now_s  # at once: other callers continue with the table at hand
            try:
                self._take(self._newer_table())
            except ConstellationError as error:
                self._routers._connections.switch_after(error)
                logger.info("table not renewed", extra={"reason": str(error)})

    def _newer_table(self) -> constellation_pb2.TableReply:
        connection = self._routers._connection()
        request = requests.table(self._local.version).request
        terms = {"timeout": TABLE_WAIT_S, "metadata": self._session.metadata}
        start = partial(connection.stub.Table, request, **terms)
        reply: constellation_pb2.TableReply = self._routers._waiting.result(
            start, connection.endpoint
        )
        return reply

    def _take(self, reply: constellation_pb2.TableReply) -> None:
        # Another release has other coordinates, which are read from files.
        self._routers._waiting.in_thread(partial(self._local.take, reply))
        self._kernels.keep_only(self._local.endpoints)


@contextmanager
def _lost_kernel_named(route: Route) -> Iterator[None]:
    try:
        yield
    except ServiceUnavailable as error:
        raise KernelUnavailable(route.kernel, "its process was lost") from error


class _Answer:
    """The messages of one streamed answer; every try decides anew which kernel writes it."""

    endpoint = "the kernels"

    def __init__(
        self,
        client: DirectClient,
        read: Callable[[], KernelCall[Reply]],
        attempts: Attempts,
    ) -> None:
        self._client = client
        self._read = read
        self._attempts = attempts
        self._call: KernelCall[Reply] | None = None
        self._route: Route | None = None
        self._messages: SyncMessages | None = None
        self._endpoint = ""
        self._lost: set[Target] = set()
        self._cancelled = False

    def open(self) -> Self:
        """Begin a try."""
        self._messages = self._route = None
        return self

    def read(self) -> Any:
        """Return the next message; the first one of a try carries the route."""
        first = self._messages is None
        if self._messages is None:
            self._messages = self._decide()
        assert self._route is not None
        with _lost_kernel_named(self._route):
            message = self._messages.read()
        if first and isinstance(message, constellation_pb2.GenerateReply):
            message.route.CopyFrom(convert.route_to_message(self._route))
        return message

    def cancel(self) -> None:
        """Stop the answer."""
        self._cancelled = True
        if self._messages is not None:
            self._messages.cancel()

    def pause(self, error: ConstellationError) -> None:
        """Wait before another try, or raise."""
        route, endpoint = self._route, self._endpoint
        self._client._recover(self._attempts, error, route, endpoint, self._lost)

    def _decide(self) -> SyncMessages:
        client = self._client
        client._routers._waiting.check()
        client._follow(self._attempts)
        call = self._call = self._call or self._read()
        self._route, endpoint = client._local.decide(call.question, self._lost)
        self._endpoint = endpoint
        if self._cancelled:
            raise Cancelled("the stream is closed")
        start = partial(client._start, endpoint, call, self._route, self._attempts)
        return SyncMessages(client._routers._waiting, start, endpoint)
