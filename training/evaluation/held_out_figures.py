"""Measure bits per byte of held-out text: the routed constellation, its seed, a unigram model.

Every test document is routed by its first 32 tokens alone; the tokens after them, up to the end of
the kernels' context, are scored. All models are scored on the same tokens.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.scoring import token_nats
from constellation.records import FloatArray, TokenArray
from constellation.routing import collective_phi as collective
from constellation.routing.policy import RoutingPolicy
from training.evaluation.parallel import side_by_side

_SLAB_TOKENS = 2**22
"""Tokens counted at once."""

PREFIX_TOKENS = 32
"""Number of first tokens by which a document is routed; they are not scored."""

TOKENS_LEAST = 2 * PREFIX_TOKENS
"""Fewest tokens of a scored document, since the first half is read before scoring."""

BOOTSTRAP_DRAWS = collective.BOOTSTRAP_DRAWS

INTERVAL_DOCUMENTS_MIN = collective.INTERVAL_TEXTS_MIN
"""Fewest documents for a bootstrap interval; with fewer it would be far too narrow."""

MODELS = ("constellation", "seed", "unigram", "oracle_label")
"""Models that are scored. "oracle_label" takes the kernel of the document's own label, not of a
route."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredDocument:
    """Figures of one held-out document under every model."""

    domain: str
    routed_to: str
    num_bytes: int
    """Bytes of the scored tokens."""
    nats: Mapping[str, float]
    """Model -> cross-entropy summed over the scored tokens, nats."""


def score_documents(
    documents: Sequence[Document],
    *,
    coordizer: Coordizer,
    policy: RoutingPolicy,
    kernels: Mapping[str, Decoder],
    seed: Decoder | None,
    unigram_nats_V: FloatArray,
) -> list[ScoredDocument]:
    """Route and score held-out documents; those of under 64 tokens are left out.

    Without a document of 64 tokens nothing is returned.

    Args:
        documents: Text nothing was fitted on.
        coordizer: Coordizer of the kernels.
        policy: The router's own policy.
        kernels: Name -> kernel, one per domain.
        seed: The kernel that all of them started from; None when there is none to score.
        unigram_nats_V: -ln p(token) of the unigram model, shape (V,).
    """
    tokens = coordizer.encode_batch([document.text for document in documents])
    context = next(iter(kernels.values())).config.context
    cut = [ids[:context] for ids in tokens]
    start = {} if seed is None else {"seed": seed}

    def score(number: int) -> ScoredDocument:
        ids, domain = cut[number], documents[number].domain
        basin_K = coordizer.basin(ids[:PREFIX_TOKENS])
        chosen = policy.decide(basin_K, num_tokens=PREFIX_TOKENS).kernel
        used = {"constellation": kernels[chosen], "oracle_label": kernels[domain], **start}
        # The route and the label mostly name the same kernel: score it once.
        once = {decoder: scored_nats(decoder, ids, coordizer) for decoder in set(used.values())}
        nats = {model: once[decoder] for model, decoder in used.items()}
        return ScoredDocument(
            domain=domain,
            routed_to=chosen,
            num_bytes=len(coordizer.decode(ids[PREFIX_TOKENS:])),
            nats={**nats, "unigram": float(unigram_nats_V[ids[PREFIX_TOKENS:]].sum())},
        )

    long_enough = [n for n, ids in enumerate(cut) if len(ids) >= TOKENS_LEAST]
    return side_by_side(score, long_enough)


def unigram_nats(stream_N: TokenArray, vocab_size: int) -> FloatArray:
    """Return -ln((count + 1) / (N + V)) per token: the add-one unigram model of a stream."""
    counts_V = np.zeros(vocab_size)
    for start in range(0, len(stream_N), _SLAB_TOKENS):  # a copy of a slab only, as int64
        counts_V += np.bincount(stream_N[start : start + _SLAB_TOKENS], minlength=vocab_size)
    nats_V: FloatArray = np.log(counts_V.sum() + vocab_size) - np.log(counts_V + 1)
    return nats_V


def summarise(
    scored: Sequence[ScoredDocument], *, domains: Sequence[str] = (), random_seed: int = 0
) -> dict[str, object]:
    """Return bits per byte over all documents and per domain, and routing accuracy.

    The intervals are paired bootstraps over documents, 95 %; None for fewer than 8 documents, and
    where a model was not scored.

    Args:
        scored: Documents under every model; none gives figures of none, and no accuracy.
        domains: All there are: those without a scored document are named under `unscored`.
        random_seed: Random seed of the bootstraps.
    """
    models = [model for model in MODELS if scored and model in scored[0].nats]
    unscored = sorted(set(domains) - {document.domain for document in scored})
    domains = sorted({document.domain for document in scored})
    groups = {name: [d for d in scored if d.domain == name] for name in domains}
    return {
        "prefix_tokens": PREFIX_TOKENS,
        "num_documents": len(scored),
        "num_bytes": sum(document.num_bytes for document in scored),
        "unscored": unscored,
        "bits_per_byte": {model: bits_per_byte(scored, model) for model in models},
        "seed_minus_constellation_ci95": _interval(scored, "seed", "constellation", random_seed),
        "unigram_minus_seed_ci95": _interval(scored, "unigram", "seed", random_seed),
        "unigram_minus_constellation_ci95": _interval(
            scored, "unigram", "constellation", random_seed
        ),
        "constellation_minus_oracle_ci95": _interval(
            scored, "constellation", "oracle_label", random_seed
        ),
        "routing_accuracy": _accuracy(scored) if scored else None,
        "domains": {
            name: {
                "num_documents": len(group),
                "bits_per_byte": {model: bits_per_byte(group, model) for model in models},
                "seed_minus_own_ci95": _interval(group, "seed", "oracle_label", random_seed),
                "routing_accuracy": _accuracy(group),
                "routed_to": _counts(group),
            }
            for name, group in groups.items()
        },
    }


def bits_per_byte(scored: Sequence[ScoredDocument], model: str) -> float:
    """Return a model's bits per byte over documents, weighting every byte equally."""
    nats = sum(document.nats[model] for document in scored)
    return nats / math.log(2) / sum(document.num_bytes for document in scored)


def scored_nats(decoder: Decoder, ids: TokenArray, coordizer: Coordizer) -> float:
    """Return the nats of a document's tokens after the prefix; the end token opens it."""
    # The scored window fills the context exactly: the last token is only ever a target.
    return float(token_nats(decoder, [coordizer.end_id, *ids.tolist()])[PREFIX_TOKENS:].sum())


def _accuracy(scored: Sequence[ScoredDocument]) -> float:
    return sum(d.routed_to == d.domain for d in scored) / len(scored)


def _counts(scored: Sequence[ScoredDocument]) -> dict[str, int]:
    names = sorted({document.routed_to for document in scored})
    return {name: sum(d.routed_to == name for d in scored) for name in names}


def _interval(
    scored: Sequence[ScoredDocument], larger: str, smaller: str, random_seed: int
) -> list[float] | None:
    """Return the 95 % interval of one model's bits per byte minus another's; None without one."""
    if len(scored) < INTERVAL_DOCUMENTS_MIN or not {larger, smaller} <= set(scored[0].nats):
        return None
    nats_N = np.array([d.nats[larger] - d.nats[smaller] for d in scored])
    return difference_interval(nats_N, np.array([d.num_bytes for d in scored]), random_seed)


def difference_interval(
    nats_N: FloatArray, bytes_N: FloatArray, random_seed: int = 0
) -> list[float]:
    """Return the 95 % interval of a difference in bits per byte, by a bootstrap over documents.

    Args:
        nats_N: Difference of two models' nats on each document, shape (N,).
        bytes_N: Bytes scored of each, shape (N,).
        random_seed: Random seed of the draws.
    """
    draws = np.random.default_rng(random_seed).integers(
        len(nats_N), size=(BOOTSTRAP_DRAWS, len(nats_N))
    )
    values = nats_N[draws].sum(axis=1) / bytes_N[draws].sum(axis=1) / math.log(2)
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]
