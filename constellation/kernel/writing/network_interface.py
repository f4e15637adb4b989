"""The interface of a network that a batch can drive: a `Decoder`, or a `transformers` model.

Shapes: B sequences, T positions, C channels, V tokens.
"""

from typing import Protocol

from torch import Tensor

from constellation.kernel.network.cache import CachedShape, KVCache
from constellation.kernel.network.slots import SlotRows


class NetworkShape(CachedShape, Protocol):
    """Sizes of a network that are known before it is run."""

    @property
    def vocab_size(self) -> int:
        """Number of tokens in the vocabulary."""
        ...


class Network(Protocol):
    """A causal language model in two parts, so that logits are computed only where needed."""

    @property
    def config(self) -> NetworkShape:
        """Sizes of the network."""
        ...

    @property
    def embedding(self) -> Tensor:
        """Embedding vectors of its tokens; keys and values have the same precision and device."""
        ...

    def hidden(self, tokens_BT: Tensor, cache: KVCache | SlotRows | None = None) -> Tensor:
        """Return the final hidden states, shape (B, T, C); the tokens read are added to the cache.

        Raises:
            InvalidPrompt: There is no token, or more than the context or the cache holds.
        """
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token, shape (..., V), of hidden states (..., C)."""
        ...
