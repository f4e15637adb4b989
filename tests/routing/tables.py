"""Small tables and basins for the tests of routing."""

import numpy as np

from constellation.geometry.bearings import bearing
from constellation.records import FloatArray, KernelSite, Rule, Table

OUTCOMES = 8
BACKGROUND: FloatArray = np.full(OUTCOMES, 1 / OUTCOMES)


def basins(seed: int, count: int, *, concentration: float = 1.0) -> FloatArray:
    """Return random simplex points, shape (count, K)."""
    rng = np.random.default_rng(seed)
    points = rng.dirichlet(np.full(OUTCOMES, concentration), count) + 1e-6
    normalised: FloatArray = points / points.sum(axis=1, keepdims=True)
    return normalised


def table(
    points: FloatArray,
    *,
    radius: float = 10.0,
    temperature: float = 0.3,
    phi: tuple[float | None, ...] | None = None,
) -> Table:
    """Return a table with kernels k0, k1, ... at the given basins."""
    bearings = bearing(points, BACKGROUND)
    gauges = phi or (None,) * len(points)
    return Table(
        version=7,
        coordizer_hash="0" * 64,
        background_K=BACKGROUND,
        temperatures=dict.fromkeys(Rule, temperature),
        sites=tuple(
            KernelSite(
                name=f"k{row}",
                basin_K=points[row],
                bearing_K=bearings[row],
                radii=dict.fromkeys(Rule, radius),
                seat=row,
                phi_gauge=gauges[row],
            )
            for row in range(len(points))
        ),
    )
