"""Steps of one token for each text, recorded at a few fixed sizes and replayed: CUDA graphs.

On a GPU a small kernel takes longer to be ordered than to be computed: a step is some hundred
operators. A recorded step is one order. Sizes are buckets, of rows (1, 2, 4, 8 and so on) and of
visible positions (256, 512 and so on, up to the context); a step is padded to the smallest that
holds it. Each size is recorded when it is first needed, and recorded anew when the storage of keys
and values has moved. Only `record_cuda` needs a GPU: `record_nothing` computes the same step again
each time, on any device.

Shapes: B rows of a bucket, R rows that take part, C channels.
"""

import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor

from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.fixed_rows import FixedRows
from constellation.kernel.network.slots import SlotCache

logger = logging.getLogger(__name__)

VISIBLE_LEAST: Final = 256
"""Visible positions of the smallest bucket; less where the context is shorter."""

Step = Callable[[], Tensor]
"""Computes a step from tensors at fixed addresses; returns a tensor at a fixed address."""
Record = Callable[[Step], Step]
"""Records a step; the returned one replays it."""


def can_record(decoder: object) -> bool:
    """Return whether steps of a network have fixed shapes: of a kernel without adaptive depth."""
    return type(decoder) is Decoder and not decoder.config.has_adaptive_depth


def row_bucket(num_rows: int, rows_max: int) -> int:
    """Return the smallest power of two that holds the rows, at most `rows_max`.

    Args:
        num_rows: From 1 to `rows_max`.
        rows_max: Rows of the storage.
    """
    return min(1 << (num_rows - 1).bit_length(), rows_max)


def visible_bucket(num_visible: int, context: int) -> int:
    """Return the smallest of 256, 512 and so on that holds the positions, at most the context.

    Args:
        num_visible: From 1 to `context`.
        context: Of the kernel.
    """
    return min(max(VISIBLE_LEAST, 1 << (num_visible - 1).bit_length()), context)


class RecordedSteps:
    """Reads one token of each text by recorded steps.

    Args:
        decoder: A kernel that `can_record`.
        slots: The cache of the texts, with planned storage.
        record: Records a step.
    """

    def __init__(self, decoder: Decoder, slots: SlotCache, record: Record) -> None:
        self._decoder, self._slots, self._record = decoder, slots, record
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self._num_moves = slots.num_moves

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Recorded sizes, as rows and visible positions, sorted."""
        return sorted(self._recorded)

    def read(self, token_of: Mapping[int, int]) -> list[Tensor]:
        """Read the next token of some rows; return their final hidden states, each of shape (C,).

        Args:
            token_of: Row -> token; at least one.

        Raises:
            RuntimeError: The step cannot be recorded; nothing was counted.
        """
        slots = self._slots
        if slots.num_moves != self._num_moves:
            self._recorded.clear()
            self._num_moves = slots.num_moves
        num_rows = row_bucket(max(token_of) + 1, slots.num_rows)
        longest = max(slots.lengths[row] for row in token_of)
        size = (num_rows, visible_bucket(longest + 1, slots.context))
        if size not in self._recorded:
            self._recorded[size] = _Recorded(self._decoder, slots, size)
        hidden_BC = self._recorded[size].read(self._inputs(token_of, num_rows), self._record)
        for row in token_of:
            slots.lengths[row] += 1
        rows = hidden_BC.unbind()
        return [rows[row] for row in token_of]

    def _inputs(self, token_of: Mapping[int, int], num_rows: int) -> Tensor:
        """Return tokens and positions of all rows of the bucket, int64, shape (2, B)."""
        lengths = self._slots.lengths[:num_rows]
        lengths = lengths + [0] * (num_rows - len(lengths))
        return torch.tensor([[token_of.get(row, 0) for row in range(num_rows)], lengths])


class _Recorded:
    """The step of one size, with the tensors that it reads and writes."""

    def __init__(self, decoder: Decoder, slots: SlotCache, size: tuple[int, int]) -> None:
        num_rows, num_visible = size
        device = decoder.embedding.device
        self._inputs_2B = torch.zeros(2, num_rows, dtype=torch.int64, device=device)
        self._decoder = decoder
        self._rows = FixedRows(slots, self._inputs_2B[1], num_visible)
        self._size = size
        self._replay: Step | None = None

    def read(self, inputs_2B: Tensor, record: Record) -> Tensor:
        """Return the final hidden states of all rows, valid until the next step, shape (B, C)."""
        self._inputs_2B.copy_(inputs_2B)
        if self._replay is None:
            self._replay = record(self._step)
            rows, visible = self._size
            logger.info("step recorded", extra={"rows": rows, "visible": visible})
        return self._replay()

    def _step(self) -> Tensor:
        hidden_B1C = self._decoder.hidden(self._inputs_2B[0].unsqueeze(1), self._rows)
        return hidden_B1C[:, 0]


@cache
def _pool() -> Any:
    """Return the memory that all recorded steps share: they are replayed one after the other."""
    return torch.cuda.graph_pool_handle()


def record_nothing(step: Step) -> Step:
    """Return the step itself, which is then computed anew each time."""
    return step


def record_cuda(step: Step) -> Step:
    """Record a step as a CUDA graph.

    The step runs twice beforehand, so that libraries have made what they keep. That changes
    nothing: a step writes the same keys and values to the same places each time.

    Raises:
        RuntimeError: An operator of the step cannot be recorded.
    """
    present = torch.cuda.current_stream()
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(present)
    with torch.cuda.stream(beside):
        for _ in range(2):
            step()
    present.wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile: one that loads the next release, for example.
    with torch.cuda.graph(graph, pool=_pool(), capture_error_mode="thread_local"):
        result = step()

    def replay() -> Tensor:
        graph.replay()
        return result

    return replay
