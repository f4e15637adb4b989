"""A differentiable approximation of Phi for the objective; not the statistic that is reported.

As `constellation.kernel.observables.phi`: groups of hidden units, the first principal component of
each, their total correlation. Different: the directions of the components are held fixed while
differentiating (at the maximum of the explained variance their change does not matter to first
order), the chance part is the known mean for independent components instead of shuffles, and
nothing is cut off at 0, where the gradient would vanish.

Shapes: B sequences, T positions, C hidden units, D units of a group, G groups.
"""

import torch
from torch import Tensor

from constellation.kernel.observables.phi import RIDGE

_VARIANCE_FLOOR = 1e-6
"""Added to variances: a unit that never changes stays at 0 instead of becoming noise."""


def phi_surrogate(hidden_BTC: Tensor, *, num_groups: int = 8) -> Tensor:
    """Return 1 - exp(-2 (TC - c) / G) of each sequence, shape (B,), below 1.

        TC = -1/2 ln det(0.98 R + 0.02 I),  c = 0.98^2 G (G - 1) / (4 (T - 1))

    About 0 for independent groups and negative where they are more independent than chance.

    Args:
        hidden_BTC: Final hidden states, float32, T >= 2.
        num_groups: G, 2 to C.
    """
    groups = _standardised(hidden_BTC.mT).tensor_split(num_groups, dim=1)
    scores_BGT = _standardised(torch.stack([_first_component(units) for units in groups], dim=1))
    length = hidden_BTC.shape[1]
    correlation = scores_BGT @ scores_BGT.mT / length
    identity = torch.eye(num_groups, device=hidden_BTC.device)
    # A group without variance counts as independent of all others.
    missing = 1 - correlation.detach().diagonal(dim1=-2, dim2=-1)
    mixed = (1 - RIDGE) * (correlation + torch.diag_embed(missing)) + RIDGE * identity
    total_B = -torch.linalg.slogdet(mixed).logabsdet / 2
    chance = (1 - RIDGE) ** 2 * num_groups * (num_groups - 1) / (4 * (length - 1))
    return -torch.expm1(-2 * (total_B - chance) / num_groups)


def _standardised(values: Tensor) -> Tensor:
    centred = values - values.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred * (variance + _VARIANCE_FLOOR).rsqrt()


def _first_component(units_BDT: Tensor) -> Tensor:
    """Return the projection on the direction of largest variance, shape (B, T)."""
    with torch.no_grad():
        _, vectors = torch.linalg.eigh(units_BDT @ units_BDT.mT)
        direction_BD = vectors[..., -1]
    return torch.einsum("bd,bdt->bt", direction_BD, units_BDT)
