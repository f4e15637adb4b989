"""Replies of a client, and how they are read from messages. No input or output.

Shapes: K outcomes of the simplex (64).
"""

from dataclasses import dataclass, field
from math import log

import numpy as np

from constellation.errors import InternalError
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    Capabilities,
    Finish,
    FloatArray,
    LengthRefusal,
    LiveCollectivePhi,
    Overview,
    Piece,
    ReplicaHealth,
    Route,
    RouterStatus,
    TokenArray,
    TokenLogprob,
    Traffic,
)
from constellation.v1 import common_pb2, constellation_pb2
from constellation.wire import convert, overview_messages
from constellation.wire.descriptions import declared
from constellation.wire.record_messages import from_message


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """A complete answer."""

    text: str
    """What the kernel wrote; the prompt is not repeated."""
    route: Route
    """Where the query went, and why."""
    finish: Finish
    """Why and after how many tokens the text ended."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each token written, when `logprobs` were asked for."""
    tokens: tuple[int, ...] = ()
    """Ids of the tokens written; empty when the kernel does not say them."""
    trace_id: str = ""
    """The request's trace at the router, 32 hexadecimal digits; empty without tracing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextScore:
    """How likely a text is under the kernel, or the kernels, that the text was routed to."""

    nats: float
    """Negative log-likelihood, >= 0."""
    num_tokens: int
    num_bytes: int
    """UTF-8 bytes scored."""
    route: Route
    trace_id: str = ""
    """As in `Reply`."""

    @property
    def bits_per_byte(self) -> float:
        """Negative log2-likelihood per UTF-8 byte, >= 0."""
        return self.nats / log(2) / self.num_bytes


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TextBasin:
    """A text's tokens and its point of the simplex."""

    basin_K: FloatArray
    tokens: TokenArray
    coordizer_hash: str
    """sha256 (hex) of the coordizer that made both."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class KernelStatus:
    """One kernel as a router sees it."""

    name: str
    seat: int | None
    """Index of its E8 root, 0 to 239."""
    endpoint: str | None
    """host:port; None while it is down."""
    up: bool
    pid: int
    """0 while it is down."""
    num_restarts: int
    num_routed: int
    """Requests this router sent to it."""
    phi_gauge: float | None
    """Integration on the reference checkpoint's scale, [0, 1]; None when not measured."""
    basin_K: FloatArray
    """Its fitted basin: the mean of its training texts'."""
    queue_depth: int
    num_running: int
    basins_BK: FloatArray
    """The basins by which it is routed to, the nearest of which counts, shape (B, K)."""
    arrived: float | None
    """Share of its held-out passages of 32 tokens that are routed to it, or to its family, by the
    bearing rule, [0, 1]; None when not measured."""
    num_held_out: int
    """Held-out passages behind `arrived`."""
    family: str | None
    """Root of the family with which it shares its queries; None for a kernel that has none."""
    capabilities: Capabilities = EVERYTHING
    """Which requests the kernel answers beside continuing a text."""
    vocabulary: str = COORDIZER_TOKENS
    """Name of the vocabulary that the kernel writes in."""
    node: str = ""
    """Id of the node on which its process runs; empty while that is not known."""
    replicas: tuple[ReplicaHealth, ...] = ()
    """Its processes, when several are to serve it; then the fields above are the sums of their
    requests and restarts, and endpoint, process and node of the first that is up."""
    problem: str = ""
    """Why fewer processes serve it than are wanted; empty when nothing is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ConstellationStatus:
    """The constellation as one router sees it."""

    kernels: tuple[KernelStatus, ...]
    table_version: int
    coordizer_hash: str
    router_pid: int
    registry_pid: int
    """0 while it restarts."""
    uptime_s: float
    """Seconds since the router started."""
    load_entropy_ratio: float
    """Entropy of the routes over ln(number of kernels), [0, 1]."""
    num_unexpected_errors: int
    """Exceptions that were nobody's intention; the bar is 0."""
    routers: tuple[RouterStatus, ...] = ()
    """All routers, the one that was asked too."""
    collective_phi: LiveCollectivePhi | None = None
    """What the router measured of the kernels together; None when it does not."""
    start_problem: str = ""
    """What is wrong with how processes are started, such as slowly; empty when nothing is."""
    refusal: tuple[LengthRefusal, ...] = ()
    """What refusing out-of-domain queries does at the default share, by length."""
    router: str = ""
    """Name of the router that was asked."""
    traffic: Traffic = field(default_factory=Traffic)
    """That router's requests of the last minute."""
    release: int = 0
    """Number of the release that is served; 0: none."""
    overview: Overview = field(default_factory=Overview)
    """Since when it is served, the latest releases, the nodes, and a training."""


@dataclass(slots=True)
class Answer:
    """Assembles an answer from its pieces."""

    route: Route | None = None
    finish: Finish | None = None
    started: bool = False
    """True from the first token on; after it the call is not repeated."""
    trace_id: str = ""
    _texts: list[str] = field(default_factory=list)
    _logprobs: list[TokenLogprob] = field(default_factory=list)
    _tokens: list[int] = field(default_factory=list)

    def add(self, message: constellation_pb2.GenerateReply) -> Piece:
        """Add the next message and return its piece."""
        if message.HasField("route"):
            self.route = convert.route_from_message(message.route)
            self.trace_id = message.trace_id
        if message.HasField("finish"):
            self.finish = convert.finish_from_message(message.finish)
        self.started |= bool(message.text) or message.num_tokens > 0
        self._texts.append(message.text)
        logprobs = convert.logprobs_from_message(message.logprobs)
        self._logprobs += logprobs
        self._tokens += message.tokens
        return Piece(
            text=message.text,
            num_tokens=message.num_tokens,
            finish=self.finish,
            logprobs=logprobs,
            tokens=tuple(message.tokens),
        )

    def reply(self) -> Reply:
        """Return the whole answer; its last piece must have been added."""
        if self.route is None or self.finish is None:
            raise InternalError("the server sent an answer without its route or finish")
        return Reply(
            text="".join(self._texts),
            route=self.route,
            finish=self.finish,
            logprobs=tuple(self._logprobs),
            tokens=tuple(self._tokens),
            trace_id=self.trace_id,
        )


def whole_reply(message: constellation_pb2.GenerateReply, route: Route | None = None) -> Reply:
    """Read a whole answer, with its route if the message has none."""
    answer = Answer(route=route)
    answer.add(message)
    return answer.reply()


def score(message: constellation_pb2.ScoreReply) -> TextScore:
    """Read a score."""
    return from_message(message, TextScore, route=convert.route_from_message(message.route))


def basin(message: constellation_pb2.BasinReply) -> TextBasin:
    """Read a text's basin."""
    return TextBasin(
        basin_K=_point(message.basin),
        tokens=np.asarray(message.tokens, dtype=np.int32),
        coordizer_hash=message.coordizer_hash,
    )


def status(message: constellation_pb2.StatusReply) -> ConstellationStatus:
    """Read the constellation's state."""
    measured = message.HasField("collective_phi")
    return from_message(
        message,
        ConstellationStatus,
        kernels=tuple(_kernel(kernel) for kernel in message.kernels),
        uptime_s=message.uptime.ToNanoseconds() / 1e9,
        routers=tuple(from_message(router, RouterStatus) for router in message.routers),
        collective_phi=(
            convert.collective_phi_from_message(message.collective_phi) if measured else None
        ),
        refusal=tuple(from_message(row, LengthRefusal) for row in message.refusal),
        traffic=overview_messages.traffic_from_message(message.traffic),
        overview=overview_messages.overview_from_message(message),
    )


def _kernel(message: constellation_pb2.KernelStatus) -> KernelStatus:
    return from_message(
        message,
        KernelStatus,
        endpoint=message.endpoint or None,
        basin_K=_point(message.basin),
        basins_BK=np.stack([_point(basin) for basin in message.basins or [message.basin]]),
        family=message.family or None,
        replicas=tuple(
            from_message(each, ReplicaHealth, endpoint=each.endpoint or None)
            for each in message.replicas
        ),
        **declared(message),
    )


def _point(message: common_pb2.Point) -> FloatArray:
    return np.asarray(message.values, dtype=np.float64)
