"""Cut token streams into training batches; each batch depends on seed and step alone.

There are two kinds: windows of an endless stream, and pairs of a prompt and its answer.

Shapes: N tokens of the stream, P pairs, B sequences, T positions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from constellation.errors import ConfigError, TrainingError
from constellation.kernel.network.loss import IGNORED
from constellation.records import TokenArray

LossOn = Literal["answer", "whole"]
"""Which tokens of a pair are learned: those of its answer, or all but the first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where a batch lies in its data."""

    epoch: int
    """Times that all sequences were read before the batch's first one."""
    position: int
    """Sequences of the epoch that were read before the batch's first one."""
    num_counted: int
    """Targets of the whole batch, over all workers, that the loss counts."""


class Batches(Protocol):
    """What a kernel learns from, or is scored on: a pure function of its seed and the step."""

    @property
    def context(self) -> int:
        """Most positions T of a sequence."""
        ...

    @property
    def per_epoch(self) -> int:
        """Sequences in one epoch; every one of them comes once."""
        ...

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
            about B / world; targets of -100 do not count.
        """
        ...

    def place(self, step: int, batch_size: int) -> Place:
        """Return where the batch of a step lies."""
        ...


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
        """Return one worker's part of the batch of a step, as `Batches.batch` says."""
        rows = range(step * batch_size + rank, (step + 1) * batch_size, world)
        starts = [self._start(row) for row in rows]
        offsets_BT = np.asarray(starts, dtype=np.int64)[:, None] + np.arange(self.context + 1)
        tokens = torch.from_numpy(self.stream_N[offsets_BT].astype(np.int64))
        return tokens[:, :-1], tokens[:, 1:]

    def place(self, step: int, batch_size: int) -> Place:
        """Return where the batch of a step lies; all of its targets count."""
        epoch, position = divmod(step * batch_size, self.per_epoch)
        return Place(epoch=epoch, position=position, num_counted=batch_size * self.context)

    def _start(self, row: int) -> int:
        epoch, index = divmod(row, self.per_epoch)
        offset, order = _epoch(self.seed, epoch, self.per_epoch, self.context)
        return int(offset + order[index] * self.context)


@lru_cache(maxsize=4)
def _epoch(seed: int, epoch: int, num_windows: int, context: int) -> tuple[int, NDArray[np.int64]]:
    """Return the offset of an epoch's windows and their order."""
    random = np.random.default_rng([seed, epoch])
    return int(random.integers(context)), random.permutation(num_windows)


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Prompts with their answers, each a sequence of its own, in a new order every epoch.

    A sequence is prompt, answer, end. Shorter ones are filled up at the right with end tokens that
    do not count.
    """

    sequences: tuple[TokenArray, ...]
    """Prompt, answer and end of every pair."""
    first_counted: tuple[int, ...]
    """Index of the first token of every sequence that is learned."""
    end_id: int
    seed: int
    """Of the order."""
    context: int
    """Positions of the longest sequence."""
    learns_end: bool = True
    """Whether the end of an answer is learned, so that a kernel stops by itself."""

    @classmethod
    def of(
        cls,
        pairs: Sequence[tuple[Sequence[int], Sequence[int]]],
        *,
        end_id: int,
        context: int,
        seed: int,
        loss_on: LossOn = "answer",
        learns_end: bool = True,
    ) -> "Pairs":
        """Take pairs as tokens.

        Args:
            pairs: Prompt and answer; a prompt has a token or more, an answer may be empty.
            end_id: Ends an answer.
            context: Most positions that the kernel reads: a pair with its end has one more.
            seed: Of the order.
            loss_on: Which tokens are learned.
            learns_end: Whether the end is learned too.

        Raises:
            TrainingError: There is no pair, a prompt is empty, a pair is longer than the context,
                or nothing of a pair would be learned; names the first such pair.
        """
        sequences, first_counted = [], []
        for number, (prompt, answer) in enumerate(pairs):
            num_learned = len(answer) + learns_end
            _check_pair(number, len(prompt), len(answer), num_learned, context)
            sequences.append(np.asarray([*prompt, *answer, end_id], dtype=np.int32))
            first_counted.append(len(prompt) if loss_on == "answer" else 1)
        if not sequences:
            raise TrainingError("there is no pair of prompt and answer to learn from")
        longest = max(map(len, sequences)) - 1
        return cls(
            tuple(sequences), tuple(first_counted), end_id, seed, longest, learns_end=learns_end
        )

    @property
    def per_epoch(self) -> int:
        """Pairs in one epoch; every one of them comes once."""
        return len(self.sequences)

    def batch(
        self, step: int, batch_size: int, *, rank: int = 0, world: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return one worker's part of the batch of a step, as `Batches.batch`.

        All workers' parts are as long as the longest pair of the whole batch.
        """
        chosen = self._chosen(step, batch_size)
        own = chosen[rank::world]
        length = max(len(self.sequences[index]) for index in chosen)
        tokens_BT = np.full((len(own), length), self.end_id, dtype=np.int64)
        targets_BT = np.full((len(own), length - 1), IGNORED, dtype=np.int64)
        for row, index in enumerate(own):
            sequence = self.sequences[index]
            tokens_BT[row, : len(sequence)] = sequence
            counted = self._counted(index)
            targets_BT[row, counted.start - 1 : counted.stop - 1] = sequence[counted]
        return torch.from_numpy(tokens_BT[:, :-1]), torch.from_numpy(targets_BT)

    def place(self, step: int, batch_size: int) -> Place:
        """Return where the batch of a step lies."""
        epoch, position = divmod(step * batch_size, self.per_epoch)
        spans = (self._counted(index) for index in self._chosen(step, batch_size))
        counted = sum(span.stop - span.start for span in spans)
        return Place(epoch=epoch, position=position, num_counted=counted)

    def _counted(self, index: int) -> slice:
        """Return which tokens of a sequence are learned."""
        end = len(self.sequences[index]) - (not self.learns_end)
        return slice(self.first_counted[index], end)

    def _chosen(self, step: int, batch_size: int) -> list[int]:
        """Return the pairs of the whole batch."""
        chosen = []
        for row in range(step * batch_size, (step + 1) * batch_size):
            epoch, index = divmod(row, self.per_epoch)
            chosen.append(int(_order(self.seed, epoch, self.per_epoch)[index]))
        return chosen


def _check_pair(number: int, prompt: int, answer: int, num_learned: int, context: int) -> None:
    if prompt < 1:
        raise TrainingError(f"pair {number} has an empty prompt; give one symbol or more")
    if prompt + answer > context:
        raise TrainingError(
            f"pair {number} has {prompt} tokens of prompt and {answer} of answer, and the kernel "
            f"reads {context}; leave the pair out, or raise kernel.context"
        )
    if num_learned < 1:
        raise TrainingError(f"pair {number} has an empty answer and its end is not learned")


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, num_pairs: int) -> NDArray[np.int64]:
    """Return the order of an epoch's pairs."""
    return np.random.default_rng([seed, epoch]).permutation(num_pairs)
