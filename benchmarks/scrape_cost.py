"""What does one scrape of all processes cost the launcher, and how many series and bytes is it?

    python -m benchmarks.scrape_cost [--rounds 9] [--json]

The processes' metrics are served from another process, so that only the launcher's side is
measured: to read every text, to merge the texts, and to measure node and training. Medians over
`rounds` scrapes; low is good everywhere.

* `cpu_s`: processor time of the launcher for one scrape, with a reply that is not compressed.
* `wall_s`: seconds until the reply is complete.
* `parsed_cpu_s`: processor time to parse the merged text, which merging texts avoids.
"""

import argparse
import gzip
import json
import multiprocessing
import platform
import random
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from cluster.metrics_server import MetricsServer
from constellation.settings import Settings
from constellation.telemetry.metrics import (
    TOKEN_KINDS,
    KernelMetrics,
    RegistryMetrics,
    RouterMetrics,
)
from constellation.telemetry.process_metrics import serve_metrics

SIZES = ((8, 1), (240, 1), (240, 30))
"""Pairs of the number of kernels and of kernels in one process."""


def kernels_registry(names: Sequence[str]) -> CollectorRegistry:
    """Return the metrics of a process of kernels that has answered."""
    metrics = KernelMetrics(CollectorRegistry())
    for name in names:
        for kind in TOKEN_KINDS:
            metrics.tokens.labels(name, kind).inc(random.randint(1, 99_999))
        for _ in range(20):
            metrics.inter_token_seconds.labels(name).observe(random.random() / 10)
        gauges = (metrics.queue_depth, metrics.queue_limit, metrics.running, metrics.cache_usage)
        for gauge in (*gauges, metrics.kappa):
            gauge.labels(name).set(random.random())
    return metrics.registry


def router_registry(names: Sequence[str]) -> CollectorRegistry:
    """Return the metrics of a router that has routed to every kernel."""
    metrics = RouterMetrics(CollectorRegistry())
    metrics.follow(names)
    for name in names:
        metrics.routes.labels(name, "nearest").inc(random.randint(1, 9999))
        metrics.routes.labels(name, "failover").inc()
        metrics.answer_seconds.labels(name).observe(random.random())
    return metrics.registry


def registry_registry(names: Sequence[str]) -> CollectorRegistry:
    """Return the metrics of the registry."""
    metrics = RegistryMetrics(CollectorRegistry())
    for name in names:
        metrics.member_restarts.labels(f"kernel-{name}").inc()
        for metric in (metrics.up, metrics.phi, metrics.arrived):
            metric.labels(name).set(random.random())
        metrics.restarts.labels(name)
    return metrics.registry


def serve_all(num_kernels: int, per_process: int, pipe: Connection) -> None:
    """Serve the metrics of all processes until the pipe is closed; send their endpoints."""
    names = [f"kernel-{number:03}" for number in range(num_kernels)]
    served = {"router": router_registry(names), "registry": registry_registry(names)}
    for start in range(0, num_kernels, per_process):
        served[f"kernels-{start}"] = kernels_registry(names[start : start + per_process])
    pipe.send({name: serve_metrics(each, "127.0.0.1")[0] for name, each in served.items()})
    pipe.recv()


def measure(num_kernels: int, per_process: int, rounds: int) -> dict[str, object]:
    """Return the figures for one size."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=serve_all, args=(num_kernels, per_process, theirs))
    other.start()
    with tempfile.TemporaryDirectory() as folder:
        server = MetricsServer(Settings(artifacts=Path(folder), run_dir=Path(folder)))
        server.targets = ours.recv()
        cpu, wall = [], []
        for _ in range(rounds):
            started = process_time(), perf_counter()
            text = server.metrics_text()
            cpu.append(process_time() - started[0])
            wall.append(perf_counter() - started[1])
    ours.send(None)
    other.join()
    started_s = process_time()
    families = list(text_string_to_metric_families(text))
    parsed_s = process_time() - started_s
    return {
        "kernels": num_kernels,
        "processes": len(server.targets),
        "series": sum(len(family.samples) for family in families),
        "bytes": len(text),
        "gzip_bytes": len(gzip.compress(text.encode(), 1)),
        "cpu_s": round(median(cpu), 4),
        "cpu_range_s": [round(min(cpu), 4), round(max(cpu), 4)],
        "wall_s": round(median(wall), 4),
        "parsed_cpu_s": round(parsed_s, 4),
    }


def main() -> None:
    """Measure all sizes and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "sizes": [measure(*size, options.rounds) for size in SIZES],
    }
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
