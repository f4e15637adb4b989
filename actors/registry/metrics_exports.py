"""Metrics of the registry, and the list of all processes' metrics endpoints."""

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
    """Sets the registry's metrics and lists the targets that Prometheus scrapes."""

    def __init__(self, spec: DeploymentSpec) -> None:
        self._metrics = RegistryMetrics(CollectorRegistry())
        self._endpoint, _ = serve_metrics(self._metrics.registry, spec.host)
        self._counted: dict[str, int] = {}  # restarts already in the metric

    def describe(self, table: Table) -> None:
        """Set the metrics of a release: spread of the basins, and the gauges of each kernel."""
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
        """Set the table's version, which kernels are up, and the number of their restarts."""
        self._metrics.table_version.set(table_version)
        for kernel, health in kernels.items():
            self._metrics.up.labels(kernel).set(health.up)
            news = health.num_restarts - self._counted.get(kernel, 0)
            self._metrics.restarts.labels(kernel).inc(news)
            self._counted[kernel] = health.num_restarts

    def show_starts(self, starts: StartState) -> None:
        """Set whether processes can be started, and whether the fork server works."""
        self._metrics.can_start.set(starts.can_start)
        self._metrics.fork_server_up.set(nan if starts.forked is None else starts.forked)

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        self._counted.pop(kernel, None)
        self._metrics.forget(kernel)

    def targets(self, announcements: Iterable[Announcement]) -> list[dict[str, object]]:
        """Return the /metrics of every process in the form that Prometheus' file_sd reads."""
        return [
            {"targets": [endpoint], "labels": {"member": name}}
            for name, endpoint in sorted(self.endpoints(announcements).items())
        ]

    def endpoints(self, announcements: Iterable[Announcement]) -> dict[str, str]:
        """Return member -> host:port of its /metrics, the registry's own too."""
        others = {each.member: each.metrics_endpoint for each in announcements}
        return {_ray.REGISTRY: self._endpoint, **others}
