"""What the registry shows of the constellation: its metrics, and where all others' are."""

from collections.abc import Iterable, Mapping
from math import nan

import numpy as np
from prometheus_client import CollectorRegistry

from actors import _ray
from actors.spec import Announcement, DeploymentSpec, StartState
from constellation.geometry import pairwise_distances
from constellation.records import KernelHealth, Table
from constellation.telemetry.metrics import RegistryMetrics, serve_metrics


class Exports:
    """Metrics of the registry, and the list by which Prometheus finds every process."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._metrics = RegistryMetrics(CollectorRegistry())
        self._endpoint, _ = serve_metrics(self._metrics.registry, spec.host)
        self._counted: dict[str, int] = {}  # restarts already in the metric

    def describe(self, table: Table) -> None:
        """Show how far the kernels' basins lie apart, and what was measured of each."""
        basin_NK = np.stack([site.basin_K for site in table.sites])
        distance_NN = pairwise_distances(basin_NK, basin_NK)
        pairs = len(basin_NK) * (len(basin_NK) - 1)
        self._metrics.basin_spread.set(distance_NN.sum() / pairs if pairs else 0.0)
        for site in table.sites:
            if site.phi_gauge is not None:
                self._metrics.phi.labels(site.name).set(site.phi_gauge)
            if site.arrived is not None:
                self._metrics.arrived.labels(site.name).set(site.arrived)

    def count(self, table_version: int, kernels: Mapping[str, KernelHealth]) -> None:
        """Show the table's version, who is up, and how often each was restarted."""
        self._metrics.table_version.set(table_version)
        for kernel, health in kernels.items():
            self._metrics.up.labels(kernel).set(health.up)
            news = health.num_restarts - self._counted.get(kernel, 0)
            self._metrics.restarts.labels(kernel).inc(news)
            self._counted[kernel] = health.num_restarts

    def show_starts(self, starts: StartState) -> None:
        """Show whether processes can be started, and whether they are forked as they should be."""
        self._metrics.can_start.set(starts.can_start)
        self._metrics.fork_server_up.set(nan if starts.forked is None else starts.forked)

    def forget(self, kernel: str) -> None:
        """Show a kernel that has left no more."""
        self._counted.pop(kernel, None)
        self._metrics.forget(kernel)

    def targets(self, announcements: Iterable[Announcement]) -> list[dict[str, object]]:
        """Return the list of every process's /metrics as Prometheus' file_sd reads it."""
        return [
            {"targets": [endpoint], "labels": {"member": name}}
            for name, endpoint in sorted(self.endpoints(announcements).items())
        ]

    def endpoints(self, announcements: Iterable[Announcement]) -> dict[str, str]:
        """Return member -> host:port of its /metrics, the registry's own too."""
        others = {each.member: each.metrics_endpoint for each in announcements}
        return {_ray.REGISTRY: self._endpoint, **others}
