"""Keys and values of the positions a kernel has read, preallocated for one batch of sequences.

A layer that is passed several times has one cache per pass: a pass attends to what the same pass
of earlier positions left.

Shapes: N layers, B sequences, H heads, T new positions, L visible positions, D channels of a head.
"""

from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidPrompt


class CachedShape(Protocol):
    """What storage for keys and values needs to know of a network; `KernelConfig` says it."""

    @property
    def context(self) -> int:
        """Tokens that can be read and written together, but for the last one written."""
        ...

    @property
    def num_layers(self) -> int:
        """Layers with keys and values."""
        ...

    @property
    def num_heads(self) -> int:
        """Heads that have keys and values of their own."""
        ...

    @property
    def head_dim(self) -> int:
        """Channels of a head."""
        ...

    def num_passes(self) -> int:
        """Return how often a token passes a layer, all layers together."""
        ...

    def loops_of(self, layer: int) -> int:
        """Return how often it passes this one."""
        ...


def first_passes(config: CachedShape) -> list[int]:
    """Return where each layer's passes begin among those of all layers, and where the last end."""
    return list(accumulate(map(config.loops_of, range(config.num_layers)), initial=0))


class KVCache:
    """A fixed buffer of keys, their positions applied, and values.

    One writer: the decoder appends to every pass of every layer in a forward pass and then advances
    `length`.

    Attributes:
        length: Positions held, the same for all sequences.
        capacity: Positions that fit, at most the context of the kernel.
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
        """Bytes of the buffer."""
        return self._store.numel() * self._store.element_size()

    def reserve(self, num_new: int) -> None:
        """Check that `num_new` more positions fit.

        Raises:
            InvalidPrompt: If they do not.
        """
        if self.length + num_new > self.capacity:
            raise InvalidPrompt(length=self.length + num_new, limit=self.capacity)

    def layer(self, index: int) -> "tuple[LayerCache, ...]":
        """Return the views that the passes of layer `index` append to: one unless it recurs."""
        passes = range(self._first_pass_N[index], self._first_pass_N[index + 1])
        return tuple(LayerCache(self._store[number], self.length) for number in passes)

    def positions(self, num_new: int) -> slice:
        """Return the places of `num_new` tokens that come next."""
        return slice(self.length, self.length + num_new)

    def advance(self, num_new: int) -> None:
        """Count `num_new` positions that every layer has appended."""
        self.length += num_new

    def truncate(self, length: int) -> None:
        """Forget the positions from `length` on; what is left is as if they were never read."""
        if not 0 <= length <= self.length:
            raise ConfigError(f"cannot truncate {self.length} positions to {length}")
        self.length = length


class LayerCache:
    """The part of a `KVCache` that one pass of a layer uses during one forward pass.

    Attributes:
        bias_B11L: Added to the logits of a single new token: -inf where a sequence has no key;
            None when all are equally long.
        attend: Does what `attention.attend` does in its place; None: it is done there.
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
