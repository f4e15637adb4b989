"""How many routed calls per second, beside a bare gRPC echo and Ray Serve, on one machine.

    python -m benchmarks.dispatch --json

Every call carries another 64-token text, which is really tokenised, folded and routed on both
sides; kernels do nothing; nothing is cached. Ours counts metrics, asks for a token, has limits for
every client and writes the access log. The order of the systems alternates from round to round;
figures are medians over the rounds. Client, router and kernels share the machine.

* `direct_ratio`: calls/s of the library's direct client over those of its client, 8 at once;
* `metrics_ratio`: calls/s over those without metrics, all else being there, 8 at once;
* `equipment_ratio`: calls/s over those without metrics, token, limits and access log, 8 at once;
* `stream_overhead_ms`: `benchmarks/dispatch_streams.py` says what it is.
"""

import argparse
import json
import socket
import statistics
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import dispatch_calls, dispatch_streams
from benchmarks.load_generator import Load, Open, run_load
from cluster.bootstrap import local_ray, prepare_environment
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.geometry import bearing
from constellation.records import KernelSite, Rule, Table
from constellation.settings import apply_environment
from constellation.wire.table_file import pack_table

CONCURRENCIES = (1, 8, 64)
TOKENS = 64
NUM_TEXTS = 1200
ONLY_AT = dict.fromkeys(
    ("constellation_8_uncounted", "constellation_8_bare", "client_8", "direct_8"), (8,)
)
"""Systems that are measured at some concurrencies only."""
_handles: list[Any] = []  # actors die with their last handle
SERVE_ENVIRONMENT = {
    "proxy": {
        # RAY_SERVE_THROUGHPUT_OPTIMIZED=1 without its direct ingress, which bypasses the proxy.
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_ENABLE_DIRECT_INGRESS": "0",
    },
    "haproxy": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1", "RAY_SERVE_ENABLE_HA_PROXY": "1"},
    "direct": {"RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"},
}
"""How a call reaches the Serve deployment that routes."""

PROCESSES = 4
"""Processes that host the no-op kernels, however many kernels there are."""


def serve_paths() -> str:
    """Explain the choices of --serve."""
    return (
        "haproxy: Serve's documented high-throughput mode; proxy: its default gRPC proxy with the "
        "other throughput settings; direct: the port of the routing replica itself, which Serve "
        "publishes for HAProxy only"
    )


def main() -> None:
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        coordizer, texts = _prepare(Path(folder))
        results, streams = _measure(arguments, coordizer, folder, texts)
    report = _report(results, streams, arguments)
    _print(report)
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=1500, help="per system, round and load")
    parser.add_argument(
        "--serve", choices=("proxy", "haproxy", "direct"), default="haproxy", help=serve_paths()
    )
    parser.add_argument("--streams", type=int, default=40, help="texts that are streamed")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def _prepare(folder: Path) -> tuple[Coordizer, list[str]]:
    """Train a coordizer on the standard library; cut texts of 64 tokens from other files of it."""
    library = Path(str(json.__file__)).parent.parent
    files = sorted(library.glob("*.py"))
    documents = [path.read_text("utf-8", errors="replace") for path in files[::2]]
    coordizer = train_coordizer(documents, None, vocab_size=4096, anchored=False)
    coordizer.save(folder / "coordizer")
    ids = np.concatenate(
        [coordizer.encode(path.read_text("utf-8", errors="replace")) for path in files[1::2]]
    )
    cuts = np.linspace(0, len(ids) - TOKENS, NUM_TEXTS).astype(int)
    texts = [coordizer.decode_text(ids[at : at + TOKENS]) for at in cuts]
    return coordizer, list(dict.fromkeys(texts))


def _table(coordizer: Coordizer, endpoints: Sequence[str], seed: int) -> bytes:
    """Return a table of as many kernels as endpoints, their basins drawn around the background."""
    background_K = coordizer.background_K
    basin_MK = np.random.default_rng(seed).dirichlet(64 * background_K + 0.05, len(endpoints))
    sites = tuple(
        KernelSite(
            name=f"k{index:03d}",
            basin_K=basin_K,
            bearing_K=bearing(basin_K, background_K),
            radii=dict.fromkeys(Rule, 3.2),
            seat=index,
            endpoint=endpoint,
        )
        for index, (basin_K, endpoint) in enumerate(zip(basin_MK, endpoints, strict=True))
    )
    return pack_table(
        Table(
            version=1,
            coordizer_hash=coordizer.hash,
            background_K=background_K,
            temperatures=dict.fromkeys(Rule, 0.3),
            sites=sites,
        )
    )


def _measure(
    arguments: argparse.Namespace, coordizer: Coordizer, folder: str, texts: list[str]
) -> tuple[dict[str, dict[int, list[Load]]], dict[str, Any]]:
    root = str(Path(__file__).parent.parent)
    prepare_environment()  # first: it removes variables of Ray that were set before
    apply_environment({"PYTHONPATH": root})
    # Serve reads its environment at import, so the peer's module is imported after this.
    apply_environment(SERVE_ENVIRONMENT[arguments.serve])
    with local_ray(num_cpus=4, dashboard=False):
        systems = _start(arguments, coordizer, folder)
        results: dict[str, dict[int, list[Load]]] = {name: {} for name in systems}
        for number in range(arguments.rounds):
            names = list(systems) if number % 2 == 0 else list(systems)[::-1]
            for concurrency in CONCURRENCIES:
                for name in names:
                    if concurrency not in ONLY_AT.get(name, CONCURRENCIES):
                        continue
                    calls = arguments.calls if concurrency > 1 else arguments.calls // 3
                    load = run_load(systems[name], texts, concurrency=concurrency, num_calls=calls)
                    results[name].setdefault(concurrency, []).append(load)
        from ray import serve

        serve.shutdown()
        streams = _stream(coordizer, folder, texts[: arguments.streams])
    return results, streams


def _start(arguments: argparse.Namespace, coordizer: Coordizer, folder: str) -> dict[str, Open]:
    import ray

    from benchmarks import dispatch_actors, serve_peer

    echo = dispatch_actors.EchoActor.remote()
    _handles.append(echo)
    systems: dict[str, Open] = {
        "echo": partial(dispatch_calls.echo, ray.get(echo.serve.remote())),
    }
    token = dispatch_actors.TOKEN
    endpoint, table = _constellation(8, coordizer, folder)
    systems["constellation_8"] = partial(dispatch_calls.routed, endpoint, token)
    systems["client_8"] = partial(dispatch_calls.client, endpoint, token)
    systems["direct_8"] = partial(dispatch_calls.direct, endpoint, token, coordizer)
    port = _free_port()
    serve_peer.start(f"{folder}/coordizer", table, port=port, http_port=_free_port())
    direct = serve_peer.direct_endpoint() if arguments.serve == "direct" else None
    systems["serve"] = partial(dispatch_calls.serve, direct or f"127.0.0.1:{port}")
    endpoint, _ = _constellation(240, coordizer, folder)
    systems["constellation_240"] = partial(dispatch_calls.routed, endpoint, token)
    endpoint, _ = _constellation(8, coordizer, folder, metrics=False)
    systems["constellation_8_uncounted"] = partial(dispatch_calls.routed, endpoint, token)
    endpoint, _ = _constellation(8, coordizer, folder, metrics=False, doors=False)
    systems["constellation_8_bare"] = partial(dispatch_calls.routed, endpoint, None)
    return systems


def _constellation(
    num_kernels: int, coordizer: Coordizer, folder: str, **without: bool
) -> tuple[str, bytes]:
    """Start kernels and a router; return where it listens and its table."""
    import ray

    from benchmarks.dispatch_actors import Equipment, KernelsActor, RouterActor

    equipment = Equipment(**without)
    names = [f"k{index:03d}" for index in range(num_kernels)]
    hosts = [KernelsActor.remote(names[i::PROCESSES], equipment) for i in range(PROCESSES)]
    endpoint_of: dict[str, str] = {}
    for served in ray.get([host.serve.remote() for host in hosts]):
        endpoint_of |= served
    table = _table(coordizer, [endpoint_of[name] for name in names], seed=num_kernels)
    router = RouterActor.remote(
        f"{folder}/coordizer", f"{folder}/access-{num_kernels}.jsonl", equipment
    )
    _handles.extend([*hosts, router])
    endpoint: str = ray.get(router.serve.remote(table))
    return endpoint, table


def _stream(coordizer: Coordizer, folder: str, texts: list[str]) -> dict[str, Any]:
    import ray

    from benchmarks.dispatch_actors import TOKEN, Equipment, RouterActor, WriterActor

    kernel = Path(folder) / "kernel"
    dispatch_streams.write_kernel(kernel, coordizer)
    writer = WriterActor.remote(str(kernel), f"{folder}/coordizer")
    table = _table(coordizer, [ray.get(writer.serve.remote())], seed=1)
    router = RouterActor.remote(f"{folder}/coordizer", f"{folder}/access.jsonl", Equipment())
    _handles.extend([writer, router])
    endpoint = ray.get(router.serve.remote(table))
    return dispatch_streams.measure(kernel, Path(folder) / "coordizer", endpoint, TOKEN, texts)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _report(
    results: dict[str, dict[int, list[Load]]],
    streams: dict[str, Any],
    arguments: argparse.Namespace,
) -> dict[str, Any]:
    def ratio(above: str, below: str, concurrency: int, figure: str) -> float:
        """Median over the rounds of the ratio within a round."""
        pairs = zip(results[above][concurrency], results[below][concurrency], strict=True)
        return statistics.median(getattr(a, figure) / getattr(b, figure) for a, b in pairs)

    return {
        "serve_ratio_1": ratio("constellation_8", "serve", 1, "calls_per_second"),
        "serve_ratio_8": ratio("constellation_8", "serve", 8, "calls_per_second"),
        "serve_ratio_64": ratio("constellation_8", "serve", 64, "calls_per_second"),
        "p50_ratio_1": ratio("constellation_8", "serve", 1, "p50_ms"),
        "kernels_240_ratio": ratio("constellation_240", "constellation_8", 64, "calls_per_second"),
        "echo_ratio_64": ratio("constellation_8", "echo", 64, "calls_per_second"),
        "direct_ratio": ratio("direct_8", "client_8", 8, "calls_per_second"),
        "metrics_ratio": ratio(
            "constellation_8", "constellation_8_uncounted", 8, "calls_per_second"
        ),
        "equipment_ratio": ratio("constellation_8", "constellation_8_bare", 8, "calls_per_second"),
        **streams,
        "serve_path": arguments.serve,
        "rounds": arguments.rounds,
        "systems": {
            name: {
                str(concurrency): {
                    "calls_per_second": _spread([load.calls_per_second for load in loads]),
                    "p50_ms": _spread([load.p50_ms for load in loads]),
                }
                for concurrency, loads in by_concurrency.items()
            }
            for name, by_concurrency in results.items()
        },
    }


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _print(report: dict[str, Any]) -> None:
    print(f"{'system':20s} {'at once':>8s} {'calls/s':>10s} {'(min..max)':>16s} {'p50 ms':>8s}")
    for name, by_concurrency in report["systems"].items():
        for concurrency, figures in by_concurrency.items():
            rate, p50 = figures["calls_per_second"], figures["p50_ms"]
            spread = f"{rate['min']:.0f}..{rate['max']:.0f}"
            print(
                f"{name:20s} {concurrency:>8s} {rate['median']:10.0f} {spread:>16s} "
                f"{p50['median']:8.2f}"
            )


if __name__ == "__main__":
    main()
