"""kappa: the coupling of attention, as the heads learned it and as their attention shows it.

Shapes: B texts, T tokens of a text, L visible keys.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.attention import Attention
from constellation.kernel.decoder import Decoder
from constellation.kernel.measurement import Measurement, bootstrap_interval

NEAR_FULL: Final = 0.95
"""kappa at length L averages queries that see more than this share of L keys."""


def kappa_learned(decoder: Decoder, *, seed: int = 0) -> Measurement:
    """Return the mean over heads of the learned couplings kappa_h.

    `null` is the value before training; the value is None for `dot`, which has no coupling.
    """
    if decoder.coupling is None:
        return Measurement(value=None, method="dot has no kappa", n=0, null=None, interval=None)
    kappas = decoder.coupling.log_kappa_NH.detach().float().exp().flatten()
    return Measurement(
        value=float(kappas.mean()),
        method="mean learned coupling over all heads",
        n=len(kappas),
        null=decoder.config.coupling_start,
        interval=bootstrap_interval(kappas, seed),
    )


@torch.inference_mode()
def kappa_measured(
    decoder: Decoder, tokens_BT: Tensor, *, length: int | None = None, seed: int = 0
) -> Measurement:
    """Measure the nats of information that attention gains over uniform attention.

        kappa(L) = mean over heads and over queries with n in (0.95 L, L] of ln n - H(attention)

    n is the number of keys a query sees. `null` is the same for the texts' tokens in random order.

    Args:
        decoder: The kernel; every kind of attention has a measured coupling.
        tokens_BT: Texts of one length; only the first L tokens are read.
        length: L, 1 to T and to the context; None means T.
        seed: Of the shuffle and the bootstrap.

    Returns:
        A value in [0, ln L] nats; `n` is the number of texts, the interval a bootstrap over them
        (None for a single text).

    Raises:
        ConfigError: If `length` is out of range.
    """
    num_texts, num_tokens = tokens_BT.shape
    length = num_tokens if length is None else length
    longest = min(num_tokens, decoder.config.context)
    if not (num_texts >= 1 and 1 <= length <= longest):
        raise ConfigError(f"length is {length}; allowed: 1 to {longest}, with one text or more")
    texts_BL = tokens_BT[:, :length]
    generator = torch.Generator().manual_seed(seed)
    order_L = torch.randperm(length, generator=generator).to(texts_BL.device)
    gained_B = _information_gained(decoder, texts_BL)
    return Measurement(
        value=float(gained_B.mean()),
        method=f"ln(keys) - entropy of attention at {length} keys, mean over heads and texts",
        n=num_texts,
        null=float(_information_gained(decoder, texts_BL[:, order_L]).mean()),
        interval=bootstrap_interval(gained_B, seed),
    )


def _information_gained(decoder: Decoder, texts_BL: Tensor) -> Tensor:
    """Return ln n - H(attention), the mean over layers, heads and the last queries, shape (B,)."""
    length = texts_BL.shape[1]
    first = min(int(NEAR_FULL * length), length - 1)  # query i sees i + 1 keys
    gained: list[Tensor] = []

    def measure(attention: Attention, arguments: tuple[Any, ...]) -> None:
        query, key, _ = attention.project(*arguments[:3])
        scores = (query[:, :, first:] @ key.transpose(-1, -2)).float() * attention.logit_scale
        seen = torch.ones(length - first, length, dtype=torch.bool, device=scores.device)
        log_p = scores.masked_fill(~seen.tril(first), -math.inf).log_softmax(-1)
        entropy = torch.special.entr(log_p.exp()).sum(-1)
        keys = torch.arange(first + 1, length + 1, device=scores.device)
        gained.append((keys.log() - entropy).mean((1, 2)))

    with _before_attention(decoder, measure):
        decoder.hidden(texts_BL)
    mean_B: Tensor = torch.stack(gained).mean(0)
    return mean_B.clamp(min=0)  # rounding alone goes below 0


@contextmanager
def _before_attention(
    decoder: Decoder, hook: Callable[[Attention, tuple[Any, ...]], None]
) -> Iterator[None]:
    """Call `hook` before every attention layer with the layer's arguments."""
    layers = [module for module in decoder.modules() if isinstance(module, Attention)]
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
