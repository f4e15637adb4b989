"""The calls of a client as data: RPC, message, and how the reply is read.

No input or output; all clients share this file. Only values that a message cannot carry are checked
here; the server checks ranges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from secrets import token_hex
from typing import Any, Generic, TypedDict, TypeVar, Unpack

import numpy as np
from google.protobuf.message import Message
from numpy.typing import ArrayLike

from constellation.client import replies
from constellation.errors import InvalidBasin, InvalidRequest
from constellation.records import (
    Change,
    Changed,
    FloatArray,
    Mode,
    Rebalance,
    Reload,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
)
from constellation.v1 import common_pb2, constellation_pb2
from constellation.wire import convert
from constellation.wire.callers import check_request_id
from constellation.wire.change_messages import change_to_message, check_change
from constellation.wire.record_messages import from_message

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Call(Generic[ResultT]):
    """One call of ConstellationService."""

    method: str
    """Name of the RPC."""
    request: Message
    read: Callable[[Any], ResultT]
    """Turns the reply's message into what the caller gets."""
    repeatable: bool = True
    """False when a second try after a lost reply would mean something else than the first."""


class RouteOptions(TypedDict, total=False):
    """How a query is routed; the router's configuration decides what is not given."""

    kernel: str | None
    """The kernel that must answer."""
    rule: Rule | str | None
    """"geodesic" or "bearing"."""
    mode: Mode | str
    """"nearest", one kernel answers; "mixture" or "posterior", the `top_k` nearest do together."""
    top_k: int | None
    """Kernels that receive weights, 1 to the number of kernels."""
    refuse_out_of_domain: bool
    """Raise `OutOfDomain` when the query is out of domain at the default share: 1 % of the queries
    that belong to a domain are refused."""
    refuse: float | None
    """The same at another share of in-domain queries, 0.002 to 0.5."""
    explain: bool
    """Name the tokens that moved the basin most, in `route.influences`."""
    basin: ArrayLike | None
    """Route by this simplex point, shape (64,), instead of the text's own basin."""
    handoff: bool
    """Let another kernel go on when the answer moves into its domain; `finish.segments` tells."""
    without: Sequence[str]
    """Kernels that are left out, as if they were not there; at least one has to be left."""


class AskOptions(RouteOptions, total=False):
    """How an answer is routed and written; the server's defaults hold for what is not given."""

    tokens_max: int | None
    """Most tokens to write, 1 to 4096; 128 by default."""
    temperature: float | None
    """0 (greedy) to 2; 0.8 by default."""
    top_k_tokens: int | None
    """Keep the k most likely tokens, 1 to 65536; all by default."""
    top_p: float | None
    """Keep the smallest set of tokens with this probability, (0, 1]; 1 by default."""
    min_p: float | None
    """Keep tokens at least this likely relative to the best, [0, 1); 0 by default."""
    repetition_penalty: float | None
    """Divide the logits of tokens already present by this, 0.5 to 2; 1 by default."""
    seed: int | None
    """Seed of the draw, 0 to 2^63 - 1; drawn by default."""
    tokens_min: int | None
    """Tokens before which the kernel does not end the text itself, 0 to `tokens_max`; 0."""
    presence_penalty: float | None
    """Taken off the logit of every token written before, -2 to 2; 0 by default."""
    frequency_penalty: float | None
    """The same, times how often the token was written, -2 to 2; 0 by default."""
    logit_bias: Mapping[int, float] | None
    """Added to the logits of these tokens, -100 to 100; at most 300 tokens."""
    stop: str | Sequence[str] | None
    """The answer ends before the first of these texts; at most 8, of 1 to 256 characters each."""
    request_id: str | None
    """Under which the router knows this request when it is sent again, 1 to 64 printable ASCII
    characters; drawn by default, once for all tries of a call."""
    logprobs: int | None
    """Likeliest tokens named with every token, 0 to 20; by default no log-probabilities."""


_OPTIONS = AskOptions.__optional_keys__
_ROUTING = RouteOptions.__optional_keys__


def ask(text: str, **options: Unpack[AskOptions]) -> Call[replies.Reply]:
    """Ask for a whole answer to `text`."""
    return Call("Ask", generate(text, **options), replies.whole_reply)


def generate(text: str, **options: Unpack[AskOptions]) -> constellation_pb2.GenerateRequest:
    """Return the request for an answer to `text`.

    Raises:
        TypeError: An option is unknown.
    """
    if not options.keys() <= _OPTIONS:
        raise TypeError(f"unknown options {sorted(options.keys() - _OPTIONS)}; see AskOptions")
    routing: dict[str, Any] = {}
    sampling: dict[str, Any] = {}
    for name, value in options.items():
        (routing if name in _ROUTING else sampling)[name] = value
    request_id = _request_id(sampling.pop("request_id", None))
    sampling["top_k"] = sampling.pop("top_k_tokens", None)
    sampling["stop"] = _stops(sampling.get("stop"))
    return constellation_pb2.GenerateRequest(
        prompt=_encodable("prompt", text),
        sampling=_sampling(**sampling),
        routing=_routing(**routing),
        request_id=request_id,
    )


def score(text: str, context: str, **routing: Unpack[RouteOptions]) -> Call[replies.TextScore]:
    """Ask how likely `text` is after `context`."""
    request = constellation_pb2.ScoreRequest(
        text=_encodable("text", text),
        context=_encodable("context", context),
        routing=_routing(**routing),
    )
    return Call("Score", request, replies.score)


def route(text: str, **routing: Unpack[RouteOptions]) -> Call[Route]:
    """Ask where `text` would go, and why."""
    request = constellation_pb2.RouteRequest(
        text=_encodable("text", text), routing=_routing(**routing)
    )
    return Call("Route", request, lambda reply: convert.route_from_message(reply.route))


def basin(text: str) -> Call[replies.TextBasin]:
    """Ask for the tokens and the basin of `text`."""
    request = constellation_pb2.BasinRequest(text=_encodable("text", text))
    return Call("Basin", request, replies.basin)


def status() -> Call[replies.ConstellationStatus]:
    """Ask what the kernels are doing."""
    return Call("Status", constellation_pb2.StatusRequest(), replies.status)


def table(known_version: int) -> Call[constellation_pb2.TableReply]:
    """Ask for the table of a router, unless its version is `known_version`."""
    request = constellation_pb2.TableRequest(known_version=known_version)
    return Call("Table", request, lambda reply: reply)


def change(asked: Change) -> Call[Changed]:
    """Ask to change what is served.

    Raises:
        InvalidRequest: A name cannot be one.
    """
    check_change(asked)
    for each in fields(asked):
        if isinstance(text := getattr(asked, each.name), str):
            _encodable(each.name, text)
    # Twice is the same as once.
    repeatable = isinstance(asked, Reload | Rebalance)
    return Call(
        "Change",
        change_to_message(asked),
        lambda reply: from_message(reply, Changed),
        repeatable=repeatable,
    )


def _encodable(field: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(field, text, "text that UTF-8 can carry (no surrogates)") from error
    return text


def _request_id(given: str | None) -> str:
    if given is None:
        return token_hex(12)
    if check_request_id("request_id", given) is None:
        raise InvalidRequest("request_id", given, "1 character or more, or None to have one drawn")
    return given


def _stops(stop: str | Sequence[str] | None) -> tuple[str, ...] | None:
    return (stop,) if isinstance(stop, str) else None if stop is None else tuple(stop)


def _sampling(**options: Any) -> common_pb2.Sampling:
    given = {name: value for name, value in options.items() if value is not None}
    checked = Sampling(**given)  # before protobuf meets a number that it cannot carry
    for text in checked.stop:
        _encodable("stop", text)
    return common_pb2.Sampling(**given)


def _routing(
    *,
    kernel: str | None = None,
    rule: Rule | str | None = None,
    mode: Mode | str = Mode.NEAREST,
    top_k: int | None = None,
    basin: ArrayLike | None = None,
    without: Sequence[str] = (),
    **unchanged: Any,
) -> constellation_pb2.Routing:
    if kernel == "":
        raise InvalidRequest("kernel", kernel, "the name of a kernel, or None for the nearest")
    if top_k is not None and not 1 <= top_k < 2**32:
        raise InvalidRequest("top_k", top_k, "1 to the number of kernels")
    options = RoutingOptions(
        rule=_rule(rule),
        mode=_mode(mode),
        top_k=top_k,
        kernel=None if kernel is None else _encodable("kernel", kernel),
        basin_K=None if basin is None else _point(basin),
        without=_names(without),
        **unchanged,
    )
    return convert.routing_to_message(options)


def _names(without: Sequence[str]) -> tuple[str, ...]:
    if isinstance(without, str):  # whose letters would be taken for names
        raise InvalidRequest("without", without, "a list of names of kernels")
    return tuple(_encodable("without", name) for name in without)


def _rule(rule: Rule | str | None) -> Rule | None:
    if rule is None:
        return None
    try:
        return Rule(rule)
    except ValueError as error:
        raise InvalidRequest("rule", rule, " or ".join(Rule)) from error


def _mode(mode: Mode | str) -> Mode:
    try:
        return Mode(mode)
    except ValueError as error:
        raise InvalidRequest("mode", mode, ", ".join(Mode)) from error


def _point(values: ArrayLike) -> FloatArray:
    point_K = np.asarray(values, dtype=np.float64)
    if point_K.ndim != 1:
        raise InvalidBasin(f"the basin has shape {point_K.shape}; send one point, shape (64,)")
    return point_K
