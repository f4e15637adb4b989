"""The latest queries of every kernel: what a kernel that is spawned takes its share of."""

from collections import deque

import numpy as np

from constellation.records import FloatArray, Table

RECENT_MAX = 128
"""Queries kept per kernel: 64 KiB, or 16 MiB for 240 kernels."""


class RecentQueries:
    """Basins of the queries that were routed to each kernel last."""

    def __init__(self) -> None:
        self._sites: dict[str, FloatArray] = {}
        self._queries: dict[str, deque[FloatArray]] = {}

    def note(self, kernel: str, basin_K: FloatArray) -> None:
        """Take in one query; the oldest of that kernel is forgotten when there are too many."""
        if kernel not in self._queries:
            self._queries[kernel] = deque(maxlen=RECENT_MAX)
        self._queries[kernel].append(basin_K)

    def of(self, kernel: str) -> FloatArray:
        """Return the latest queries of a kernel, oldest first, shape (N, K); (0, 0) for none."""
        queries = self._queries.get(kernel)
        return np.stack(list(queries)) if queries else np.empty((0, 0))

    def follow(self, table: Table) -> None:
        """Forget the queries of kernels that left the table or route from elsewhere now."""
        sites = {site.name: site.basins_BK for site in table.sites}
        self._queries = {
            name: queries
            for name, queries in self._queries.items()
            if name in sites and np.array_equal(sites[name], self._sites.get(name, sites[name]))
        }
        self._sites = sites
