"""KV cache: keys and values of the tokens a kernel has read, for sequences of equal length.

A layer that is passed several times has one cache per pass: a pass attends to the keys and
values of the same pass at earlier positions.

Shapes: N layers, B sequences, H heads, T new positions, L visible positions, D channels of a head.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidPrompt


class CachedShape(Protocol):
    """Sizes of a network that a cache of keys and values needs; `KernelConfig` has them."""

    @property
    def context(self) -> int:
        """Largest number of tokens read and written together, not counting the last one written."""
        ...

    @property
    def num_layers(self) -> int:
        """Number of layers with keys and values."""
        ...

    @property
    def num_heads(self) -> int:
        """Number of heads that have keys and values of their own."""
        ...

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        ...

    def num_passes(self) -> int:
        """Return the number of layer passes of a token, summed over all layers."""
        ...

    def loops_of(self, layer: int) -> int:
        """Return the number of passes of a token through one layer."""
        ...


def first_passes(config: CachedShape) -> list[int]:
    """Return the index of each layer's first pass among all layers' passes, and their total."""
    return list(accumulate(map(config.loops_of, range(config.num_layers)), initial=0))


class KVCache:
    """A preallocated buffer of values, and of keys with their positions applied.

    One writer: the decoder appends to every pass of every layer in a forward pass and then advances
    `length`.

    Attributes:
        length: Number of positions stored, the same for all sequences.
        capacity: Number of positions that fit, at most the context of the kernel.
    """

    def __init__(
        self,
        config: CachedShape,
        *,
        batch: int = 1,
        dtype: torch.dtype = torch.float32,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if batch < 1 or (capacity is not None and capacity < 1):
            raise ConfigError(f"need batch and capacity from 1, got {batch} and {capacity}")
        self.length = 0
        self.capacity = min(capacity or config.context, config.context)
        self._first_pass_N = first_passes(config)
        shape = (config.num_passes(), 2, batch, config.num_heads, self.capacity, config.head_dim)
        self._store = torch.empty(shape, dtype=dtype, device=device)

    @property
    def size_bytes(self) -> int:
        """Size of the buffer in bytes."""
        return self._store.numel() * self._store.element_size()

    def reserve(self, num_new: int) -> None:
        """Check that `num_new` more positions fit.

        Raises:
            InvalidPrompt: If they do not.
        """
        if self.length + num_new > self.capacity:
            raise InvalidPrompt(length=self.length + num_new, limit=self.capacity)

    def layer(self, index: int) -> "tuple[LayerCache, ...]":
        """Return the views that layer `index` appends to: one per pass, several if recurrent."""
        passes = range(self._first_pass_N[index], self._first_pass_N[index + 1])
        return tuple(LayerCache(self._store[number], self.length) for number in passes)

    def positions(self, num_new: int) -> slice:
        """Return the positions of the next `num_new` tokens."""
        return slice(self.length, self.length + num_new)

    def advance(self, num_new: int) -> None:
        """Count `num_new` positions that every layer has appended."""
        self.length += num_new

    def truncate(self, length: int) -> None:
        """Drop all positions from `length` on, as if they had never been read."""
        if not 0 <= length <= self.length:
            raise ConfigError(f"cannot truncate {self.length} positions to {length}")
        self.length = length


class LayerCache:
    """The part of a `KVCache` that one pass of a layer uses during one forward pass.

    Attributes:
        bias_B11L: Added to the logits of a single new token: -inf where a sequence has no key;
            None when all are equally long.
        attend: Function that replaces `attention.attend`; None uses that function itself.
    """

    bias_B11L: Tensor | None = None
    attend: Callable[..., Tensor] | None = None

    def __init__(self, store: Tensor, length: int) -> None:
        self._store = store
        self._length = length

    def append(self, key_BHTD: Tensor, value_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values; return all visible ones, each of shape (B, H, L, D)."""
        end = self._length + key_BHTD.shape[2]
        keys, values = self._store[0, ..., :end, :], self._store[1, ..., :end, :]
        keys[..., self._length :, :] = key_BHTD
        values[..., self._length :, :] = value_BHTD
        return keys.to(key_BHTD.dtype), values.to(value_BHTD.dtype)
