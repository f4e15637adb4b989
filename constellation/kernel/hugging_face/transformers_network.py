"""Run a causal `transformers` model on our storage of keys and values, as a `Batch` needs it.

The library's own batches are of texts that begin together. Here the model is handed, in place of
its cache, an object that appends to a `SlotRows`; with the place of every token and the mask that
belongs to it, rows of different lengths are one forward pass. An architecture that follows these
three computes the same as by itself, and one that does not (its own state, its own places, windows
that are shorter than its context) is noticed when it is loaded: `check_network` compares.

Shapes: B sequences, T positions, C channels, V tokens, L visible positions, H heads with keys, D
channels of a head.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidPrompt
from constellation.kernel.network.cache import KVCache, LayerCache
from constellation.kernel.network.slots import SlotCache, SlotRows

_TOLERANCE = 1e-3
"""Largest difference of a logit, relative to the largest logit; rounding stays far below it."""
_PROBE_TOKENS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """Sizes of a model that are known before it is run."""

    context: int
    vocab_size: int
    num_layers: int
    num_heads: int
    """Number of heads of keys and values; queries may have more."""
    head_dim: int

    def num_passes(self) -> int:
        """Return the number of layer passes of a token, summed over all layers."""
        return self.num_layers

    def loops_of(self, layer: int) -> int:
        """Return the number of passes of a token through one layer."""
        return 1


class HuggingFaceNetwork:
    """A model as a batch needs it.

    Args:
        model: A causal `transformers.PreTrainedModel` in evaluation mode.
        context: Tokens that it reads and writes together.

    Raises:
        ConfigError: Its layers keep other things than keys and values of one shape.
    """

    def __init__(self, model: Any, *, context: int) -> None:
        self._model = model
        self._trunk = model.get_decoder()
        self._head = model.get_output_embeddings()
        self.embedding = cast(Tensor, model.get_input_embeddings().weight).detach()
        num_layers, num_heads, head_dim = _kept_shape(self._trunk, self.embedding)
        self.config = ModelShape(
            context=context,
            vocab_size=self._head.weight.shape[0],
            num_layers=num_layers,
            num_heads=num_heads,
            head_dim=head_dim,
        )

    def hidden(self, tokens_BT: Tensor, cache: KVCache | SlotRows | None = None) -> Tensor:
        """Return the final hidden states, shape (B, T, C); what was read joins the cache.

        Raises:
            InvalidPrompt: There is no token, or more than the context holds.
            ConfigError: The cache is that of texts that begin together.
        """
        num_new = tokens_BT.shape[1]
        start = 0 if cache is None else cache.length
        if not 1 <= num_new <= self.config.context - start:
            raise InvalidPrompt(length=start + num_new, limit=self.config.context)
        if cache is None:
            return cast(Tensor, self._trunk(input_ids=tokens_BT, use_cache=False)[0])
        if not isinstance(cache, SlotRows):
            raise ConfigError("a model of transformers reads into rows of a SlotCache only")
        cache.reserve(num_new)
        hidden_BTC = self._trunk(
            input_ids=tokens_BT,
            attention_mask=cache.bias(num_new),
            position_ids=_places(cache, tokens_BT),
            past_key_values=_Past(cache, self.config.num_layers),
            use_cache=True,
        )[0]
        cache.advance(num_new)
        return cast(Tensor, hidden_BTC)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token, shape (..., V)."""
        return cast(Tensor, self._head(hidden))

    def matrix(self, path: str) -> Any:
        """Return the matrix at a path of the model; None when there is none."""
        found = dict(self._model.named_modules()).get(path)
        weight = getattr(found, "weight", None)
        return found if weight is not None and weight.ndim == 2 else None


class _Past:
    """The keys and values of one forward pass, in the interface that a model's layers use."""

    def __init__(self, rows: SlotRows, num_layers: int) -> None:
        self._layers: list[LayerCache] = [rows.layer(index)[0] for index in range(num_layers)]
        self._length = rows.length

    def update(
        self, key_BHTD: Tensor, value_BHTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append a layer's new keys and values; return all that are visible."""
        return self._layers[layer_idx].append(key_BHTD, value_BHTD)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of positions of the longest row."""
        return self._length


class _Shapes:
    """Records the shapes of keys and values that layers would store, and stores none."""

    def __init__(self) -> None:
        self.seen: dict[int, tuple[torch.Size, torch.Size]] = {}

    def update(
        self, key_BHTD: Tensor, value_BHTD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        self.seen[layer_idx] = (key_BHTD.shape, value_BHTD.shape)
        return key_BHTD, value_BHTD

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0


@torch.inference_mode()
def check_network(network: HuggingFaceNetwork, model: Any) -> None:
    """Compare texts read in pieces and in company with what the model makes of them by itself.

    Raises:
        ConfigError: Logits differ by more than rounding.
    """
    config = network.config
    length = min(_PROBE_TOKENS, config.context)
    ids = [(7 * place + 3) % config.vocab_size for place in range(length)]
    slots = SlotCache(config, dtype=network.embedding.dtype, device=network.embedding.device)
    texts = [ids, ids[1 : length - 2]]
    device = network.embedding.device
    wanted = [
        model(input_ids=torch.tensor([text], device=device), use_cache=False).logits[0]
        for text in texts
    ]
    for text in texts:
        row = slots.open()
        for piece in (text[:-1][:2], text[:-1][2:]):
            if piece:
                piece_BT = torch.tensor([piece], device=device)
                network.hidden(piece_BT, slots.rows(row, row + 1))
    last_BT = torch.tensor([[text[-1]] for text in texts], device=device)
    found_BV = network.logits(network.hidden(last_BT, slots.rows(0, len(texts))))[:, 0]
    for found_V, wanted_TV in zip(found_BV, wanted, strict=True):
        difference = float((found_V - wanted_TV[-1]).abs().max())
        if not difference <= _TOLERANCE * (1 + float(wanted_TV[-1].abs().max())):
            raise ConfigError(f"read in pieces its logits differ by {difference:.2g}")


@torch.inference_mode()
def _kept_shape(trunk: Any, embedding: Tensor) -> tuple[int, int, int]:
    """Return the numbers of layers, of key heads, and of channels of a head."""
    shapes = _Shapes()
    zero_BT = torch.zeros(1, 1, dtype=torch.int64, device=embedding.device)
    trunk(
        input_ids=zero_BT,
        attention_mask=embedding.new_zeros(1, 1, 1, 1),
        position_ids=zero_BT,
        past_key_values=shapes,
        use_cache=True,
    )
    kept = {shape for pair in shapes.seen.values() for shape in pair}
    if len(kept) != 1 or sorted(shapes.seen) != list(range(len(shapes.seen))):
        raise ConfigError(f"its layers do not keep keys and values of one shape: {sorted(kept)}")
    (shape,) = kept
    return len(shapes.seen), shape[1], shape[3]


def _places(cache: SlotRows, tokens_BT: Tensor) -> Tensor:
    """Return the position of every token in its text, shape (B, T)."""
    places = cache.positions(tokens_BT.shape[1])
    if isinstance(places, slice):
        places = torch.arange(places.start, places.stop, device=tokens_BT.device)
    return places.expand(tokens_BT.shape)
