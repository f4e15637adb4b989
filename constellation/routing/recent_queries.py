"""Keep the basins (simplex points) of each kernel's latest queries, for splitting the kernel."""

from collections import deque

import numpy as np

from constellation.records import FloatArray, Table

RECENT_MAX = 128
"""Most queries kept per kernel: 64 KiB per kernel, 16 MiB for 240 kernels."""


class RecentQueries:
    """Basins (simplex points) of the latest queries that were routed to each kernel."""

    def __init__(self) -> None:
        self._sites: dict[str, FloatArray] = {}
        self._queries: dict[str, deque[FloatArray]] = {}

    def note(self, kernel: str, basin_K: FloatArray) -> None:
        """Add the basin of a query; beyond `RECENT_MAX` the kernel's oldest query is removed."""
        if kernel not in self._queries:
            self._queries[kernel] = deque(maxlen=RECENT_MAX)
        self._queries[kernel].append(basin_K)

    def of(self, kernel: str) -> FloatArray:
        """Return the latest queries of a kernel, oldest first, shape (N, K); (0, 0) if none."""
        queries = self._queries.get(kernel)
        return np.stack(list(queries)) if queries else np.empty((0, 0))

    def follow(self, table: Table) -> None:
        """Remove the queries of kernels that left the table or whose basins changed."""
        sites = {site.name: site.basins_BK for site in table.sites}
        self._queries = {
            name: queries
            for name, queries in self._queries.items()
            if name in sites and np.array_equal(sites[name], self._sites.get(name, sites[name]))
        }
        self._sites = sites
