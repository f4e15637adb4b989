"""kappa: measure the coupling of attention, as learned by the heads and as shown on text.

Shapes: B texts, T tokens of a text, H heads, Q queries, L visible keys or lengths.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.network.attention import Attention
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.observables.measurement import Measurement, absent, bootstrap_interval

NEAR_FULL: Final = 0.95
"""kappa at length L averages queries that see more than this share of L keys."""


def kappa_learned(decoder: Decoder, *, seed: int = 0) -> Measurement:
    """Return the mean over heads of the learned couplings kappa_h.

    `null` is the value before training; the value is None for `dot`, which has no coupling.
    """
    if decoder.coupling is None:
        return absent("dot has no kappa")
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
        seed: Seed of the shuffle and the bootstrap.

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
    gained_B = coupling_at_lengths(decoder, texts_BL, [length])[:, 0]
    shuffled_B = coupling_at_lengths(decoder, texts_BL[:, order_L], [length])[:, 0]
    return Measurement(
        value=float(gained_B.mean()),
        method=f"ln(keys) - entropy of attention at {length} keys, mean over heads and texts",
        n=num_texts,
        null=float(shuffled_B.mean()),
        interval=bootstrap_interval(gained_B, seed),
    )


@torch.inference_mode()
def coupling_at_lengths(
    decoder: Decoder, tokens_BT: Tensor, lengths: Sequence[int], *, chunk_elements: int = 2**22
) -> Tensor:
    """Return the coupling of every text at several lengths, in one pass over the texts.

    A causal kernel's query sees the same keys whatever follows it, so the queries near position L
    of a long text are those of its first L tokens.

    Args:
        decoder: The kernel, of a context of T or more.
        tokens_BT: Texts of one length.
        lengths: Each L in 1..T, shape (L,).
        chunk_elements: Most scores (texts x heads x queries x keys) held at once; at least one
            query's are.

    Returns:
        Nats, shape (B, L), float32, each in [0, ln L].
    """
    gained: list[Tensor] = []

    def measure(attention: Attention, arguments: tuple[Any, ...]) -> None:
        query, key, _ = attention.project(*arguments[:3])
        query = query * attention.logit_scale
        at_lengths = [_gained_near(query, key, length, chunk_elements) for length in lengths]
        gained.append(torch.stack(at_lengths, -1))

    with _before_attention(decoder, measure):
        decoder.hidden(tokens_BT)
    mean_BL: Tensor = torch.stack(gained).mean(0)
    return mean_BL.clamp(min=0)  # rounding alone goes below 0


def gained_nats(scores: Tensor, first: int) -> Tensor:
    """Return ln n - H(softmax of the visible scores) of consecutive queries.

    Args:
        scores: Attention logits, shape (..., Q, L), L >= first + Q.
        first: Position of the first query; query i sees the keys 0..first + i.

    Returns:
        Nats, shape (..., Q), in [0, ln n] up to rounding.
    """
    num_queries, num_keys = scores.shape[-2:]
    seen_QL = torch.ones(num_queries, num_keys, dtype=torch.bool, device=scores.device).tril(first)
    p = scores.float().masked_fill(~seen_QL, -math.inf).softmax(-1)
    keys_Q = torch.arange(first + 1, first + num_queries + 1, device=scores.device)
    gained: Tensor = keys_Q.log() - torch.special.entr(p).sum(-1)
    return gained


def _gained_near(query: Tensor, key: Tensor, length: int, chunk_elements: int) -> Tensor:
    """Return the mean over heads and the queries with n in (0.95 L, L], shape (B,)."""
    batch, num_heads = query.shape[:2]
    first = min(int(NEAR_FULL * length), length - 1)  # query i sees i + 1 keys
    rows = max(1, chunk_elements // (batch * num_heads * length))
    keys = key[:, :, :length].transpose(-1, -2)
    total_B = torch.zeros(batch, device=query.device)
    for start in range(first, length, rows):
        stop = min(start + rows, length)
        gained_BHQ = gained_nats(query[:, :, start:stop] @ keys, start)
        total_B = total_B + gained_BHQ.sum((1, 2))
    return total_B / (num_heads * (length - first))


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
