"""Routing inside a direct client, by the table and rules of a router. No input or output.

The decision and its reason are those of a router with the same table; the result says which message
to send to which kernel.
"""

import itertools
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar, Unpack

from google.protobuf.message import Message

from constellation.client import requests
from constellation.client.replies import Reply, TextScore, whole_reply
from constellation.client.requests import RouteOptions
from constellation.coordizer.evidence import evidence_tokens
from constellation.errors import (
    ArtifactError,
    ConfigError,
    ConstellationError,
    InvalidRequest,
    KernelUnavailable,
    OutOfDomain,
    ServiceUnavailable,
)
from constellation.loopback import host_of, is_loopback
from constellation.records import (
    FloatArray,
    Mode,
    Route,
    RoutingOptions,
    Table,
    TokenArray,
    TokenInfluence,
)
from constellation.routing.policy import RoutingPolicy
from constellation.v1 import constellation_pb2, kernel_pb2
from constellation.wire import convert
from constellation.wire.record_messages import from_message
from constellation.wire.table_file import unpack_table
from constellation.wire.tls import ClientTls, node_client

if TYPE_CHECKING:
    from constellation.coordizer.coordizer import Coordizer

ResultT = TypeVar("ResultT")


class ReaderSource(Protocol):
    """Gives a direct client the coordizer of a table: each release has its own coordinates."""

    def of_table(self, table: Table) -> "Coordizer":
        """Return the coordizer whose basins a table holds; may read files.

        Raises:
            ArtifactError: The coordizer is missing, damaged, or not that of the table.
        """


Target: TypeAlias = tuple[str, str]
"""A kernel, and host:port of the process that was called."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A text as a router would read it, under the coordinates of one table."""

    tokens: TokenArray
    """All tokens: what a kernel reads."""
    evidence: TokenArray
    """Tokens that the basin is folded from: without white space at the ends of the text."""
    basin_K: FloatArray
    coordizer_hash: str
    """Of the coordinates by which the basin was folded."""
    options: RoutingOptions
    influences: tuple[TokenInfluence, ...] = ()
    """The tokens that moved the basin most, where an explanation was asked for."""

    def under(self, reader: "Coordizer") -> "Question":
        """Return the question under the coordinates of a coordizer with the same tokens."""
        if reader.hash == self.coordizer_hash:
            return self
        return _question(reader, self.tokens, self.evidence, self.options)


@dataclass(frozen=True, slots=True)
class KernelCall(Generic[ResultT]):
    """A call of a kernel, before it is decided which kernel is called."""

    question: Question
    method: str
    """Name of the RPC of KernelService."""
    request: Callable[[str], Message]
    """What is sent to the kernel of this name."""
    read: Callable[[Route, Any], ResultT]
    """Turns the kernel's message into what the caller gets."""


@dataclass(frozen=True, slots=True)
class _Held:
    policy: RoutingPolicy
    endpoints: dict[str, tuple[str, ...]]
    """Kernel -> host:port of the processes that serve it."""
    down: frozenset[str]
    reader: "Coordizer"
    """Whose basins the table holds."""


class LocalRouter:
    """Decides like a router, by the latest table that a router handed out.

    Args:
        reader: Reads texts before the first table.
        source: Gives the coordizer of a table with other coordinates; without a source, such a
            table raises `ArtifactError`.
        tls: Files for calls of kernels; None means unencrypted calls, on loopback only.
    """

    def __init__(
        self,
        reader: "Coordizer",
        source: ReaderSource | None = None,
        tls: ClientTls | None = None,
    ) -> None:
        self._tls = tls
        self._first_reader = reader
        self._source = source
        self._turns = itertools.count()
        self._held: _Held | None = None

    @property
    def _reader(self) -> "Coordizer":
        return self._first_reader if self._held is None else self._held.reader

    @property
    def version(self) -> int:
        """The table's version; 0 before the first one."""
        return 0 if self._held is None else self._held.policy.table.version

    @property
    def endpoints(self) -> set[str]:
        """host:port of the kernels that are up."""
        return set() if self._held is None else set(chain(*self._held.endpoints.values()))

    def take(self, reply: constellation_pb2.TableReply) -> None:
        """Route by the table in a router's reply, unless that table is not newer.

        Raises:
            ArtifactError: The table belongs to another coordizer, or is damaged.
            ConfigError: A kernel is on another machine, and calls are not encrypted.
        """
        if not reply.snapshot or reply.version < self.version:
            return
        table = unpack_table(reply.snapshot, source="the router's table")
        reader = self._reader_of(table)
        policy = RoutingPolicy(
            table,
            rule=convert.RULE_OF[reply.rule],
            top_k=min(reply.top_k, len(table.sites)),
            phi_weighting=reply.phi_weighting,
        )
        endpoints = {site.name: site.endpoints for site in table.sites if site.endpoints}
        check_reachable([*chain(*endpoints.values())], self._tls)
        down = frozenset(site.name for site in table.sites if site.endpoint is None)
        self._held = _Held(policy, endpoints, down, reader)

    def _reader_of(self, table: Table) -> "Coordizer":
        if table.coordizer_hash == self._reader.hash:
            return self._reader
        if self._source is None:
            raise ArtifactError(
                "coordizer",
                "is not the one that the constellation routes by, which changes when kernels join "
                "or leave; give the client `coordizers`, ReleasedCoordizers of the artifacts that "
                "are served",
            )
        return self._source.of_table(table)

    def question(self, text: str, **options: Unpack[RouteOptions]) -> Question:
        """Return the question that `decide` answers with the route of a text."""
        request: constellation_pb2.RouteRequest = requests.route(text, **options).request
        routing = convert.routing_from_message(request.routing)
        text = convert.check_text("text", text, empty_allowed=routing.basin_K is not None)
        return self._read(text, routing)

    def generate(
        self, message: constellation_pb2.GenerateRequest, method: str
    ) -> KernelCall[Reply]:
        """Return the call of a kernel that gives an answer, by its RPC `Ask` or `Generate`."""
        routing = convert.routing_from_message(message.routing)
        question = self._read(convert.check_text("prompt", message.prompt), routing)
        tokens = question.tokens.tolist()

        def to(kernel: str) -> Message:
            return kernel_pb2.KernelGenerateRequest(
                tokens=tokens, sampling=message.sampling, kernel=kernel
            )

        return KernelCall(question, method, to, lambda route, message: whole_reply(message, route))

    def check(self, message: constellation_pb2.GenerateRequest) -> None:
        """Raise at once the errors that `generate` would raise for a message."""
        convert.check_text("prompt", message.prompt)
        _check_supported(convert.routing_from_message(message.routing))

    def score(
        self, text: str, context: str, **options: Unpack[RouteOptions]
    ) -> KernelCall[TextScore]:
        """Return the call of a kernel that says how likely `text` is after `context`."""
        request: constellation_pb2.ScoreRequest = requests.score(text, context, **options).request
        convert.check_text("text", text)
        convert.check_text("context", context, empty_allowed=True)
        routing = convert.routing_from_message(request.routing)
        question = self._read(context or text, routing)
        before = question.tokens.tolist() if context else []
        scored = self._reader.encode(text).tolist() if context else question.tokens.tolist()

        def to(kernel: str) -> Message:
            return kernel_pb2.KernelScoreRequest(
                tokens=[*before, *scored], num_context=len(before), kernel=kernel
            )

        def read(route: Route, reply: kernel_pb2.KernelScoreReply) -> TextScore:
            return from_message(reply, TextScore, num_bytes=len(text.encode()), route=route)

        return KernelCall(question, "Score", to, read)

    def decide(self, question: Question, lost: Collection[Target]) -> tuple[Route, str]:
        """Return the route of a question, and host:port of a process of its kernel.

        Processes of one kernel take turns. `lost` are the processes that were lost while they
        answered the question.

        Raises:
            OutOfDomain: The question is out of every domain, and its options ask for this error.
            KernelUnavailable: No kernel is left.
            ServiceUnavailable: No table has come from a router yet.
        """
        held, options = self._held, question.options
        if held is None:
            raise ServiceUnavailable("the routers", "no table has come from them yet")
        question = question.under(held.reader)
        route = held.policy.decide(
            question.basin_K,
            num_tokens=len(question.evidence),
            rule=options.rule,
            top_k=options.top_k,
            pinned=options.kernel,
            excluded=held.down.union(name for name, _ in lost if not self.left(name, lost)),
            refuse=options.refuse,
            without=options.without,
        )
        if route.out_of_domain and options.refuses:
            raise OutOfDomain(
                {choice.kernel: choice.distance for choice in route.choices},
                {choice.kernel: choice.radius for choice in route.choices},
            )
        if options.explain:
            route = replace(route, influences=question.influences)
        left = self.left(route.kernel, lost)
        return route, left[next(self._turns) % len(left)]

    def left(self, kernel: str, lost: Collection[Target]) -> tuple[str, ...]:
        """Return host:port of the processes of a kernel that were not lost."""
        endpoints = () if self._held is None else self._held.endpoints.get(kernel, ())
        return tuple(each for each in endpoints if (kernel, each) not in lost)

    def _read(self, text: str, options: RoutingOptions) -> Question:
        _check_supported(options)
        reader = self._reader
        tokens = reader.encode(text)
        return _question(reader, tokens, evidence_tokens(text, tokens, reader.encode), options)


def _question(
    reader: "Coordizer", tokens: TokenArray, counted: TokenArray, options: RoutingOptions
) -> Question:
    given_K = options.basin_K
    return Question(
        tokens=tokens,
        evidence=counted,
        basin_K=reader.basin(counted) if given_K is None else given_K,
        coordizer_hash=reader.hash,
        options=options,
        influences=reader.influences(counted) if options.explain else (),
    )


def _check_supported(options: RoutingOptions) -> None:
    """Raise `InvalidRequest` for options that need a router."""
    if options.mode is not Mode.NEAREST:
        raise InvalidRequest("mode", options.mode, "nearest; other modes go through a router")
    if options.handoff:
        raise InvalidRequest("handoff", True, "False; handing over goes through a router")


def process_lost(error: ConstellationError) -> bool:
    """Say whether `error` ended the call of a kernel because its process was lost."""
    return isinstance(error, ServiceUnavailable | KernelUnavailable)


def check_may_move(error: ConstellationError, route: Route, left: Collection[str]) -> None:
    """Check that another process may answer after a process was lost.

    Args:
        error: Of the lost process.
        route: Of the question.
        left: Further processes of the kernel.

    Raises:
        KernelUnavailable: None is left, and the question asks for that kernel.
    """
    if route.reason == "pinned" and not left:
        raise KernelUnavailable(route.kernel, "its process was lost") from error


def kernel_tls(
    ca: str | Path | None, certificate: str | Path | None, key: str | Path | None
) -> ClientTls | None:
    """Return the TLS of calls of kernels; None for unencrypted calls when no file is given.

    Raises:
        ConfigError: A file is given without the others.
    """
    if ca is not None and certificate is not None and key is not None:
        return node_client(Path(ca), Path(certificate), Path(key))
    if (ca, certificate, key) != (None, None, None):
        raise ConfigError(
            "calls of kernels by TLS need three files; give kernel_ca, kernel_certificate and "
            "kernel_key all"
        )
    return None


def check_reachable(endpoints: Collection[str], tls: ClientTls | None) -> None:
    """Raise `ConfigError` for routers or kernels on other machines, if calls are not encrypted.

    Such calls would send the token and the text in clear.

    Args:
        endpoints: host:port of routers or kernels.
        tls: Files for calls of kernels; None means unencrypted calls.

    Raises:
        ConfigError: An endpoint is not on loopback.
    """
    for endpoint in endpoints:
        if tls is None and not is_loopback(host_of(endpoint)):
            raise ConfigError(
                f"{endpoint} is not on this machine's loopback; give the files kernel_ca, "
                "kernel_certificate and kernel_key, from `constellation certificates`, or use "
                "Client"
            )
