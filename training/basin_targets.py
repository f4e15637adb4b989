"""Target basins for training a basin head: those of the texts it reads, or one fixed basin.

Shapes: B sequences, T positions, K outcomes.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError, InvalidBasin
from constellation.geometry import check_simplex

BasinTarget = Callable[[Tensor], Tensor]
"""Function from tokens of shape (B, T) to target basins of shape (B, K), float32, on the tokens'
device."""


class TextBasins:
    """The coordizer's basin of each window, with which the kernel's basin head learns to agree."""

    def __init__(self, coordizer: Coordizer) -> None:
        self._coordizer = coordizer

    def __call__(self, tokens_BT: Tensor) -> Tensor:
        """Return the basin of each row of tokens."""
        rows = [self._coordizer.basin(row) for row in tokens_BT.cpu().numpy()]
        folded = [torch.from_numpy(row) for row in rows]
        return torch.stack(folded).to(tokens_BT.device, torch.float32)


class FixedBasin:
    """One basin for every text, such as the basin of a signature."""

    def __init__(self, basin_K: Sequence[float]) -> None:
        """Store the basin.

        Raises:
            ConfigError: It is not a point of the simplex.
        """
        try:
            self._basin_K = check_simplex(torch.tensor(basin_K, dtype=torch.float32))
        except InvalidBasin as error:
            raise ConfigError(f"the basin target is refused: {error}") from error

    def __call__(self, tokens_BT: Tensor) -> Tensor:
        """Return the basin once per row."""
        return self._basin_K.to(tokens_BT.device).expand(len(tokens_BT), -1)


def basin_target(
    *, fixed_basin_K: Sequence[float] | None, coordizer_folder: str | None
) -> BasinTarget:
    """Return the fixed target if a basin is given, else the basins of the texts themselves.

    Raises:
        ConfigError: Neither a basin nor a coordizer is given.
        ArtifactError: The coordizer cannot be read.
    """
    if fixed_basin_K is not None:
        return FixedBasin(fixed_basin_K)
    if coordizer_folder is None:
        raise ConfigError(
            "lambda_basin is above 0 and there is nothing to pull to; give the coordizer's folder "
            "or a basin target"
        )
    return TextBasins(Coordizer.load(Path(coordizer_folder)))
