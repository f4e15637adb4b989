"""Cut token streams into training batches; each batch depends on seed and step alone.

Shapes: N tokens of the stream, B sequences, T positions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constellation.errors import ConfigError, TrainingError
from constellation.records import TokenArray


def join_documents(documents: Iterable[Sequence[int] | TokenArray], end_id: int) -> TokenArray:
    """Return one stream of tokens with `end_id` before each document and at the very end."""
    pieces = [np.asarray([end_id], dtype=np.int32)]
    for tokens in documents:
        pieces += [np.asarray(tokens, dtype=np.int32), pieces[0]]
    return np.concatenate(pieces)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """A stream cut into windows, in a new order and at a new offset every epoch."""

    stream_N: TokenArray
    """Tokens, at least two windows long."""
    context: int
    """Positions T of a window."""
    seed: int
    """Of the order."""

    @classmethod
    def of(cls, stream_N: TokenArray, *, context: int, seed: int) -> "Windows":
        """Take a stream; one too short for two windows is repeated until it is not.

        Raises:
            ConfigError: When `context` is below 1.
            TrainingError: When the stream has fewer than two tokens.
        """
        if context < 1:
            raise ConfigError(f"context is {context}; it must be >= 1")
        if len(stream_N) < 2:
            raise TrainingError(f"a stream of {len(stream_N)} tokens has nothing to predict")
        repeats = -(-(2 * context + 1) // len(stream_N))
        return cls(np.tile(stream_N, repeats) if repeats > 1 else stream_N, context, seed)

    @property
    def per_epoch(self) -> int:
        """Windows in one epoch; every one of them comes once."""
        # One window less than fits, so that the offset of an epoch has room to move.
        return (len(self.stream_N) - 1) // self.context - 1

    def batch(
        self, step: int, batch_size: int, *, rank: int = 0, world: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return one worker's part of the batch of a step.

        The parts of all workers together are the batch that one worker alone would get.

        Args:
            step: From 0.
            batch_size: Sequences B over all workers.
            rank: This worker, in [0, world).
            world: Number of workers.

        Returns:
            Inputs and targets (the inputs one position later), int64, shape (B', T) with B'
            about B / world.
        """
        rows = range(step * batch_size + rank, (step + 1) * batch_size, world)
        starts = [self._start(row) for row in rows]
        offsets_BT = np.asarray(starts, dtype=np.int64)[:, None] + np.arange(self.context + 1)
        tokens = torch.from_numpy(self.stream_N[offsets_BT].astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]

    def _start(self, row: int) -> int:
        epoch, index = divmod(row, self.per_epoch)
        offset, order = _epoch(self.seed, epoch, self.per_epoch, self.context)
        return int(offset + order[index] * self.context)


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, num_windows: int, context: int) -> tuple[int, NDArray[np.int64]]:
    """Return the offset of an epoch's windows and their order."""
    random = np.random.default_rng([seed, epoch])
    return int(random.integers(context)), random.permutation(num_windows)
