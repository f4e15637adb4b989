"""Validation gates of a finished run: (1) its coordizer, (2) its specialised kernels.

A gate is passed when all its checks are; what was not measured has not passed.

Shapes: N texts, K outcomes of the simplex.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.geometry import distance, hellinger_mean, pairwise_distances
from constellation.kernel.measurement import bootstrap_interval
from constellation.records import FloatArray
from training.validation.check import Check

FULL_VOCABULARY: Final = 32_000
"""Tokens of the coordizer in the full-size recipe."""
COMPRESSION_CHANGE_MOST: Final = 0.1
"""Most that bytes per token may differ between two halves of held-out text, relatively."""
BASIN_CHANGE_MOST: Final = 0.1
"""Most that the mean basins of the two halves may lie apart, radians."""
GAUGE_LEAST: Final = 0.75
"""Least gauge of integration: two robust deviations below the reference at most."""
SHUFFLES: Final = 20
"""Labellings drawn at random for the silhouette's null."""


def coordizer_gate(
    coordizer: Coordizer, texts: Sequence[str], *, vocab_size: int
) -> tuple[Check, ...]:
    """Gate 1.

    Args:
        coordizer: The run's.
        texts: Held-out documents, four or more, in an order that mixes domains evenly.
        vocab_size: What the recipe asks for.
    """
    tokens = coordizer.encode_batch(list(texts))
    back = sum(
        coordizer.decode(ids) == text.encode() for ids, text in zip(tokens, texts, strict=True)
    )
    halves = [_half(coordizer, texts, tokens, first) for first in (0, 1)]
    compression = abs(math.log(halves[0][0] / halves[1][0]))
    apart = float(distance(halves[0][1], halves[1][1]))
    full = (
        "the full size" if vocab_size == FULL_VOCABULARY else f"the full one: {FULL_VOCABULARY:,}"
    )
    return (
        Check(
            name="vocabulary",
            passed=coordizer.vocab_size == vocab_size,
            value=coordizer.vocab_size,
            limit=vocab_size,
            detail=f"{coordizer.vocab_size:,} tokens, the recipe says {vocab_size:,} ({full})",
        ),
        Check(
            name="round trip",
            passed=back == len(texts),
            value=back / len(texts),
            limit=1.0,
            detail=f"{back} of {len(texts)} held-out documents come back byte for byte",
        ),
        Check(
            name="stable compression",
            passed=compression <= COMPRESSION_CHANGE_MOST,
            value=compression,
            limit=COMPRESSION_CHANGE_MOST,
            detail=f"{halves[0][0]:.3f} and {halves[1][0]:.3f} bytes per token in two halves of "
            "the held-out documents; logarithm of their ratio",
        ),
        Check(
            name="stable basins",
            passed=apart <= BASIN_CHANGE_MOST,
            value=apart,
            limit=BASIN_CHANGE_MOST,
            detail=f"mean basins of the two halves lie {apart:.4f} rad apart",
        ),
    )


def kernels_gate(
    gauges: Mapping[str, float | None], basins_by_kernel: Mapping[str, FloatArray], *, seed: int = 0
) -> tuple[Check, ...]:
    """Gate 2.

    Args:
        gauges: Kernel -> measured `phi_gauge`; None where it was not measured.
        basins_by_kernel: Kernel -> its basins of held-out texts of its own domain, shape (N, K).
        seed: Of shuffles and the bootstrap.
    """
    return (
        *(_gauge(name, gauge) for name, gauge in gauges.items()),
        _clusters(basins_by_kernel, seed),
    )


def silhouettes(distances_NN: FloatArray, labels_N: NDArray[np.int64]) -> FloatArray:
    """Return (b - a) / max(a, b) per point, shape (N,), in [-1, 1].

    a is the mean distance to the other points of its label, b that to the nearest other label's
    points. 0 for a point that is alone under its label.

    Args:
        distances_NN: Between all points.
        labels_N: From 0 on; two or more different ones.

    Source: Rousseeuw (1987).
    """
    member_LN = labels_N == np.unique(labels_N)[:, None]
    sums_NL = distances_NN @ member_LN.T
    own_N = member_LN.argmax(axis=0)
    rows = np.arange(len(labels_N))
    size_L = member_LN.sum(axis=1)
    others_N = size_L[own_N] - 1
    inner_N = sums_NL[rows, own_N] / np.maximum(others_N, 1)
    outer_NL = sums_NL / size_L
    outer_NL[rows, own_N] = np.inf
    outer_N = outer_NL.min(axis=1)
    larger_N = np.maximum(np.maximum(inner_N, outer_N), np.finfo(np.float64).tiny)
    values_N: FloatArray = np.where(others_N > 0, (outer_N - inner_N) / larger_N, 0.0)
    return values_N


def _half(
    coordizer: Coordizer, texts: Sequence[str], tokens: Sequence[NDArray[np.int32]], first: int
) -> tuple[float, FloatArray]:
    """Return bytes per token and the mean basin of every other document."""
    num_bytes = sum(len(text.encode()) for text in texts[first::2])
    num_tokens = sum(len(ids) for ids in tokens[first::2])
    basins_NK = np.stack([coordizer.basin(ids) for ids in tokens[first::2]])
    return num_bytes / max(1, num_tokens), hellinger_mean(basins_NK)


def _gauge(name: str, gauge: float | None) -> Check:
    if gauge is None:
        detail = "not measured: it needs a seed as reference and a context of 256 tokens"
        return Check(name=f"integration of {name}", passed=False, detail=detail)
    return Check(
        name=f"integration of {name}",
        passed=gauge >= GAUGE_LEAST,
        value=gauge,
        limit=GAUGE_LEAST,
        detail=f"phi_gauge {gauge:.3f} on the robust scale of the frozen seed",
    )


def _clusters(basins_by_kernel: Mapping[str, FloatArray], seed: int) -> Check:
    name = "basins cluster by kernel"
    if len(basins_by_kernel) < 2:
        return Check(name=name, passed=False, detail="one kernel alone clusters with nothing")
    basins_NK = np.concatenate(list(basins_by_kernel.values()))
    sizes = [len(basins) for basins in basins_by_kernel.values()]
    labels_N = np.repeat(np.arange(len(sizes)), sizes)
    distances_NN = pairwise_distances(basins_NK, basins_NK)
    values_N = silhouettes(distances_NN, labels_N)
    random = np.random.default_rng(seed)
    null = np.mean(
        [silhouettes(distances_NN, random.permutation(labels_N)).mean() for _ in range(SHUFFLES)]
    )
    interval = bootstrap_interval(torch.from_numpy(values_N), seed)
    low, high = interval or (math.nan, math.nan)
    return Check(
        name=name,
        passed=low > 0,
        value=float(values_N.mean()),
        limit=0.0,
        detail=f"silhouette of {len(labels_N)} held-out texts under {len(sizes)} kernels, "
        f"{low:+.3f} to {high:+.3f} (95 %, bootstrap over texts); labels at random: {null:+.3f}",
    )
