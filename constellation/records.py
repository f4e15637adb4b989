"""Plain frozen records shared by all floors. They hold facts and check them, nothing else.

Arrays are numpy, read-only by convention. Shapes: K outcomes of the simplex (64 by default).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from constellation.errors import InvalidRequest

FloatArray = NDArray[np.float64]
TokenArray = NDArray[np.int32]

STOPS_MAX = 8
"""Stop strings of one request."""


class Rule(StrEnum):
    """How a query's basin is compared with a kernel's."""

    GEODESIC = "geodesic"
    """Fisher-Rao distance between the two basins, radians on the sphere of radius 2, [0, pi]."""
    BEARING = "bearing"
    """Angle between their unit log-map directions seen from the background, radians, [0, pi]."""


class Mode(StrEnum):
    """How many kernels answer."""

    NEAREST = "nearest"
    """One kernel answers."""
    MIXTURE = "mixture"
    """The top k write together, weighted by the route, whose weights follow the text."""
    POSTERIOR = "posterior"
    """The top k write together, weighted by Bayes from how likely each found the text so far."""


class FinishReason(StrEnum):
    """Why a generation ended."""

    END = "end"
    """The kernel ended the text itself."""
    LENGTH = "length"
    """`tokens_max` was reached."""
    CONTEXT = "context"
    """The kernel's context is full."""
    STOP = "stop"
    """One of the caller's stop strings came up."""


def _is_within(value: object, low: float, high: float, kind: type = float) -> bool:
    numeric = (int,) if kind is int else (int, float)
    # Written so that NaN fails: every comparison with it is false.
    return not isinstance(value, bool) and isinstance(value, numeric) and low <= value <= high


def _check_range(name: str, value: object, *, low: float, high: float, kind: type = float) -> None:
    if not _is_within(value, low, high, kind):
        raise InvalidRequest(name, value, f"{kind.__name__} from {low:g} to {high:g}")


def _check_bias(bias: object) -> None:
    if not isinstance(bias, Mapping) or not (
        len(bias) <= 300
        and all(_is_within(token, 0, 2**31 - 1, int) for token in bias)
        and all(_is_within(value, -100, 100) for value in bias.values())
    ):
        raise InvalidRequest("logit_bias", bias, "at most 300 token ids, numbers from -100 to 100")


def _check_stop(stop: object) -> None:
    if not isinstance(stop, tuple) or not (
        len(stop) <= STOPS_MAX
        and all(isinstance(text, str) and 1 <= len(text) <= 256 for text in stop)
    ):
        raise InvalidRequest("stop", stop, f"at most {STOPS_MAX} texts of 1 to 256 characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the tokens of one answer are chosen.

    Raises:
        InvalidRequest: A field is out of its range or NaN.
    """

    tokens_max: int = 128
    """Most tokens to generate, 1 to 4096."""
    temperature: float = 0.8
    """0 (greedy) to 2."""
    top_k: int | None = None
    """Keep the k most likely tokens, 1 to 65536; None keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this probability, in (0, 1]."""
    min_p: float = 0.0
    """Keep tokens at least this likely relative to the most likely, in [0, 1)."""
    repetition_penalty: float = 1.0
    """Divide (multiply, when negative) the logits of tokens already present by this, 0.5 to 2."""
    seed: int | None = None
    """Seed of the draw, 0 to 2^63 - 1; None draws one."""
    tokens_min: int = 0
    """Tokens before which the kernel does not end the text itself, 0 to `tokens_max`."""
    presence_penalty: float = 0.0
    """Taken off the logits of tokens written before, -2 to 2; the prompt's do not count."""
    frequency_penalty: float = 0.0
    """The same, times how often the token was written, -2 to 2."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens, -100 to 100; at most 300 tokens."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these; at most 8, of 1 to 256 characters each."""
    logprobs: int | None = None
    """Likeliest tokens named with every token, 0 to 20; None leaves log-probabilities out."""

    def __post_init__(self) -> None:
        _check_range("tokens_max", self.tokens_max, low=1, high=4096, kind=int)
        _check_range("temperature", self.temperature, low=0, high=2)
        _check_range("top_p", self.top_p, low=1e-6, high=1)
        _check_range("min_p", self.min_p, low=0, high=1 - 1e-6)
        _check_range("repetition_penalty", self.repetition_penalty, low=0.5, high=2)
        if self.top_k is not None:
            _check_range("top_k", self.top_k, low=1, high=65_536, kind=int)
        if self.seed is not None:
            _check_range("seed", self.seed, low=0, high=2**63 - 1, kind=int)
        _check_range("tokens_min", self.tokens_min, low=0, high=self.tokens_max, kind=int)
        _check_range("presence_penalty", self.presence_penalty, low=-2, high=2)
        _check_range("frequency_penalty", self.frequency_penalty, low=-2, high=2)
        if self.logprobs is not None:
            _check_range("logprobs", self.logprobs, low=0, high=20, kind=int)
        if self.logit_bias:
            _check_bias(self.logit_bias)
        if self.stop:
            _check_stop(self.stop)


@dataclass(frozen=True, kw_only=True, slots=True)
class RoutingOptions:
    """How one query is to be routed; None takes the router's configuration."""

    rule: Rule | None = None
    mode: Mode = Mode.NEAREST
    top_k: int | None = None
    """Kernels that receive weights, 1 to the number of kernels."""
    kernel: str | None = None
    """The kernel that must answer."""
    refuse_out_of_domain: bool = False
    explain: bool = False
    """Name the tokens that moved the basin most."""
    basin_K: FloatArray | None = None
    """Route by this point instead of the text's own basin."""
    handoff: bool = False
    """Let another kernel go on when the answer moves into its domain; in mode nearest only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelDescription:
    """What a kernel says of itself."""

    name: str
    tokenizer_hash: str
    """sha256 (hex) of the vocabulary and merges it was trained with."""
    context: int
    """Tokens it can read and write together."""
    num_parameters: int
    pid: int
    queue_depth: int
    num_running: int
    uptime_s: float
    num_unexpected_errors: int


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelHealth:
    """What the registry knows of a kernel's process."""

    name: str
    up: bool
    pid: int
    """0 while it is down."""
    num_restarts: int
    queue_depth: int = 0
    num_running: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of an answer that one kernel wrote."""

    kernel: str
    first: int
    """Index of its first token among the answer's, from 0."""
    reason: str
    """Why it wrote: as in `Route`, or "handoff" (it lies nearer to what was written)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The end of a generation."""

    reason: FinishReason
    num_prompt_tokens: int
    num_tokens: int
    elapsed_s: float
    weights: Mapping[str, float] = field(default_factory=dict)
    """Kernels that wrote it together -> weight at the last token; empty when one kernel wrote."""
    lost: tuple[str, ...] = ()
    """Those of them that were lost on the way and left out from then on."""
    segments: tuple[Segment, ...] = ()
    """Who wrote which part, in order, when kernels took over; empty: the route's kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A token and how likely it was."""

    token: int
    text: bytes
    """The token's bytes; a code point may be spread over several tokens."""
    logprob: float
    """Natural logarithm of its probability before penalties, bias, temperature and truncation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob(Alternative):
    """A token that was written, how likely it was, and what was likelier."""

    top: tuple[Alternative, ...] = ()
    """The likeliest tokens, likeliest first, as many as were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of an answer as it is written."""

    text: str
    """Continues what came before; whole code points."""
    num_tokens: int
    finish: Finish | None = None
    """Only in the last piece."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `num_tokens`, when they were asked for."""
    tokens: tuple[int, ...] = ()
    """Ids of these tokens; empty when the model does not say them."""


def transcript(turns: Iterable[str]) -> str:
    """Return a conversation as kernels read it: every turn, each followed by a line break.

    Roles leave no mark. What conversations are trained as, `chat` and the HTTP door all use this.

    Args:
        turns: What was said, in order.
    """
    return "".join(f"{turn}\n" for turn in turns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How likely a text is under one kernel."""

    nats: float
    """Negative log-likelihood, >= 0."""
    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Where a kernel's parent routed from before the two shared its queries."""

    parent: str
    """Name of the kernel that was split."""
    basin_K: FloatArray
    """Its basin before."""
    bearing_K: FloatArray
    """Its bearing before."""
    radii: Mapping[Rule, float]
    """Its radii before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelSite:
    """One kernel as routers and clients know it."""

    name: str
    """Unique, 1 to 64 characters of a-z, 0-9, '-', '_', '.'."""
    basin_K: FloatArray
    """Fitted basin: Hellinger mean of the basins of its training texts, a simplex point."""
    bearing_K: FloatArray
    """Mean unit bearing of its training texts seen from the table's background."""
    radii: Mapping[Rule, float]
    """Distance in radians beyond which a query is out of this kernel's domain, per rule."""
    seat: int | None = None
    """Index of its E8 root, 0 to 239: an address, not where it routes from."""
    phi_gauge: float | None = None
    """Integration on the reference checkpoint's robust scale, [0, 1]; None when not measured."""
    endpoint: str | None = None
    """host:port of its gRPC server; None while it is down."""
    split: Split | None = None
    """How a spawned kernel came to be; None for one that has text of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reloaded:
    """What a reload changed."""

    table_version: int
    """Version of the table that holds since."""
    kernels: tuple[str, ...]
    """Kernels whose weights changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grown:
    """What it changed that this kernel was added, spawned or retired."""

    kernel: str
    seat: int | None
    """The seat it took or gave up; None when the table's kernels have none."""
    table_version: int
    """Version of the table that holds since."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """The versioned set of kernels that routers and clients hold."""

    version: int
    """Rises by one with every change, from 1."""
    coordizer_hash: str
    """sha256 (hex) of the coordizer whose basins these are."""
    background_K: FloatArray
    """The corpus background pi, where bearings are taken."""
    temperatures: Mapping[Rule, float]
    """tau of softmax(-d^2 / (2 tau^2)) in radians, calibrated on held-out text, per rule."""
    sites: tuple[KernelSite, ...]
    """Kernels in a fixed order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """One kernel that was considered for a query."""

    kernel: str
    seat: int | None
    distance: float
    """Radians under the route's rule, [0, pi]."""
    weight: float
    """Share of the top k in [0, 1]; 0 outside it."""
    radius: float
    """The kernel's calibrated radius in radians under the same rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenInfluence:
    """How far one token of the query moved its basin."""

    text: str
    """The token as text (invalid UTF-8 replaced)."""
    position: int
    """Index among the query's tokens, from 0."""
    shift: float
    """Fisher-Rao distance in radians between the basin with and without this token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """The decision for one query, with its reasons."""

    choices: tuple[Choice, ...]
    """All kernels considered, nearest first."""
    kernel: str
    """The kernel that answers."""
    reason: str
    """"nearest", "pinned" (the caller named it), "failover" (a nearer one was lost) or "spill"."""
    rule: Rule
    """The rule that was used, after any fallback to geodesic."""
    mode: Mode
    margin: float
    """Second distance minus first, radians; 0 when there is one kernel."""
    out_of_domain: bool
    """True when the query lies outside every kernel's radius."""
    no_evidence: bool
    """True when the text had no token that says anything (its basin is the background)."""
    num_tokens: int
    table_version: int
    influences: tuple[TokenInfluence, ...] = field(default=())
    """Tokens that moved the basin most, largest first; only when an explanation was asked for."""

    @property
    def kernels(self) -> tuple[str, ...]:
        """Names of the kernels considered, nearest first."""
        return tuple(choice.kernel for choice in self.choices)

    @property
    def distances(self) -> tuple[float, ...]:
        """Their distances in radians under `rule`, in the same order."""
        return tuple(choice.distance for choice in self.choices)
