"""Metrics of the registry, and the list of all processes' metrics endpoints."""

import ssl
from collections.abc import Iterable, Mapping
from math import nan

import numpy as np
from prometheus_client import CollectorRegistry, Counter

from actors import _ray
from actors.spec import Announcement, StartState
from constellation.geometry import pairwise_distances
from constellation.records import Change, KernelHealth, Table
from constellation.telemetry.metrics import RegistryMetrics
from constellation.telemetry.process_metrics import serve_metrics


class Exports:
    """Sets the registry's metrics, and lists where the processes serve their metrics.

    Args:
        address: IP address at which the registry's metrics are served.
        context: TLS of these metrics; None means unencrypted.
    """

    def __init__(self, address: str, context: ssl.SSLContext | None = None) -> None:
        self._metrics = RegistryMetrics(CollectorRegistry())
        self._endpoint, _ = serve_metrics(self._metrics.registry, address, context=context)
        self._counted: dict[tuple[Counter, str], int] = {}  # restarts already in a metric

    def describe(self, table: Table, since_s: float) -> None:
        """Set the metrics of a release: its number, spread of the basins, gauges of each kernel.

        Args:
            table: The table of the release.
            since_s: When the release was switched to, unix seconds.
        """
        self._metrics.release.set(table.release)
        self._metrics.release_since.set(since_s)
        basin_NK = np.stack([site.basin_K for site in table.sites])
        distance_NN = pairwise_distances(basin_NK, basin_NK)
        pairs = len(basin_NK) * (len(basin_NK) - 1)
        self._metrics.basin_spread.set(distance_NN.sum() / pairs if pairs else 0.0)
        for site in table.sites:
            if site.phi_gauge is not None:
                self._metrics.phi.labels(site.name).set(site.phi_gauge)
            if site.arrived is not None:
                self._metrics.arrived.labels(site.name).set(site.arrived)

    def count(
        self, table_version: int, kernels: Mapping[str, KernelHealth], members: Mapping[str, int]
    ) -> None:
        """Set the table's version, which kernels are up, and the restarts of all processes.

        Args:
            table_version: Version of the newest table.
            kernels: Kernel -> health.
            members: Router or process of kernels -> restarts.
        """
        self._metrics.table_version.set(table_version)
        for kernel, health in kernels.items():
            self._metrics.up.labels(kernel).set(health.up)
            self._raise_to(self._metrics.restarts, kernel, health.num_restarts)
        for member, num_restarts in members.items():
            self._raise_to(self._metrics.member_restarts, member, num_restarts)
        self._forget_members({*members})

    def count_change(self, change: Change, outcome: str) -> None:
        """Count a change of what is served; the outcome is "ok" or the class of the error."""
        self._metrics.changes.labels(type(change).__name__.lower(), outcome).inc()

    def show_lags(self, lags: Mapping[str, int]) -> None:
        """Set by how many versions the table of every router is behind the newest."""
        for router, lag in lags.items():
            self._metrics.table_lag.labels(router).set(lag)

    def show_starts(self, starts: StartState) -> None:
        """Set whether processes can be started, and whether the fork server works."""
        self._metrics.can_start.set(starts.can_start)
        self._metrics.fork_server_up.set(nan if starts.forked is None else starts.forked)

    def forget(self, kernel: str) -> None:
        """Remove the metrics of a kernel that has left."""
        self._counted.pop((self._metrics.restarts, kernel), None)
        self._metrics.forget(kernel)

    def _forget_members(self, members: set[str]) -> None:
        """Remove the metrics of all members that are not among these."""
        self._metrics.follow_members(members)
        counter = self._metrics.member_restarts
        for key in [key for key in self._counted if key[0] is counter and key[1] not in members]:
            del self._counted[key]

    def _raise_to(self, counter: Counter, name: str, total: int) -> None:
        """Raise a counter to a total; a total below an earlier one begins to count again."""
        before = self._counted.get((counter, name), 0)
        counter.labels(name).inc(max(0, total - before))
        self._counted[counter, name] = total

    def endpoints(self, announcements: Iterable[Announcement]) -> dict[str, str]:
        """Return member -> host:port of its /metrics, the registry's own too."""
        others = {each.member: each.metrics_endpoint for each in announcements}
        return {_ray.REGISTRY: self._endpoint, **others}
