"""Judge the validation gates of a finished run: (1) its coordizer, (2) its specialised kernels.

A gate is passed when all of its checks pass; a value that was not measured has not passed.

Shapes: N texts, K outcomes of the simplex.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.geometry import hellinger_mean, pairwise_distances
from constellation.kernel.observables.measurement import bootstrap_interval
from constellation.records import FloatArray, TokenArray
from training.validation.check import Check, not_applicable
from training.validation.trained import in_words

FULL_VOCABULARY: Final = 32_000
"""Tokens of the coordizer in the full-size recipe."""
COMPRESSION_CHANGE_MOST: Final = 0.1
"""Largest difference of log bytes per token between training and held-out text."""
GAUGE_LEAST: Final = 0.75
"""Least Phi gauge: at most two robust deviations below the reference."""
SHUFFLES: Final = 20
"""Number of random labellings for the silhouette's null."""


def coordizer_gate(
    coordizer: Coordizer,
    train: Sequence[Document],
    held_out: Sequence[Document],
    *,
    vocab_size: int,
) -> tuple[Check, ...]:
    """Judge gate 1: the coordizer's size, round trip, compression and basins on held-out text.

    `train` are documents that the coordizer was trained on; `vocab_size` is what the recipe asks
    for.
    """
    learned, fresh = (coordizer.encode_batch([d.text for d in part]) for part in (train, held_out))
    back = sum(
        coordizer.decode(ids) == document.text.encode()
        for ids, document in zip(fresh, held_out, strict=True)
    )
    full = "the full size" if vocab_size == FULL_VOCABULARY else f"full size: {FULL_VOCABULARY:,}"
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
            passed=back == len(held_out),
            value=back / len(held_out),
            limit=1.0,
            detail=f"{back} of {len(held_out)} held-out documents come back byte for byte",
        ),
        _stable_compression(_bytes_per_token(train, learned), _bytes_per_token(held_out, fresh)),
        _stable_basins(
            _mean_basins(coordizer, train, learned), _mean_basins(coordizer, held_out, fresh)
        ),
    )


def kernels_gate(
    gauges: Mapping[str, float | None], basins_by_kernel: Mapping[str, FloatArray], *, seed: int = 0
) -> tuple[Check, ...]:
    """Judge gate 2: the kernels' integration, and the separation of their basins.

    Args:
        gauges: Kernel -> measured `phi_gauge`; None where it was not measured.
        basins_by_kernel: Kernel -> its basins of held-out texts of its own domain, shape (N, K).
        seed: Seed of shuffles and the bootstrap.
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


def _stable_compression(learned: float, fresh: float) -> Check:
    change = abs(math.log(learned / fresh))
    return Check(
        name="stable compression",
        passed=change <= COMPRESSION_CHANGE_MOST,
        value=change,
        limit=COMPRESSION_CHANGE_MOST,
        detail=f"{learned:.3f} bytes per token of training text, {fresh:.3f} of held-out text; "
        "logarithm of their ratio",
    )


def _stable_basins(learned: Mapping[str, FloatArray], fresh: Mapping[str, FloatArray]) -> Check:
    """Check that held-out text of every domain is nearest to the domain's own training text."""
    name = "stable basins"
    domains = sorted(set(learned) & set(fresh))
    if len(domains) < 2:
        return not_applicable(name, "a single domain has no other to be distinguished from")
    distances_DD = pairwise_distances(
        np.stack([fresh[domain] for domain in domains]),
        np.stack([learned[domain] for domain in domains]),
    )
    own_D = np.diagonal(distances_DD)
    others_D = (distances_DD + np.diag(np.full(len(domains), np.inf))).min(axis=1)
    ratio_D = own_D / np.maximum(others_D, np.finfo(np.float64).tiny)
    worst = int(ratio_D.argmax())
    return Check(
        name=name,
        passed=bool(ratio_D[worst] < 1),
        value=float(ratio_D[worst]),
        limit=1.0,
        detail=f"worst of {len(domains)} domains, {domains[worst]}: the mean basin of its held-out "
        f"text lies {own_D[worst]:.3f} rad from that of its training text and "
        f"{others_D[worst]:.3f} from the nearest other domain's",
    )


def _bytes_per_token(documents: Sequence[Document], tokens: Sequence[TokenArray]) -> float:
    num_bytes = sum(len(document.text.encode()) for document in documents)
    return num_bytes / max(1, sum(len(ids) for ids in tokens))


def _mean_basins(
    coordizer: Coordizer, documents: Sequence[Document], tokens: Sequence[TokenArray]
) -> dict[str, FloatArray]:
    """Return domain -> mean basin of its documents."""
    basins: dict[str, list[FloatArray]] = {}
    for document, ids in zip(documents, tokens, strict=True):
        basins.setdefault(document.domain, []).append(coordizer.basin(ids))
    return {domain: hellinger_mean(np.stack(rows)) for domain, rows in basins.items()}


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
    return Check(
        name=name,
        passed=interval is not None and interval[0] > 0,
        value=float(values_N.mean()),
        limit=0.0,
        detail=f"silhouette of {len(labels_N)} held-out texts under {len(sizes)} kernels, "
        f"{in_words(interval)}, bootstrap over texts; labels at random: {null:+.3f}",
    )
