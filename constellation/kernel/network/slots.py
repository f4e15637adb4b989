"""KV cache for sequences of different lengths, which are added and removed at any time.

Sequences are rows 0 to n - 1, without gaps: when one leaves, the last takes its place, so that a
forward pass over some rows reads one block of memory. The storage grows with the sequences, up to
the context, and is kept for the next ones. A storage of planned size is made at once for so many
rows and the whole context, and stays at its address.

Shapes: P passes of layers, S rows of the storage, B neighbouring rows of one forward pass, H heads,
T new positions, L visible positions, D channels of a head.
"""

import math

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidPrompt
from constellation.kernel.network.cache import CachedShape, LayerCache, first_passes

ROOM_LEAST = 64
"""Number of positions that a row has room for at first; less where the context is shorter."""


class SlotCache:
    """Storage of keys and values for sequences of different lengths, one row each.

    Attributes:
        lengths: Number of positions stored of every row.
        planned_rows: Rows that get their room, for the whole context, when the first row is
            opened; more rows copy the storage. None lets the storage grow with the rows.
        num_moves: How often the storage was made anew, at another address.

    Args:
        config: Sizes of the network.
        dtype: Of keys and values.
        device: Where they are.
        planned_rows: As the attribute.
    """

    def __init__(
        self,
        config: CachedShape,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        planned_rows: int | None = None,
    ) -> None:
        self.planned_rows = planned_rows
        self.num_moves = 0
        self.lengths: list[int] = []
        self.context = config.context
        self.first_pass_N = first_passes(config)
        self._shape = (config.num_passes(), 2, config.num_heads, config.head_dim)
        self._store = torch.zeros(self._full_shape(0, 0), dtype=dtype, device=device)

    @property
    def size_bytes(self) -> int:
        """Present size of the storage in bytes."""
        return self._store.numel() * self._store.element_size()

    @property
    def num_rows(self) -> int:
        """Rows that the storage has room for at present."""
        return self._store.shape[2]

    def open(self) -> int:
        """Add an empty row at the end; return its number."""
        self.lengths.append(0)
        self.make_room(1)
        return len(self.lengths) - 1

    def close(self, row: int) -> None:
        """Remove a row; the last row gets the removed row's number."""
        length = self.lengths.pop()
        if row < len(self.lengths):
            kept = self._store[:, :, len(self.lengths), :, :length]
            self._store[:, :, row, :, :length] = kept
            self.lengths[row] = length

    def make_room(self, length: int) -> None:
        """Grow the storage until every row has room for `length` positions.

        Raises:
            InvalidPrompt: More than the context.
        """
        if length > self.context:
            raise InvalidPrompt(length=length, limit=self.context)
        rows, room = self._store.shape[2], self._store.shape[4]
        if len(self.lengths) <= rows and length <= room:
            return
        if self.planned_rows is not None:
            rows, room = max(len(self.lengths), self.planned_rows), self.context
        elif len(self.lengths) > rows:
            rows = max(len(self.lengths), 2 * rows)
        if length > room:
            room = min(self.context, max(length, 2 * room, ROOM_LEAST))
        # Zeros: what no sequence has written is multiplied by a weight of 0, and must be a number.
        grown = self._store.new_zeros(self._full_shape(rows, room))
        old_rows, old_room = self._store.shape[2], self._store.shape[4]
        grown[:, :, :old_rows, :, :old_room] = self._store
        self._store = grown
        self.num_moves += 1

    def copy_out(self, row: int) -> Tensor:
        """Return a copy of a row's keys and values, shape (P, 2, H, L, D)."""
        return self._store[:, :, row, :, : self.lengths[row]].clone()

    def copy_in(self, row: int, held_P2HLD: Tensor) -> None:
        """Fill an empty row with keys and values that `copy_out` returned."""
        if self.lengths[row]:
            raise ConfigError(f"row {row} holds {self.lengths[row]} positions already")
        length = held_P2HLD.shape[3]
        self.make_room(length)
        self._store[:, :, row, :, :length] = held_P2HLD
        self.lengths[row] = length

    def rows(self, first: int, stop: int, counted: frozenset[int] | None = None) -> "SlotRows":
        """Return the rows from `first` to before `stop` as one batch.

        Args:
            first: First row.
            stop: Row after the last.
            counted: Rows that become longer by the tokens read. Other rows are computed too, and
                their new entries, behind their end, are overwritten later. None counts all.
        """
        within = range(first, stop)
        return SlotRows(self, within, frozenset(within) if counted is None else counted)

    def pass_of(self, number: int, rows: range) -> Tensor:
        """Return the storage of one pass, shape (2, B, H, room, D)."""
        return self._store[number, :, rows.start : rows.stop]

    def zeros(self, *shape: int) -> Tensor:
        """Return zeros of the storage's data type."""
        return self._store.new_zeros(shape)

    def _full_shape(self, rows: int, room: int) -> tuple[int, ...]:
        num_passes, sides, num_heads, head_dim = self._shape
        return (num_passes, sides, rows, num_heads, room, head_dim)


class SlotRows:
    """Neighbouring rows of a `SlotCache`, as the cache of one forward pass.

    Rows of one length may read any number of tokens, others one token each.

    Attributes:
        length: Positions of the longest row.
    """

    def __init__(self, slots: SlotCache, rows: range, counted: frozenset[int]) -> None:
        lengths = [slots.lengths[row] for row in rows]
        self.length = max(lengths)
        self._slots = slots
        self._rows = rows
        self._counted = counted
        self._positions_B: Tensor | None = None
        self._bias_B11L: Tensor | None = None
        self._row_B: Tensor | None = None
        if min(lengths) < self.length:
            device = slots.zeros(0).device
            self._positions_B = torch.tensor(lengths, device=device)
            self._row_B = torch.arange(len(lengths), device=device)

    def reserve(self, num_new: int) -> None:
        """Make room for `num_new` more positions.

        Raises:
            InvalidPrompt: If they do not fit into the context.
            ConfigError: If rows of different lengths are to read more than one token.
        """
        if self._positions_B is not None and num_new > 1:
            raise ConfigError("rows of different lengths read one token at a time")
        self._slots.make_room(self.length + num_new)
        if self._positions_B is not None:
            self._bias_B11L = self._bias(self._positions_B)

    def positions(self, num_new: int) -> slice | Tensor:
        """Return the positions of the next tokens, one per row, (B, 1), if the rows differ."""
        if self._positions_B is None:
            return slice(self.length, self.length + num_new)
        return self._positions_B.unsqueeze(1)

    def layer(self, index: int) -> tuple[LayerCache, ...]:
        """Return the views that layer `index` appends to: one per pass, several if recurrent."""
        first_pass_N = self._slots.first_pass_N
        stores = [
            self._slots.pass_of(number, self._rows)
            for number in range(first_pass_N[index], first_pass_N[index + 1])
        ]
        if self._positions_B is None or self._row_B is None or self._bias_B11L is None:
            return tuple(LayerCache(store, self.length) for store in stores)
        places = (self._row_B, self._positions_B)
        return tuple(RaggedCache(store, places, self._bias_B11L) for store in stores)

    def bias(self, num_new: int) -> Tensor:
        """Return the bias on the logits of `num_new` tokens, for which room was reserved.

        Returns:
            0 where a token sees a position, -inf where it does not; shape (B, 1, 1, L), or
            (1, 1, T, L) when all rows are equally long.
        """
        if self._bias_B11L is not None:
            return self._bias_B11L
        bias_TL = self._slots.zeros(num_new, self.length + num_new).fill_(-math.inf)
        return bias_TL.triu_(self.length + 1)[None, None]

    def advance(self, num_new: int) -> None:
        """Count `num_new` positions that every layer has appended."""
        for row in self._counted:
            self._slots.lengths[row] += num_new

    def _bias(self, positions_B: Tensor) -> Tensor:
        places_L = torch.arange(self.length + 1, device=positions_B.device)
        bias_BL = self._slots.zeros(len(positions_B), self.length + 1)
        bias_BL.masked_fill_(places_L > positions_B.unsqueeze(1), -math.inf)
        return bias_BL.view(len(positions_B), 1, 1, self.length + 1)


class RaggedCache(LayerCache):
    """A `LayerCache` of sequences of different lengths, each of which reads one token."""

    def __init__(self, store: Tensor, places: tuple[Tensor, Tensor], bias_B11L: Tensor) -> None:
        super().__init__(store, bias_B11L.shape[-1] - 1)
        self.bias_B11L = bias_B11L
        self._row_B, self._positions_B = places

    def append(self, key_BHTD: Tensor, value_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Store each sequence's new key and value at its end; return all up to the longest."""
        new_B2HD = torch.stack((key_BHTD[:, :, 0], value_BHTD[:, :, 0]), 1)
        self._store[:, self._row_B, :, self._positions_B] = new_B2HD.to(self._store.dtype)
        keys, values = self._store[:, :, :, : self._length + 1].unbind(0)
        return keys.to(key_BHTD.dtype), values.to(value_BHTD.dtype)
