"""Tabulate how far the kernels' basins are apart, from the routing table.

Shapes: N kernels, K outcomes of the simplex.
"""

from pathlib import Path
from typing import Any

import numpy as np

from constellation.geometry import pairwise_distances
from constellation.records import Rule
from training.current_release import served_table


def basin_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """Return kernel -> its nearest other kernel, the Fisher-Rao distance to it, and its radius.

    All in radians on the sphere of radius 2; empty without a table or with a single kernel.

    Raises:
        ArtifactError: The table is damaged.
    """
    table = served_table(folder)
    sites = () if table is None else table.sites
    if len(sites) < 2:
        return {}
    basins_NK = np.stack([site.basin_K for site in sites])
    distances_NN = pairwise_distances(basins_NK, basins_NK)
    np.fill_diagonal(distances_NN, np.inf)
    nearest_N = distances_NN.argmin(axis=1)
    return {
        site.name: {
            "nearest": sites[nearest].name,
            "distance": float(distances_NN[row, nearest]),
            "radius": site.radii.get(Rule.GEODESIC),
        }
        for row, (site, nearest) in enumerate(zip(sites, nearest_N.tolist(), strict=True))
    }
