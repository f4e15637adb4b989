"""Score every kernel on every domain: gain of specialisation at home and its cost elsewhere.

A few held-out documents per domain are scored under all kernels and their seed, on the same
tokens as the figures of `training/evaluation/held_out_figures.py`: those after the first 32.

Shapes: M models, N documents.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.kernel.network.decoder import Decoder
from constellation.records import FloatArray, TokenArray
from training.evaluation.held_out_figures import (
    INTERVAL_DOCUMENTS_MIN,
    PREFIX_TOKENS,
    difference_interval,
    scored_nats,
)
from training.evaluation.parallel import side_by_side

BoolArray = NDArray[np.bool_]

DOCUMENTS_PER_DOMAIN = 4
"""Documents per domain; every kernel reads all of them, so work grows with the domains squared."""

SEED_ROW = "seed"
"""Name, among the models, of the seed that all kernels started from."""


def score_across(
    documents: Sequence[Document],
    *,
    coordizer: Coordizer,
    kernels: Mapping[str, Decoder],
    seed: Decoder | None,
    documents_per_domain: int = DOCUMENTS_PER_DOMAIN,
) -> dict[str, object]:
    """Score kernels and seed on all domains.

    Args:
        documents: Text nothing was fitted on; those of under 64 tokens are left out.
        coordizer: Coordizer of the kernels.
        kernels: Name -> kernel. One whose name is a domain is at home there.
        seed: Kernel that all started from; None when they share no start.
        documents_per_domain: Documents taken of each domain, spread evenly over them.

    Returns:
        Plain JSON values: `num_documents` of each domain, `bits_per_byte` of each model on each
        domain, and for each kernel that has a home and a seed what it and the seed need there and
        on all other domains together, with a 95 % interval of seed minus kernel elsewhere (a
        bootstrap over documents; None for fewer than 8).
    """
    chosen = _choose(documents, coordizer, kernels, seed, documents_per_domain)
    models = {**kernels, **({} if seed is None else {SEED_ROW: seed})}
    pairs = list(product(models.values(), (ids for _, ids in chosen)))
    nats = side_by_side(lambda pair: scored_nats(*pair, coordizer), pairs)
    nats_MN = np.reshape(nats, (len(models), len(chosen)))
    names, domains = list(models), [domain for domain, _ in chosen]
    bytes_N = np.array([len(coordizer.decode(ids[PREFIX_TOKENS:])) for _, ids in chosen])
    homes = [name for name in kernels if name in domains]
    return {
        "prefix_tokens": PREFIX_TOKENS,
        "num_documents": {domain: domains.count(domain) for domain in dict.fromkeys(domains)},
        "bits_per_byte": {
            name: {
                domain: _bits(nats_MN[row], bytes_N, np.array(domains) == domain)
                for domain in dict.fromkeys(domains)
            }
            for row, name in enumerate(names)
        },
        "kernels": (
            {}
            if seed is None
            else {
                name: _gains(
                    nats_MN[names.index(name)], nats_MN[-1], bytes_N, np.array(domains) == name
                )
                for name in homes
            }
        ),
    }


def _choose(
    documents: Sequence[Document],
    coordizer: Coordizer,
    kernels: Mapping[str, Decoder],
    seed: Decoder | None,
    documents_per_domain: int,
) -> list[tuple[str, TokenArray]]:
    """Return the domain and tokens of the documents to score, domain by domain."""
    context = next(iter(kernels.values()), seed).config.context  # type: ignore[union-attr]
    by_domain: dict[str, list[Document]] = {}
    for document in documents:
        by_domain.setdefault(document.domain, []).append(document)
    chosen = []
    for domain in sorted(by_domain):
        texts = [document.text for document in by_domain[domain]]
        cut = [ids[:context] for ids in coordizer.encode_batch(texts)]
        long_enough = [ids for ids in cut if len(ids) >= 2 * PREFIX_TOKENS]
        # Neighbours are often pieces of one source.
        picked = np.linspace(0, len(long_enough) - 1, documents_per_domain).astype(int)
        chosen += [(domain, long_enough[i]) for i in sorted(set(picked.tolist())) if long_enough]
    return chosen


def _gains(
    kernel_N: FloatArray, seed_N: FloatArray, bytes_N: FloatArray, home_N: BoolArray
) -> dict[str, object]:
    """Return bits per byte before and after, at home and, if there are other domains, elsewhere."""
    away = None if home_N.all() else _before_after(kernel_N, seed_N, bytes_N, ~home_N)
    return {"own": _before_after(kernel_N, seed_N, bytes_N, home_N), "other": away}


def _before_after(
    kernel_N: FloatArray, seed_N: FloatArray, bytes_N: FloatArray, chosen_N: BoolArray
) -> dict[str, object]:
    enough = int(chosen_N.sum()) >= INTERVAL_DOCUMENTS_MIN
    gained_N = (seed_N - kernel_N)[chosen_N]
    return {
        "num_documents": int(chosen_N.sum()),
        "before": _bits(seed_N, bytes_N, chosen_N),
        "after": _bits(kernel_N, bytes_N, chosen_N),
        "gain_ci95": difference_interval(gained_N, bytes_N[chosen_N]) if enough else None,
    }


def _bits(nats_N: FloatArray, bytes_N: FloatArray, chosen_N: BoolArray) -> float:
    return float(nats_N[chosen_N].sum() / bytes_N[chosen_N].sum() / math.log(2))
