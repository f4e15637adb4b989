"""Convert records to and from protobuf messages; requests are checked here, where they enter."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from constellation.errors import InvalidBasin, InvalidPrompt, InvalidRequest
from constellation.geometry.simplex import check_simplex
from constellation.records import (
    Alternative,
    Choice,
    Finish,
    FinishReason,
    FloatArray,
    LiveCollectivePhi,
    Mode,
    Piece,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    Segment,
    TokenInfluence,
    TokenLogprob,
)
from constellation.v1 import common_pb2, constellation_pb2, kernel_pb2
from constellation.wire.record_messages import from_message, to_message

OUTCOMES_MAX = 4096
"""Most values of a basin in a message; basins of a table of 240 kernels have 256 values."""

TEXT_BYTES_MAX = 1024 * 1024
"""Longest text of a request in bytes."""

RULE_OF = {common_pb2.RULE_GEODESIC: Rule.GEODESIC, common_pb2.RULE_BEARING: Rule.BEARING}
MODE_NUMBER = {
    Mode.NEAREST: common_pb2.MODE_NEAREST,
    Mode.MIXTURE: common_pb2.MODE_MIXTURE,
    Mode.POSTERIOR: common_pb2.MODE_POSTERIOR,
}
_MODE = {
    common_pb2.MODE_UNSPECIFIED: Mode.NEAREST,
    **{number: mode for mode, number in MODE_NUMBER.items()},
}
_FINISH = {
    common_pb2.FINISH_REASON_END: FinishReason.END,
    common_pb2.FINISH_REASON_LENGTH: FinishReason.LENGTH,
    common_pb2.FINISH_REASON_CONTEXT: FinishReason.CONTEXT,
    common_pb2.FINISH_REASON_STOP: FinishReason.STOP,
}
RULE_NUMBER = {rule: number for number, rule in RULE_OF.items()}
FINISH_NUMBER = {reason: number for number, reason in _FINISH.items()}

# All but `logit_bias` and `stop`, which are empty when they are not set.
_SAMPLING_FIELDS = tuple(
    field.name for field in common_pb2.Sampling.DESCRIPTOR.fields if field.has_presence
)


def _enum(field: str, number: int, meaning: dict[Any, Any]) -> Any:
    if number not in meaning:
        raise InvalidRequest(field, number, ", ".join(str(known) for known in sorted(meaning)))
    return meaning[number]


def check_text(field: str, text: str, *, empty_allowed: bool = False) -> str:
    """Return `text`, or raise `InvalidPrompt` when it is empty or over 1 MiB."""
    num_bytes = len(text) if text.isascii() else len(text.encode())
    if num_bytes > TEXT_BYTES_MAX or (num_bytes == 0 and not empty_allowed):
        raise InvalidPrompt(length=num_bytes, limit=TEXT_BYTES_MAX, unit="bytes")
    return text


def point_to_message(p_K: FloatArray) -> common_pb2.Point:
    """Return a simplex point as a message."""
    return common_pb2.Point(values=p_K.tolist())


def points_to_messages(basins_BK: FloatArray) -> list[common_pb2.Point]:
    """Return several basins as messages; none for one basin, which has its own field."""
    return [point_to_message(basin_K) for basin_K in basins_BK] if len(basins_BK) > 1 else []


def point_from_message(message: common_pb2.Point) -> FloatArray:
    """Return a simplex point, checked; raises `InvalidBasin`. Routing compares its length later."""
    values = np.asarray(message.values, dtype=np.float64)
    if not 2 <= len(values) <= OUTCOMES_MAX:
        raise InvalidBasin(
            f"the basin has {len(values)} values; send as many as the table's basins have"
        )
    return check_simplex(values)


def sampling_from_message(message: common_pb2.Sampling) -> Sampling:
    """Return the sampling options, checked; unset fields get the defaults of `Sampling`."""
    # ListFields would skip a temperature of 0 that was set; HasField does not.
    given = {name: getattr(message, name) for name in _SAMPLING_FIELDS if message.HasField(name)}
    if message.logit_bias:
        given["logit_bias"] = dict(message.logit_bias)
    if message.stop:
        given["stop"] = tuple(message.stop)
    return Sampling(**given)


def sampling_to_message(sampling: Sampling) -> common_pb2.Sampling:
    """Return the sampling options as a message; fields that are None stay unset."""
    values = {name: getattr(sampling, name) for name in _SAMPLING_FIELDS}
    message = common_pb2.Sampling(**{k: v for k, v in values.items() if v is not None})
    if sampling.logit_bias or sampling.stop:
        message.MergeFrom(common_pb2.Sampling(logit_bias=sampling.logit_bias, stop=sampling.stop))
    return message


def routing_from_message(message: constellation_pb2.Routing) -> RoutingOptions:
    """Return the routing options, checked."""
    rule = _enum("routing.rule", message.rule, {common_pb2.RULE_UNSPECIFIED: None, **RULE_OF})
    return from_message(
        message,
        RoutingOptions,
        rule=rule,
        mode=_enum("routing.mode", message.mode, _MODE),
        kernel=message.kernel or None,
        basin_K=point_from_message(message.basin) if message.HasField("basin") else None,
    )


def routing_to_message(options: RoutingOptions) -> constellation_pb2.Routing:
    """Return the routing options as a message."""
    return to_message(
        constellation_pb2.Routing,
        options,
        rule=RULE_NUMBER[options.rule] if options.rule else common_pb2.RULE_UNSPECIFIED,
        mode=MODE_NUMBER[options.mode],
        basin=None if options.basin_K is None else point_to_message(options.basin_K),
    )


def route_to_message(route: Route) -> constellation_pb2.RouteDecision:
    """Return the route as a message."""
    decision = to_message(
        constellation_pb2.RouteDecision,
        route,
        rule=RULE_NUMBER[route.rule],
        mode=MODE_NUMBER[route.mode],
        choices=None,
        influences=[to_message(constellation_pb2.TokenInfluence, i) for i in route.influences],
    )
    for c in route.choices:
        decision.choices.add(
            kernel=c.kernel,
            seat=c.seat,
            distance=c.distance,
            weight=c.weight,
            radius=c.radius,
            basin=c.basin,
        )
    return decision


def route_from_message(message: constellation_pb2.RouteDecision) -> Route:
    """Return the route in a message."""
    return from_message(
        message,
        Route,
        rule=_enum("route.rule", message.rule, RULE_OF),
        mode=_enum("route.mode", message.mode, _MODE),
        choices=tuple(_choice(choice) for choice in message.choices),
        influences=tuple(from_message(each, TokenInfluence) for each in message.influences),
    )


def _choice(message: constellation_pb2.RouteChoice) -> Choice:
    return Choice(
        kernel=message.kernel,
        seat=message.seat if message.HasField("seat") else None,
        distance=message.distance,
        weight=message.weight,
        radius=message.radius,
        basin=message.basin if message.HasField("basin") else None,
    )


def piece_to_message(piece: Piece) -> kernel_pb2.KernelGenerateReply:
    """Return a piece of an answer as a message."""
    reply = kernel_pb2.KernelGenerateReply(
        text=piece.text, num_tokens=piece.num_tokens, tokens=piece.tokens
    )
    if piece.finish is not None:
        reply.finish.CopyFrom(_finish_to_message(piece.finish))
    for logprob in piece.logprobs:
        message = reply.logprobs.add(
            token=logprob.token, text=logprob.text, logprob=logprob.logprob
        )
        for other in logprob.top:
            message.top.add(token=other.token, text=other.text, logprob=other.logprob)
    return reply


def join_pieces(pieces: Sequence[Piece]) -> Piece:
    """Join the pieces of one answer to a single piece.

    Args:
        pieces: Pieces in order, at least one; the last piece has the finish.
    """
    return Piece(
        text="".join(piece.text for piece in pieces),
        num_tokens=sum(piece.num_tokens for piece in pieces),
        finish=pieces[-1].finish,
        logprobs=tuple(logprob for piece in pieces for logprob in piece.logprobs),
        tokens=tuple(token for piece in pieces for token in piece.tokens),
    )


def piece_from_bytes(data: bytes) -> Piece:
    """Return the piece of an answer in a kernel's serialised reply."""
    message = kernel_pb2.KernelGenerateReply.FromString(data)
    return Piece(
        text=message.text,
        num_tokens=message.num_tokens,
        finish=finish_from_message(message.finish) if message.HasField("finish") else None,
        logprobs=logprobs_from_message(message.logprobs),
        tokens=tuple(message.tokens),
    )


def logprobs_from_message(
    messages: Iterable[common_pb2.TokenLogprob],
) -> tuple[TokenLogprob, ...]:
    """Return the log-probabilities of a piece's tokens."""
    return tuple(
        TokenLogprob(
            token=message.token,
            text=message.text,
            logprob=message.logprob,
            top=tuple(
                Alternative(token=other.token, text=other.text, logprob=other.logprob)
                for other in message.top
            ),
        )
        for message in messages
    )


def _finish_to_message(finish: Finish) -> common_pb2.Finish:
    message = to_message(
        common_pb2.Finish,
        finish,
        reason=FINISH_NUMBER[finish.reason],
        weights=_weights_to_messages(finish.weights),
        segments=map(_segment_to_message, finish.segments),
    )
    message.elapsed.FromNanoseconds(round(finish.elapsed_s * 1e9))
    return message


def finish_from_message(message: common_pb2.Finish) -> Finish:
    """Return the end of an answer."""
    return from_message(
        message,
        Finish,
        reason=_enum("finish.reason", message.reason, _FINISH),
        elapsed_s=message.elapsed.ToNanoseconds() / 1e9,
        weights=_weights(message.weights),
        segments=tuple(
            from_message(each, Segment, weights=_weights(each.weights)) for each in message.segments
        ),
    )


def segments_to_message(segments: Iterable[Segment]) -> constellation_pb2.GenerateReply:
    """Return the segments of an answer as a message to append to its last reply.

    Protobuf merges messages whose bytes are concatenated, so the last reply need not be changed.
    """
    reply = constellation_pb2.GenerateReply()
    reply.finish.segments.extend(map(_segment_to_message, segments))
    return reply


def _segment_to_message(segment: Segment) -> common_pb2.Segment:
    weights = _weights_to_messages(segment.weights)
    return to_message(common_pb2.Segment, segment, weights=weights)


def _weights_to_messages(weights: Mapping[str, float]) -> list[common_pb2.KernelWeight]:
    return [common_pb2.KernelWeight(kernel=name, weight=each) for name, each in weights.items()]


def _weights(messages: Iterable[common_pb2.KernelWeight]) -> dict[str, float]:
    return {share.kernel: share.weight for share in messages}


def collective_phi_to_message(found: LiveCollectivePhi) -> constellation_pb2.CollectivePhi:
    """Return what kernels are worth together as a message."""
    low, high = found.interval or (None, None)
    return to_message(constellation_pb2.CollectivePhi, found, low=low, high=high)


def collective_phi_from_message(message: constellation_pb2.CollectivePhi) -> LiveCollectivePhi:
    """Return the record of what kernels are worth together."""
    if not message.HasField("phi_bits"):
        return LiveCollectivePhi(num_prompts=message.num_prompts, num_needed=message.num_needed)
    return from_message(message, LiveCollectivePhi, interval=(message.low, message.high))
