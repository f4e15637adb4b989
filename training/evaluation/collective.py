"""Compute collective Phi of held-out documents: mean integration, and bits gained together.

The second kind is defined in `constellation/routing/collective_phi.py`, which also measures it on
live prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from constellation.kernel.observables.measurement import Measurement, summary
from constellation.routing.collective_phi import CollectiveScores, Integration, facts_of, integrate


@dataclass(frozen=True, kw_only=True)
class CollectivePhi(Integration):
    """Both kinds of collective Phi, with controls of the second. Differences in bits per byte."""

    phi_mean: Measurement
    """Mean integration of the kernels: a property of each kernel, not of their combination."""


def collective_phi(
    scores: CollectiveScores, phis: Sequence[Measurement], *, random_seed: int = 0
) -> CollectivePhi:
    """Compute both kinds of collective Phi from scores of held-out documents.

    Args:
        scores: Held-out documents under every kernel.
        phis: Integration of each kernel; those without a value are left out of the mean.
        random_seed: Seed of the bootstrap, which is paired and over documents.

    Returns:
        Statistics. Fewer than 8 documents give no intervals, and then nothing is emergent.
    """
    together = integrate(scores, random_seed=random_seed)
    method = "mean integration of the kernels; interval: bootstrap over kernels"
    mean = summary(phis, method, seed=random_seed)
    return CollectivePhi(phi_mean=mean, **facts_of(together))


def collective_report(
    scores: CollectiveScores, observables: Mapping[str, Mapping[str, Any]], *, random_seed: int = 0
) -> dict[str, Any]:
    """Return the section "collective" of `report.json`; observables are those of `table.json`."""
    phis = [Measurement(**measured["phi"]) for measured in observables.values()]
    return collective_phi(scores, phis, random_seed=random_seed).to_dict()
