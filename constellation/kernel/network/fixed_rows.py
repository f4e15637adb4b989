"""The first rows of a KV cache as the cache of a forward pass whose shapes and addresses are fixed.

A pass over fixed rows reads one token of each. Where its tokens stand is in a tensor that is
written to between passes, so that a pass that was recorded once can be replayed for other texts.

Shapes: B rows, L visible positions.
"""

import math

import torch
from torch import Tensor

from constellation.kernel.network.cache import LayerCache
from constellation.kernel.network.slots import RaggedCache, SlotCache, SlotRows


class FixedRows(SlotRows):
    """Rows 0 to B - 1 of a `SlotCache` with planned storage, of which L positions are visible.

    Rows without a text, and rows that see further than L, are computed too; their results mean
    nothing, and what they append lies behind the end of their text.

    Args:
        slots: The cache, whose storage has B rows.
        positions_B: Place of the next token of every row, int64; the caller changes the numbers.
        num_visible: L, at most the context.
    """

    def __init__(self, slots: SlotCache, positions_B: Tensor, num_visible: int) -> None:
        self.length = num_visible - 1
        self._slots = slots
        self._rows = range(len(positions_B))
        self._counted = frozenset()
        self._positions_B = positions_B
        self._row_B = torch.arange(len(positions_B), device=positions_B.device)
        self._place_L = torch.arange(num_visible, device=positions_B.device)
        self._bias_B11L = None

    def reserve(self, num_new: int) -> None:
        """Compute the bias of the present positions; storage was reserved when it was planned."""
        assert num_new == 1, "fixed rows read one token at a time"
        assert self._positions_B is not None
        bias_BL = self._slots.zeros(len(self._rows), self.length + 1)
        bias_BL.masked_fill_(self._place_L > self._positions_B.unsqueeze(1), -math.inf)
        self._bias_B11L = bias_BL[:, None, None]

    def layer(self, index: int) -> tuple[LayerCache, ...]:
        """Return the views that layer `index` appends to: one per pass, several if recurrent."""
        assert self._positions_B is not None
        assert self._row_B is not None
        assert self._bias_B11L is not None
        first_pass_N = self._slots.first_pass_N
        passes = range(first_pass_N[index], first_pass_N[index + 1])
        places = (self._row_B, self._positions_B)
        stores = (self._slots.pass_of(number, self._rows) for number in passes)
        return tuple(RaggedCache(store, places, self._bias_B11L) for store in stores)

    def advance(self, num_new: int) -> None:
        """Do nothing: the caller counts the positions of the rows that take part."""
