"""Strange messages against the gRPC doors of a real constellation: is every answer a typed one?

    python -m benchmarks.fuzz_grpc --artifacts artifacts/starter --count 100000 --json

Starts a constellation, sends messages of `strange_messages` to its router and to a kernel, and
counts what comes back. `untyped` counts errors that do not carry one of ours in their details, or
that show a traceback; `hung` those that did not come within 30 s; `unexpected` is the router's own
count of errors that nobody intended. All three should be 0.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from benchmarks import fuzzing
from benchmarks.fuzzing import TIMEOUT_S, Send
from benchmarks.strange_messages import strange_calls
from cluster.state_file import RunState
from constellation.wire import channel, error_status, services
from constellation.wire.table_file import load_table

CONNECTIONS = 2
"""To each door."""


def main() -> None:
    """Run it and print the counts."""
    fuzzing.main(__doc__, _senders)


def _senders(state: RunState, run_dir: Path) -> Sequence[Send]:
    kernel = load_table(run_dir / "table.msgpack").sites[0].endpoint
    assert kernel is not None
    return senders_to({state.endpoint: services.CONSTELLATION, kernel: services.KERNEL})


def senders_to(doors: dict[str, ServiceDescriptor]) -> Sequence[Send]:
    """Return what sends messages to these endpoints, each of its service."""
    return [partial(_send, *door) for door in doors.items() for _ in range(CONNECTIONS)]


def _send(endpoint: str, service: ServiceDescriptor, seed: int, count: int) -> Counter[str]:
    seen: Counter[str] = Counter()
    with grpc.insecure_channel(endpoint, options=channel.CHANNEL_OPTIONS) as way:
        for method, data in strange_calls((service,), seed, count):
            try:
                _call(way, method, data)
            except grpc.RpcError as error:
                seen[error.code().name] += 1
                kind = _complaint(error)
                if kind is not None:
                    seen[kind] += 1
                    sys.stderr.write(f"{kind}: {method.full_name} {data!r}: {error}\n")
            else:
                seen["OK"] += 1
    return seen


def _call(way: grpc.Channel, method: MethodDescriptor, data: bytes) -> None:
    path = services.path(method)
    if method.client_streaming:
        for _ in way.stream_stream(path)(iter([data, data]), timeout=TIMEOUT_S):
            pass
    elif method.server_streaming:
        for _ in way.unary_stream(path)(data, timeout=TIMEOUT_S):
            pass
    else:
        way.unary_unary(path)(data, timeout=TIMEOUT_S)


def _complaint(error: grpc.RpcError) -> str | None:
    """Return what is wrong with an error, or None."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "hung"
    ours = error_status.DETAILS_KEY in dict(error.trailing_metadata() or ())
    internal = error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return None if ours and not internal and "Traceback" not in error.details() else "untyped"


if __name__ == "__main__":
    main()
