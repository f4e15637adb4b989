"""Basin-coordinate adapter: steer a kernel through 64 coordinates of its hidden state.

The residual stream after every block is read along K axes, normalised to amplitudes whose squares
are a point of the simplex of K outcomes, weighted by gates of that block, and written back along
the same axes:

    u = sqrt(K) P^T x / |P^T x|,    x <- x + P (g_n * u)

u^2 / K is the basin of the position in the square chart. All blocks share P; the gates start at
zero, so that an adapted kernel begins as its base, to the bit. It holds C K + N K numbers: 25,088
for `qig-23m` (384 x 64 axes, 8 x 64 gates). It is not linear in x and cannot be folded into the
kernel's matrices.

Shapes: B sequences, T positions, C channels, K coordinates, N blocks.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn

from constellation.errors import ConfigError
from constellation.kernel.network.sphere import amplitudes

COORDINATES: Final = "coordinates"
"""Name of the adapter inside a block."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordinateConfig:
    """Size of a basin-coordinate adapter."""

    kind: ClassVar[str] = "coordinate"
    num_coordinates: int = 64
    """K, from 2: the outcomes of the simplex."""

    def __post_init__(self) -> None:
        if type(self.num_coordinates) is not int or self.num_coordinates < 2:
            raise ConfigError(
                f"num_coordinates is {self.num_coordinates!r}; allowed: whole numbers from 2"
            )

    def num_parameters(self, *, width: int, num_blocks: int) -> int:
        """Return the learned numbers: C K axes and N K gates."""
        return self.num_coordinates * (width + num_blocks)


class Coordinates(nn.Module):
    """What the adapter adds to the residual stream after one block.

    Attributes:
        axes_CK: P, one tensor for all blocks.
        gates_K: g of this block; zero at the start.
    """

    def __init__(self, axes_CK: nn.Parameter) -> None:
        super().__init__()
        self.axes_CK = axes_CK
        self.gates_K = nn.Parameter(axes_CK.new_zeros(axes_CK.shape[1]))

    def forward(self, x_BTC: Tensor) -> Tensor:
        """Return P (g * u), shape (B, T, C)."""
        written_BTK = self.gates_K * self.read(x_BTC)
        return written_BTK.to(x_BTC.dtype) @ self.axes_CK.T

    def read(self, x_BTC: Tensor) -> Tensor:
        """Return u, shape (B, T, K), float32: squares of mean 1; 0 where the stream is 0."""
        along_BTK = (x_BTC @ self.axes_CK).float()
        return amplitudes(along_BTK, along_BTK.new_tensor(math.sqrt(along_BTK.shape[-1])))


def install_coordinates(
    blocks: nn.ModuleList, width: int, config: CoordinateConfig, generator: torch.Generator
) -> None:
    """Add the adapter after every block."""
    like = next(blocks.parameters())
    drawn_CK = torch.randn(width, config.num_coordinates, generator=generator) * width**-0.5
    axes_CK = nn.Parameter(drawn_CK.to(like))
    for block in blocks:
        block.add_module(COORDINATES, Coordinates(axes_CK))
        block.register_forward_hook(_add_coordinates)


def _add_coordinates(block: nn.Module, _: tuple[Any, ...], x_BTC: Tensor) -> Tensor:
    added: Tensor = block.get_submodule(COORDINATES)(x_BTC)
    return x_BTC + added
