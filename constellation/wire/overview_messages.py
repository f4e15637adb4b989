"""Convert traffic and overview (releases, nodes, training) to and from messages of `Status`."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from constellation.records import (
    WINDOW_S,
    Durations,
    KernelTraining,
    Node,
    NodeState,
    Overview,
    ReleaseSummary,
    SecondCount,
    Traffic,
    TrainingStatus,
)
from constellation.v1 import constellation_pb2
from constellation.wire.record_messages import from_message, to_message


def traffic_to_message(traffic: Traffic) -> constellation_pb2.Traffic:
    """Return traffic as a message."""
    return to_message(
        constellation_pb2.Traffic,
        traffic,
        latency=constellation_pb2.Durations(counts=traffic.latency.counts),
        first_token=constellation_pb2.Durations(counts=traffic.first_token.counts),
        requests_of_second=[each.requests for each in traffic.seconds],
        tokens_of_second=[each.tokens for each in traffic.seconds],
    )


def traffic_from_message(message: constellation_pb2.Traffic) -> Traffic:
    """Return the traffic in a message; a router of an earlier version sends none."""
    rows = zip(message.requests_of_second, message.tokens_of_second, strict=False)
    seconds = [SecondCount(requests=requests, tokens=tokens) for requests, tokens in rows]
    missing = [SecondCount()] * (WINDOW_S - len(seconds))
    return from_message(
        message,
        Traffic,
        latency=Durations(counts=dict(message.latency.counts)),
        first_token=Durations(counts=dict(message.first_token.counts)),
        seconds=(*missing, *seconds[-WINDOW_S:]),
    )


def overview_to_fields(overview: Overview) -> dict[str, Any]:
    """Return the fields of `StatusReply` that an overview fills."""
    training = overview.training
    return {
        "release_since": _timestamp(overview.release_since_s),
        "releases": [
            to_message(constellation_pb2.ReleaseSummary, each, made=_timestamp(each.made_s))
            for each in overview.releases
        ],
        "nodes": [
            to_message(constellation_pb2.NodeState, each.node, each) for each in overview.nodes
        ],
        "training": None if training is None else _training_to_message(training),
    }


def overview_from_message(message: constellation_pb2.StatusReply) -> Overview:
    """Return the overview in a reply."""
    return Overview(
        release_since_s=(
            _seconds(message.release_since) if message.HasField("release_since") else None
        ),
        releases=tuple(
            from_message(each, ReleaseSummary, made_s=_seconds(each.made))
            for each in message.releases
        ),
        nodes=tuple(
            from_message(
                each,
                NodeState,
                node=Node(id=each.id, address=each.address, memory_bytes=each.memory_bytes),
            )
            for each in message.nodes
        ),
        training=(
            _training_from_message(message.training) if message.HasField("training") else None
        ),
    )


def _training_to_message(training: TrainingStatus) -> constellation_pb2.TrainingStatus:
    return constellation_pb2.TrainingStatus(
        state=training.state,
        updated=_timestamp(training.updated_s),
        kernels=[to_message(constellation_pb2.KernelTraining, each) for each in training.kernels],
    )


def _training_from_message(message: constellation_pb2.TrainingStatus) -> TrainingStatus:
    return TrainingStatus(
        state=message.state,
        updated_s=_seconds(message.updated),
        kernels=tuple(from_message(each, KernelTraining) for each in message.kernels),
    )


def _timestamp(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    made = Timestamp()
    made.FromMicroseconds(round(seconds * 1e6))
    return made


def _seconds(message: Timestamp) -> float:
    return float(message.ToMicroseconds() / 1e6)
