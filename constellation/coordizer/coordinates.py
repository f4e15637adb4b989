"""Fit token coordinates p(z | token), one simplex point per token, by EM on token counts.

There are two fits. The *free* fit finds K outcomes by EM without labels, for discovering domains.
The *anchored* fit allocates a block of outcomes to each known domain, and EM moves a document's
mass only inside its own domain's block. Both count; there is no gradient and no gate. The anchored
counts of a domain depend on its own text only, so a domain that joins or leaves changes no bit of
the others.

This file works on token ids, not text; it must not import torch or Ray.

Shapes: V tokens of the vocabulary, K outcomes, B outcomes of a block.

Source: Witten-Bell and Kneser-Ney smoothing, as compared by Chen and Goodman (1999).
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.blocks import (
    Blocks,
    allocate_blocks,
    block_background,
    is_shared,
    relatives,
)
from constellation.coordizer.count_factorisation import WindowCounts, count_windows, factorise
from constellation.errors import ConfigError
from constellation.records import FloatArray

TEMPERING = 0.4
"""Exponent of the likelihood ratios in coordinates, in (0, 1]."""

_OWN_DOMAIN_SMOOTHING = 5.0
"""Weight of the domain's distribution in the smoothing of one outcome, relative to the weight of
the common distribution in the smoothing of a domain."""

_PRESENT_MIN = 0.5
"""Least soft count at which a token counts as present in an outcome: EM leaves traces of every
token in every outcome."""

_QUANTUM = 2.0**-20


@dataclass(frozen=True, kw_only=True, slots=True)
class Coordinates:
    """Soft counts of tokens per outcome, and the settings that turn counts into coordinates."""

    counts_VK: FloatArray
    """Soft count of token v in outcome z, >= 0, float64."""
    background_K: FloatArray
    """Corpus background pi, a simplex point without zeros."""
    blocks: Blocks
    """Domain -> indices of its outcomes; empty for a free fit."""
    smoothing: float = 1.0
    """Probability mass reserved for unseen tokens, in tokens per distinct token of a domain, >
    0."""

    def conditional(self) -> NDArray[np.float32]:
        """Return p(z | token), shape (V, K), every row on the simplex and without zeros.

            p(z|v) ~ pi_z (p(v|z) / p(v))^0.4

        Here p(v|z) is smoothed, and p(v) is its mean over outcomes. The exponent tempers the
        ratios: a basin is the mixture that best explains a text, and with untempered ratios one
        rare token, seen by chance in one domain, outweighs all others. Tempered ratios route better
        at every query length, with any exponent from 0.33 to 0.6 about equally well (docs/log.md).
        Outcomes without counts have p(v) itself, so they absorb uninformative tokens. Tokens
        without counts lie at pi.
        """
        used_K = self.counts_VK.sum(axis=0) > 0
        seen_V = self.counts_VK.sum(axis=1) > 0
        if not used_K.any():
            return np.tile(self.background_K.astype(np.float32), (seen_V.size, 1))
        weight_U = self.background_K[used_K] / self.background_K[used_K].sum()
        likelihood_VU = self._likelihood()[:, used_K]
        common_V = np.where(seen_V, likelihood_VU @ weight_U, 1.0)
        joint_VK = np.tile(self.background_K, (seen_V.size, 1))
        ratio_VU = np.where(seen_V[:, None], likelihood_VU / common_V[:, None], 1.0)
        joint_VK[:, used_K] *= ratio_VU**TEMPERING
        # Rows of unseen tokens sum to 1 already; dividing would cost them their last bit.
        joint_VK[seen_V] /= joint_VK[seen_V].sum(axis=1, keepdims=True)
        conditional_VK: NDArray[np.float32] = joint_VK.astype(np.float32)
        return conditional_VK

    def _likelihood(self) -> FloatArray:
        """Return p(v|z), shape (V, K), smoothed: an outcome by its domain, a domain by all domains.

        A domain's unseen mass is proportional to its number of distinct tokens (Witten and Bell).
        The mass is divided over tokens by the number of domains that contain each token (Kneser and
        Ney): a token that is frequent in one domain says little about another domain that lacks the
        token.
        """
        domain_VK: FloatArray = self.counts_VK @ relatives(self.blocks, self.counts_VK.shape[1])
        types_K = self.smoothing * np.count_nonzero(domain_VK >= _PRESENT_MIN, axis=0)
        domain_VK += types_K * self._spread()[:, None]
        domain_VK /= np.maximum(domain_VK.sum(axis=0), 1e-300)
        if not self.blocks:
            return domain_VK
        likelihood_VK: FloatArray = self.counts_VK + _OWN_DOMAIN_SMOOTHING * types_K * domain_VK
        likelihood_VK /= np.maximum(likelihood_VK.sum(axis=0), 1e-300)
        return likelihood_VK

    def _spread(self) -> FloatArray:
        """Return each token's share of the common distribution, by how many domains contain it."""
        blocks = self.blocks.values() or [(outcome,) for outcome in range(self.background_K.size)]
        spread_V: FloatArray = np.zeros(self.counts_VK.shape[0])
        for block in blocks:
            spread_V += self.counts_VK[:, list(block)].sum(axis=1) >= _PRESENT_MIN
        # A token below `_PRESENT_MIN` in every outcome still needs unseen mass in all of them.
        spread_V = np.maximum(spread_V, self.counts_VK.sum(axis=1) > 0)
        spread_V /= max(spread_V.sum(), 1.0)
        return spread_V


def fit_free(
    documents: Sequence[NDArray[Any]],
    *,
    vocab_size: int,
    num_outcomes: int = 64,
    seed: int = 0,
    iterations: int = 30,
    windows_max: int = 8_192,
) -> Coordinates:
    """Fit the coordinates of all tokens on unlabelled documents (free fit).

    Args:
        documents: Token ids of each document, each in [0, vocab_size).
        vocab_size: V.
        num_outcomes: K, at least 2.
        seed: Seed of EM's start; the fit is a function of its arguments alone.
        iterations: EM steps, at least 1.
        windows_max: Most windows of 128 tokens; of more, this many are taken at even steps, to
            bound the time.

    Raises:
        ConfigError: When there is no token or a setting is out of range.
    """
    _check(vocab_size, num_outcomes, iterations)
    windows_WV = count_windows(documents, vocab_size=vocab_size)
    if windows_WV.nnz == 0:
        raise ConfigError("cannot fit coordinates: the documents hold no token")
    if windows_WV.shape[0] > windows_max:
        kept = np.linspace(0, windows_WV.shape[0] - 1, windows_max).astype(np.intp)
        windows_WV = windows_WV[kept]
    counts_VK = factorise(
        windows_WV,
        num_outcomes=num_outcomes,
        iterations=iterations,
        rng=np.random.default_rng(seed),
    )
    background_K = counts_VK.sum(axis=0) + 1.0
    return Coordinates(
        counts_VK=counts_VK,
        background_K=background_K / background_K.sum(),
        blocks={},
        smoothing=1.0,
    )


def fit_anchored(
    documents: Sequence[NDArray[Any]],
    labels: Sequence[str],
    *,
    vocab_size: int,
    num_outcomes: int = 64,
    seed: int = 0,
    outcomes_per_domain: int | None = None,
    iterations: int = 10,
    smoothing: float = 1.0,
) -> Coordinates:
    """Fit coordinates on labelled documents: each domain's block on its own documents.

    Args:
        documents: Token ids of each document, each in [0, vocab_size).
        labels: The domain of each document.
        vocab_size: V.
        num_outcomes: K, more than 16.
        seed: Seed of EM; a block depends on its own documents, its domain's name and the seed.
        outcomes_per_domain: B; None gives every domain the same number, at most 3.
        iterations: EM steps inside a block, at least 1.
        smoothing: See `Coordinates.smoothing`.

    Raises:
        ConfigError: When nothing is labelled, lengths differ, or a setting is out of range.
    """
    _check(vocab_size, num_outcomes, iterations)
    if len(documents) != len(labels) or not labels or not smoothing > 0:
        raise ConfigError(
            f"need a label for each document and smoothing > 0; got {len(documents)} documents, "
            f"{len(labels)} labels and smoothing {smoothing}"
        )
    blocks = allocate_blocks(
        sorted(set(labels)), num_outcomes=num_outcomes, outcomes_per_domain=outcomes_per_domain
    )
    own: dict[str, list[NDArray[Any]]] = {name: [] for name in blocks}
    for document, label in zip(documents, labels, strict=True):
        own[label].append(document)

    def counts_of(name: str) -> FloatArray:
        windows_WV = count_windows(own[name], vocab_size=vocab_size)
        return block_counts(windows_WV, blocks, name, seed=seed, iterations=iterations)

    return anchored(
        blocks,
        counts_of,
        vocab_size=vocab_size,
        num_outcomes=num_outcomes,
        smoothing=smoothing,
    )


def fit_anchored_files(
    documents_of: Callable[[str], Iterable[NDArray[Any]]],
    domains: Iterable[str],
    *,
    vocab_size: int,
    num_outcomes: int,
    seed: int,
    folder: Path,
    iterations: int = 10,
    smoothing: float = 1.0,
) -> Coordinates:
    """Fit the coordinates of `fit_anchored` to text that does not fit into memory.

    Args:
        documents_of: Function from a domain to the token ids of its documents, read once.
        domains: Names of the domains.
        vocab_size: V.
        num_outcomes: K, more than 16.
        seed: See `fit_anchored`.
        folder: For temporary files of up to 8 bytes for each token of the largest domain.
        iterations: See `fit_anchored`.
        smoothing: See `fit_anchored`.

    Raises:
        ConfigError: A setting is out of range, or there are too many domains.
    """
    # Imported here: small text needs no files.
    from constellation.coordizer.window_files import WindowFile

    _check(vocab_size, num_outcomes, iterations)
    blocks = allocate_blocks(sorted(domains), num_outcomes=num_outcomes)

    def counts_of(name: str) -> FloatArray:
        with WindowFile(documents_of(name), vocab_size=vocab_size, folder=folder) as windows_WV:
            return block_counts(windows_WV, blocks, name, seed=seed, iterations=iterations)

    return anchored(
        blocks,
        counts_of,
        vocab_size=vocab_size,
        num_outcomes=num_outcomes,
        smoothing=smoothing,
    )


def anchored(
    blocks: Blocks,
    counts_of: Callable[[str], FloatArray],
    *,
    vocab_size: int,
    num_outcomes: int,
    smoothing: float,
) -> Coordinates:
    """Combine the soft counts of all domains into anchored coordinates.

    Args:
        blocks: Domain -> its outcomes.
        counts_of: Function from a domain's name to the counts of its block, shape (V, B), such as
            `soft_counts` or `even_counts` of the domain's text.
        vocab_size: V.
        num_outcomes: K.
        smoothing: See `Coordinates.smoothing`.
    """
    counts_VK = np.zeros((vocab_size, num_outcomes))
    for name, block in blocks.items():
        counts_VK[:, block] += counts_of(name)
    return Coordinates(
        counts_VK=counts_VK,
        background_K=block_background(blocks, num_outcomes),
        blocks=blocks,
        smoothing=smoothing,
    )


def block_counts(
    windows_WV: WindowCounts,
    blocks: Blocks,
    domain: str,
    *,
    seed: int = 0,
    iterations: int = 10,
) -> FloatArray:
    """Return the soft counts that one corpus adds to its domain's block, shape (V, B).

    The counts depend on this corpus, the domain's name and the seed only. The counts are multiples
    of 2^-20, so sums and differences of up to 2^33 tokens are exact in float64.

    Args:
        windows_WV: `count_windows` of the corpus.
        blocks: Domain -> its outcomes.
        domain: Name of the domain.
        seed: See `fit_anchored`.
        iterations: EM steps, at least 1.
    """
    size = len(blocks[domain])
    if is_even(blocks, domain):
        return even_counts(total_counts(windows_WV), size)
    return soft_counts(windows_WV, domain, size=size, seed=seed, iterations=iterations)


def is_even(blocks: Blocks, domain: str) -> bool:
    """Return whether all outcomes of a domain get an equal part of the domain's counts.

    True for a block of one outcome, and for a domain that shares outcomes with other domains: such
    a domain is recognised by its mixture of outcomes.
    """
    return len(blocks[domain]) == 1 or is_shared(blocks, domain)


def total_counts(windows_WV: WindowCounts) -> FloatArray:
    """Return the count of every token over all windows, float64, shape (V,)."""
    total_V: FloatArray = np.asarray(windows_WV.sum(axis=0), dtype=np.float64).ravel()
    return total_V


def even_counts(total_V: FloatArray, size: int) -> FloatArray:
    """Divide token counts equally over the outcomes of a block; shape (V, B)."""
    return _quantised(np.repeat(total_V[:, None] / size, size, axis=1))


def soft_counts(
    windows_WV: WindowCounts, domain: str, *, size: int, seed: int, iterations: int = 10
) -> FloatArray:
    """Divide the token counts of a domain's text over the outcomes of its block by EM.

    Args:
        windows_WV: `count_windows` of the domain's documents.
        domain: Name of the domain; name and seed together decide EM's start.
        size: B, outcomes of the block.
        seed: See `fit_anchored`.
        iterations: EM steps, at least 1.

    Returns:
        Shape (V, B); rows of tokens that do not occur are zero.
    """
    digest = hashlib.sha256(f"{seed}:{domain}".encode()).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "little"))
    return _quantised(factorise(windows_WV, num_outcomes=size, iterations=iterations, rng=rng))


def _quantised(counts_VB: FloatArray) -> FloatArray:
    quantised: FloatArray = np.round(counts_VB / _QUANTUM) * _QUANTUM
    return quantised


def _check(vocab_size: int, num_outcomes: int, iterations: int) -> None:
    if vocab_size < 1 or num_outcomes < 2 or iterations < 1:
        raise ConfigError(
            "need vocab_size >= 1, num_outcomes >= 2 and iterations >= 1, got "
            f"{vocab_size}, {num_outcomes} and {iterations}"
        )
