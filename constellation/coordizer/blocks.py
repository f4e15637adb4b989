"""Allocate the outcomes (coordinates) of the simplex to domains: each domain gets a block.

A block is the set of outcomes in which one domain's probability mass may lie. This file works on
names and numbers only. Letters: K outcomes, B outcomes of a block.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from constellation.errors import ConfigError
from constellation.records import FloatArray

NUM_OUTCOMES = 64
"""Default number of outcomes K; enough for up to 48 domains with an outcome of their own."""

FREE_OUTCOMES_MIN = 16
"""Least number of outcomes that stay free, for domains that join later and for common text."""

BLOCK_MAX = 3
"""Most outcomes of one domain by default; more outcomes did not improve routing on any dev
split."""

FREE_SHARE = 0.05
"""Share of the background's mass in free outcomes, which absorb what all texts have in common.
Shares from 0.02 to 0.1 route equally well; 0.25, at which every outcome has the same mass, costs
.003 to .005 of accuracy (docs/log.md)."""

Blocks = Mapping[str, tuple[int, ...]]


OUTCOMES_STEP = 64
"""Outcomes are added in multiples of this number, so that a row of coordinates splits evenly into
blocks of 64."""


def outcomes_for(num_domains: int, num_outcomes: int) -> int:
    """Return how many outcomes K are needed so that each domain has an outcome of its own.

    With too few outcomes, domains share outcomes in pairs. Fewer queries then reach their own
    kernel, and every domain that joins changes the pairs of many others: of 150 intents .819 of the
    queries arrived with 64 outcomes, and .885 with 192 (docs/log.md).

    Args:
        num_domains: Domains that need a block each, at most 240.
        num_outcomes: K that the caller asks for.

    Returns:
        `num_outcomes` if that is enough, else the least sufficient multiple of 64.
    """
    needed = num_domains + FREE_OUTCOMES_MIN
    if needed <= num_outcomes:
        return num_outcomes
    return -(-needed // OUTCOMES_STEP) * OUTCOMES_STEP


def allocate_blocks(
    names: Sequence[str], *, num_outcomes: int = 64, outcomes_per_domain: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Allocate outcomes to each domain, from outcome 0 upwards; at least 16 outcomes stay free.

    Up to K - 16 domains get blocks of their own. When there are more, outcomes are shared: each
    domain gets a pair that no other domain has both of.

    Args:
        names: Domains, in the order in which outcomes are allocated.
        num_outcomes: K, more than 16.
        outcomes_per_domain: B; None gives every domain the same number, at most 3.

    Raises:
        ConfigError: When the domains do not fit.
    """
    usable = num_outcomes - FREE_OUTCOMES_MIN
    if usable < 1:
        raise ConfigError(
            f"num_outcomes is {num_outcomes}; anchoring needs more than {FREE_OUTCOMES_MIN}"
        )
    if len(names) > usable and outcomes_per_domain is None:
        return _paired_blocks(names, usable)
    size = outcomes_per_domain or min(BLOCK_MAX, usable // max(1, len(names)))
    if size * len(names) > usable:
        raise ConfigError(
            f"{len(names)} domains of {size} outcomes need {size * len(names)}; "
            f"{usable} of {num_outcomes} may be used"
        )
    return {name: tuple(range(row * size, row * size + size)) for row, name in enumerate(names)}


def _paired_blocks(names: Sequence[str], usable: int) -> dict[str, tuple[int, ...]]:
    if len(names) > usable * (usable - 1) // 2:
        raise ConfigError(
            f"{len(names)} domains do not fit {usable} outcomes in pairs; raise num_outcomes"
        )
    blocks = {}
    for row, name in enumerate(names):
        step, first = divmod(row, usable)
        blocks[name] = tuple(sorted((first, (first + 1 + step) % usable)))
    return blocks


def is_shared(blocks: Blocks, name: str) -> bool:
    """Return True when another domain has at least one of the outcomes of `name`."""
    own = set(blocks[name])
    return any(own & set(block) for other, block in blocks.items() if other != name)


def block_background(blocks: Blocks, num_outcomes: int) -> FloatArray:
    """Return the background pi of blocks, shape (K,): 0.95 for domains and 0.05 for free outcomes.

    Without blocks the background is uniform. Every domain has the same mass whatever its amount of
    text, so that routing does not avoid a domain with a small corpus.
    """
    if not blocks:
        return np.full(num_outcomes, 1 / num_outcomes)
    used_K = np.zeros(num_outcomes)
    for block in blocks.values():
        used_K[list(block)] += 1 / len(block)
    free_K = used_K == 0
    background_K: FloatArray = (1 - FREE_SHARE) * used_K / used_K.sum()
    background_K[free_K] = FREE_SHARE / max(1, free_K.sum())
    background_K /= background_K.sum()
    return background_K


def relatives(blocks: Blocks, num_outcomes: int) -> FloatArray:
    """Return 1 for two outcomes of one unshared block and on the diagonal, else 0; shape (K, K)."""
    related_KK = np.eye(num_outcomes)
    owners_K = np.bincount(
        [outcome for block in blocks.values() for outcome in block], minlength=num_outcomes
    )
    for block in blocks.values():
        # Shared outcomes are skipped: a chain of them would connect all domains.
        if (owners_K[list(block)] == 1).all():
            related_KK[np.ix_(block, block)] = 1
    return related_KK
