"""Basin head: map a kernel's final hidden states to the text's point on the simplex.

    v = W mean_t(h_t),  p = (v^2 + floor) / sum(v^2 + floor)

The square chart reaches every point of the simplex, its faces included, and needs no softmax: the
Fisher-Rao metric pulled back to v is that of the sphere, so equal steps of v / |v| are equal steps
of p. The mean is over all positions given, each counting the same.

Shapes: B sequences, T positions, C channels, K outcomes.
"""

from typing import Final

import torch
from torch import Tensor, nn

from constellation.geometry import from_root

FLOOR: Final = 1e-12
"""Added to every v^2, so that the zero vector maps to the uniform point with gradient 0; at |v|
near 1 it moves p by less than float32 resolves."""


class BasinHead(nn.Module):
    """Maps the final hidden states of a sequence to one point of the simplex.

    Args:
        width: Channels C of the hidden states.
        outcomes: Outcomes K of the simplex: those of the coordizer.
    """

    def __init__(self, width: int, outcomes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outcomes, width))

    def forward(self, hidden_BTC: Tensor) -> Tensor:
        """Return simplex points, shape (B, K), float32 or wider, also under autocast."""
        with torch.autocast(hidden_BTC.device.type, enabled=False):
            dtype = torch.promote_types(hidden_BTC.dtype, torch.float32)
            v_BK = hidden_BTC.to(dtype).mean(1) @ self.weight.to(dtype).T
            p_BK: Tensor = from_root((v_BK * v_BK + FLOOR).sqrt())
            return p_BK

    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Draw the matrix at random."""
        self.weight.normal_(0.0, std, generator=generator)
