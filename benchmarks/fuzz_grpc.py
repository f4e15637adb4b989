"""Strange messages against the gRPC doors of a real constellation: is every answer a typed one?

    python -m benchmarks.fuzz_grpc --artifacts artifacts/starter --count 100000 --json

Starts a constellation, sends messages of `strange_messages` to its router and to a kernel, and
counts what comes back. `untyped` counts errors that do not carry one of ours in their details, or
that show a traceback; `hung` those that did not come within 30 s; `unexpected` is the router's own
count of errors that nobody intended. All three should be 0.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from benchmarks.strange_messages import strange_calls
from cluster import lifecycle
from constellation import Client
from constellation.settings import load_settings
from constellation.wire import channel, services, status
from constellation.wire.table_file import load_table

CONNECTIONS = 2
"""To each door."""
TIMEOUT_S = 30.0


def main() -> None:
    """Run it and print the counts."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            artifacts=arguments.artifacts, run_dir=Path(folder), serve={"port": 0, "http": False}
        )
        state = lifecycle.start(settings)
        try:
            kernel = load_table(Path(folder) / "table.msgpack").sites[0].endpoint
            assert kernel is not None
            doors = {state.endpoint: services.CONSTELLATION, kernel: services.KERNEL}
            report = fuzz(doors, seed=arguments.seed, count=arguments.count)
            with Client(state.endpoint) as stars:
                report["unexpected"] = stars.status().num_unexpected_errors
                report["answers_after"] = bool(stars.ask("x", tokens_max=1).finish)
        finally:
            lifecycle.stop(settings.run_dir)
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, help="what training left")
    parser.add_argument("--count", type=int, default=100_000, help="messages to send")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def fuzz(doors: dict[str, ServiceDescriptor], *, seed: int, count: int) -> dict[str, Any]:
    """Send every door its share of the messages; return the counts."""
    connections = [(endpoint, doors[endpoint]) for endpoint in doors for _ in range(CONNECTIONS)]
    started_s = time.monotonic()
    with ThreadPoolExecutor(len(connections)) as pool:
        jobs = [
            pool.submit(_send, *connection, seed * len(connections) + place, share)
            for place, (connection, share) in enumerate(
                zip(connections, _parts(count, len(connections)), strict=True)
            )
        ]
        seen: Counter[str] = sum((job.result() for job in jobs), Counter())
    untyped, hung = seen.pop("untyped", 0), seen.pop("hung", 0)
    return {
        "inputs": count,
        "untyped": untyped,
        "hung": hung,
        "statuses": dict(sorted(seen.items())),
        "seconds": round(time.monotonic() - started_s, 1),
    }


def _parts(count: int, num_parts: int) -> Sequence[int]:
    return [len(range(place, count, num_parts)) for place in range(num_parts)]


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
    ours = status.DETAILS_KEY in dict(error.trailing_metadata() or ())
    internal = error.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return None if ours and not internal and "Traceback" not in error.details() else "untyped"


if __name__ == "__main__":
    main()
