"""A kernel that is to join others, as a table of itself alone.

Made under the frozen coordinates of those it joins, from its own text: nothing of theirs is read.
Shapes: K outcomes, N texts.
"""

from dataclasses import replace

import numpy as np

from constellation.errors import ConfigError
from constellation.records import FloatArray, Refusal, Rule, Table
from constellation.routing.calibration import own_distances
from constellation.routing.sites import KernelTexts, fit_sites

RADIUS_QUANTILE = 0.99
"""Share of a kernel's own held-out passages that its radius holds, as in `calibrate`."""


def fit_candidate(
    texts: KernelTexts,
    held_out_NK: FloatArray,
    *,
    refusal: Refusal | None = None,
    background_K: FloatArray,
    coordizer_hash: str,
) -> Table:
    """Return the table of one kernel alone, for `growth.add_kernel`.

    Args:
        texts: What the kernel's basin is made of, at least one text.
        held_out_NK: Basins of passages of its domain that it did not learn from, at least one; its
            radii are calibrated on them.
        refusal: Its thresholds of refusal, which it keeps among others; None: it takes theirs.
        background_K: pi of the coordizer that made them.
        coordizer_hash: sha256 (hex) of that coordizer.

    Raises:
        ConfigError: There are no texts or no passages, or they lie at the background.
    """
    if not len(held_out_NK):
        raise ConfigError(
            f"kernel {texts.name!r} has no held-out passage to calibrate on; add text"
        )
    (site,) = fit_sites([texts], background_K=background_K, seats=False).sites
    radii = {
        rule: float(
            np.quantile(
                own_distances(held_out_NK, site, background_K=background_K, rule=rule),
                RADIUS_QUANTILE,
            )
        )
        for rule in Rule
    }
    return Table(
        version=1,
        coordizer_hash=coordizer_hash,
        background_K=background_K,
        temperatures={},
        sites=(
            replace(site, radii=radii, thresholds=None if refusal is None else refusal.thresholds),
        ),
        refusal=refusal,
    )
