"""Attention patterns whose information, and its running with the context length, is known."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from constellation.kernel.observables.kappa import NEAR_FULL, gained_nats
from constellation.records import FloatArray

BISECTIONS = 40


def attention_scores(gain_Q: FloatArray, first: int) -> Tensor:
    """Return logits of queries that gain so many nats: one key with a share w, the rest alike.

    Args:
        gain_Q: Nats in [0, ln n], n = first + 1, first + 2, ... keys, shape (..., Q).
        first: Position of the first query.

    Returns:
        Shape (..., Q, first + Q); what a query must not see holds a huge logit.
    """
    num_queries = gain_Q.shape[-1]
    keys_Q = np.arange(first + 1, first + 1 + num_queries, dtype=np.float64)
    low, high = np.broadcast_to(1 / keys_Q, gain_Q.shape), np.ones_like(gain_Q)
    for _ in range(BISECTIONS):
        share = (low + high) / 2
        rest = 1 - share
        entropy = -share * np.log(share) - rest * np.log(np.maximum(rest, 1e-300) / (keys_Q - 1))
        too_little = np.log(keys_Q) - entropy < gain_Q
        low, high = np.where(too_little, share, low), np.where(too_little, high, share)
    rest = np.maximum(1 - high, 1e-300) / (keys_Q - 1)
    place_L = np.arange(first + num_queries)
    chosen_QL = place_L == (np.arange(num_queries) % keys_Q)[:, None]
    scores = np.where(chosen_QL, np.log(high)[..., None], np.log(rest)[..., None])
    return torch.from_numpy(np.where(place_L < keys_Q[:, None], scores, 1e4))


def planted_couplings(
    lengths: Sequence[int], *, kappa_0: float, beta: float, reference: int, texts: int, seed: int
) -> FloatArray:
    """Return couplings measured on planted attention, texts by lengths.

    Texts differ by a factor, by a slope of their own and by noise at each length, all of mean 0.
    """
    random = np.random.default_rng(seed)
    factor_N1 = 1 + 0.25 * random.standard_normal((texts, 1))
    log_L = np.log(np.asarray(lengths) / reference)
    own_NL = 0.03 * random.standard_normal((texts, 1)) * log_L
    noise_NL = 0.03 * random.standard_normal((texts, len(lengths)))
    wanted_NL = kappa_0 * (1 + beta * log_L) * factor_N1 + own_NL + noise_NL
    columns = []
    for wanted_N, length in zip(np.maximum(wanted_NL, 0).T, lengths, strict=True):
        first = int(NEAR_FULL * length)
        gain_NQ = np.tile(wanted_N[:, None], (1, length - first))
        columns.append(gained_nats(attention_scores(gain_NQ, first), first).mean(-1).numpy())
    return np.stack(columns, axis=1).astype(np.float64)
