"""What a batch needs of a network: a `Decoder` is one, a model of `transformers` can be made one.

Shapes: B sequences, T positions, C channels, V tokens.
"""

from typing import Protocol

from torch import Tensor

from constellation.kernel.network.cache import CachedShape, KVCache
from constellation.kernel.network.slots import SlotRows


class NetworkShape(CachedShape, Protocol):
    """What is said about a network beforehand."""

    @property
    def vocab_size(self) -> int:
        """Tokens it knows."""
        ...


class Network(Protocol):
    """A causal language model in two parts, so that logits are made only where they are wanted."""

    @property
    def config(self) -> NetworkShape:
        """Its shape."""
        ...

    @property
    def embedding(self) -> Tensor:
        """The vectors of its tokens, whose precision and device are those of keys and values."""
        ...

    def hidden(self, tokens_BT: Tensor, cache: KVCache | SlotRows | None = None) -> Tensor:
        """Return the final hidden states, shape (B, T, C); what was read joins the cache.

        Raises:
            InvalidPrompt: There is no token, or more than the context or the cache holds.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token, shape (..., V), of hidden states (..., C)."""
        ...
