"""Steps of one token for each text, recorded at a few fixed sizes and replayed: CUDA graphs.

On a GPU a small kernel takes longer to be ordered than to be computed: a step is some hundred
operators. A recorded step is one order. Sizes are buckets, of rows (1, 2, 4, 8 and so on) and of
visible positions (256, 512 and so on, up to the context), in a stack also of kernels and of rows
of each; a step is padded to the smallest that holds it. Each size is recorded when it is first
needed, and recorded anew when keys and values or weights were moved to other memory. Only
`record_cuda` needs a GPU: `record_nothing` computes the same step again each time, on any device.

Shapes: B rows of a bucket, R rows that take part, C channels.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final, Protocol, cast

import torch
from torch import Tensor

from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.fixed_rows import FixedRows
from constellation.kernel.network.slots import SlotCache, SlotRows
from constellation.kernel.writing.grouped_products import bucket

logger = logging.getLogger(__name__)

VISIBLE_LEAST: Final = 256
"""Visible positions of the smallest bucket; less where the context is shorter."""

SIZES_MAX: Final = 64
"""Recorded sizes of one batch; each takes memory."""

Step = Callable[[], Tensor]
"""Computes a step from tensors at fixed addresses; returns a tensor at a fixed address."""
Record = Callable[[Step], Step]
"""Records a step; the returned one replays it."""


class FixedNetwork(Protocol):
    """A network whose pass over fixed rows has shapes that depend on a few sizes only."""

    @property
    def num_moves(self) -> int:
        """How often its numbers were moved to other memory."""
        ...

    @property
    def embedding(self) -> Tensor:
        """As of `Network`."""
        ...

    def fixed_inputs(
        self, kernels: Sequence[int | None]
    ) -> tuple[tuple[int, ...], list[int]] | None:
        """Return sizes and numbers that say which kernel reads each row.

        Args:
            kernels: Of every row; None for a row that takes no part.

        Returns:
            The numbers are as many for equal sizes and rows. None when the pass has no such shape.
        """
        ...

    def hidden_fixed(
        self, tokens_B1: Tensor, cache: SlotRows, sizes: tuple[int, ...], numbers: Tensor
    ) -> Tensor:
        """Return the final hidden states, (B, 1, C), given what `fixed_inputs` returned."""
        ...


class _Alone:
    """A kernel that reads all rows."""

    num_moves = 0

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.embedding: Tensor = decoder.embedding

    def fixed_inputs(self, kernels: Sequence[int | None]) -> tuple[tuple[int, ...], list[int]]:
        return (), []

    def hidden_fixed(
        self, tokens_B1: Tensor, cache: SlotRows, sizes: tuple[int, ...], numbers: Tensor
    ) -> Tensor:
        return self._decoder.hidden(tokens_B1, cache)


def recordable(network: object) -> FixedNetwork | None:
    """Return a network as one with fixed shapes; None if it has none.

    Those of kernels whose tokens decide their own depth are not fixed, nor are foreign ones.
    """
    if type(network) is Decoder and not network.config.has_adaptive_depth:
        return _Alone(network)
    if hasattr(network, "fixed_inputs"):
        return cast(FixedNetwork, network)
    return None


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
        network: What `recordable` returned.
        slots: The cache of the texts, with planned storage.
        record: Records a step.
    """

    def __init__(self, network: FixedNetwork, slots: SlotCache, record: Record) -> None:
        self._network, self._slots, self._record = network, slots, record
        self._recorded: OrderedDict[tuple[int, ...], _Recorded] = OrderedDict()
        self._num_moves = (0, 0)

    @property
    def sizes(self) -> list[tuple[int, ...]]:
        """Recorded sizes, sorted: rows, visible positions, and those of the network."""
        return sorted(self._recorded)

    def read(self, reading: Mapping[int, tuple[int, int]]) -> list[Tensor]:
        """Read the next token of some rows; return their final hidden states, each of shape (C,).

        Args:
            reading: Row -> token and kernel; at least one.

        Returns:
            Nothing when the network has no fixed shape for these kernels.

        Raises:
            RuntimeError: The step cannot be recorded; nothing was counted.
        """
        slots = self._slots
        self._forget_moved()
        num_rows = bucket(max(reading) + 1, slots.num_rows)
        kernels = [reading[row][1] if row in reading else None for row in range(num_rows)]
        inputs = self._network.fixed_inputs(kernels)
        if inputs is None:
            return []
        sizes, numbers = inputs
        longest = max(slots.lengths[row] for row in reading)
        size = (num_rows, visible_bucket(longest + 1, slots.context), *sizes)
        tokens = [reading[row][0] if row in reading else 0 for row in range(num_rows)]
        lengths = slots.lengths[:num_rows]
        lengths += [0] * (num_rows - len(lengths))
        whole = torch.tensor([*tokens, *lengths, *numbers])
        hidden = self._step_of(size, len(whole)).read(whole, self._record).unbind()
        for row in reading:
            slots.lengths[row] += 1
        return [hidden[row] for row in reading]

    def _forget_moved(self) -> None:
        """Forget all steps when what they read lies elsewhere by now."""
        num_moves = (self._slots.num_moves, self._network.num_moves)
        if num_moves != self._num_moves:
            self._recorded.clear()
            self._num_moves = num_moves

    def _step_of(self, size: tuple[int, ...], num_numbers: int) -> "_Recorded":
        """Return the step of a size; the one that was not used for longest is forgotten."""
        if size not in self._recorded:
            while len(self._recorded) >= SIZES_MAX:
                self._recorded.popitem(last=False)
            self._recorded[size] = _Recorded(self._network, self._slots, size, num_numbers)
        self._recorded.move_to_end(size)
        return self._recorded[size]


class _Recorded:
    """The step of one size, with the tensors that it reads and writes."""

    def __init__(
        self, network: FixedNetwork, slots: SlotCache, size: tuple[int, ...], num_numbers: int
    ) -> None:
        num_rows, num_visible, *sizes = size
        device = network.embedding.device
        self._numbers = torch.zeros(num_numbers, dtype=torch.int64, device=device)
        self._tokens_B1 = self._numbers[:num_rows].unsqueeze(1)
        self._rows = FixedRows(slots, self._numbers[num_rows : 2 * num_rows], num_visible)
        self._more = self._numbers[2 * num_rows :]
        self._network, self._sizes = network, tuple(sizes)
        self._replay: Step | None = None

    def read(self, numbers: Tensor, record: Record) -> Tensor:
        """Return the final hidden states of all rows, valid until the next step, shape (B, C)."""
        self._numbers.copy_(numbers)
        if self._replay is None:
            self._replay = record(self._step)
            facts = {"rows": len(self._tokens_B1), "visible": self._rows.length + 1}
            logger.info("step recorded", extra=facts)
        return self._replay()

    def _step(self) -> Tensor:
        network = self._network
        hidden_B1C = network.hidden_fixed(self._tokens_B1, self._rows, self._sizes, self._more)
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
