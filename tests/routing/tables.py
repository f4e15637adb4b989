"""Small tables and basins for the tests of routing."""

from dataclasses import replace

import numpy as np

from constellation.geometry.bearings import bearing
from constellation.records import FloatArray, KernelSite, Refusal, Rule, Share, Table, Thresholds
from constellation.routing.refusal_rule import LENGTHS, SHARES

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


def refusal(seed: int, *, level: float = 0.3) -> Refusal:
    """Return thresholds around `level` that fall along lengths and shares, and made-up figures."""
    rng = np.random.default_rng(seed)
    shape = (len(LENGTHS), len(SHARES))

    def falling() -> FloatArray:
        grid: FloatArray = level + np.sort(rng.uniform(0, 0.3, shape), axis=1)[:, ::-1]
        return np.sort(grid, axis=0)[::-1]

    return Refusal(
        thresholds=Thresholds(
            lengths=LENGTHS, shares=SHARES, excess={rule: falling() for rule in Rule}
        ),
        refused={rule: rng.uniform(0, 0.1, shape) for rule in Rule},
        caught={rule: np.sort(rng.uniform(0, 1, shape), axis=1) for rule in Rule},
        num_texts=tuple(range(100, 100 + len(LENGTHS))),
        num_documents=tuple(range(10, 10 + len(LENGTHS))),
    )


def several(seed: int, sizes: tuple[int, ...], **settings: float) -> Table:
    """Return a table whose kernels k0, k1, ... have so many random basins each."""
    points = [basins(seed + row, size) for row, size in enumerate(sizes)]
    made = table(np.stack([point_BK[0] for point_BK in points]), **settings)
    return replace(
        made,
        sites=tuple(
            replace(site, basins_BK=point_BK, bearings_BK=bearing(point_BK, BACKGROUND))
            for site, point_BK in zip(made.sites, points, strict=True)
        ),
    )


def with_family(made: Table, root: int, seed: int, *children: str) -> Table:
    """Return the table in which the kernel at a place has spawned others, which come last."""
    site = made.sites[root]
    centres = basins(seed, len(children) + 1)
    members = [
        replace(
            site,
            name=name,
            share=Share(
                family=site.name, basin_K=centre_K, bearing_K=bearing(centre_K, BACKGROUND)
            ),
        )
        for name, centre_K in zip((site.name, *children), centres, strict=True)
    ]
    others = [members[0] if each is site else each for each in made.sites]
    return replace(made, sites=(*others, *members[1:]))
