"""Share the outcomes of the simplex out to domains.

A block is the set of outcomes that one domain's mass may lie in. Knows names and numbers only.
Letters: K outcomes, B outcomes of a block.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from constellation.errors import ConfigError
from constellation.records import FloatArray

NUM_OUTCOMES = 64
"""K where nothing else is wanted, and needed: for up to 48 domains."""

FREE_OUTCOMES_MIN = 16
"""Outcomes kept for later domains and for the background, at least."""

BLOCK_MAX = 3
"""Most outcomes a domain gets by default; more did not route better on any dev split."""

FREE_SHARE = 0.05
"""Share of the background in free outcomes, which take up what all texts have in common. 0.02 to
0.1 route alike; 0.25, every outcome alike, costs .003 to .005 of accuracy (docs/log.md)."""

Blocks = Mapping[str, tuple[int, ...]]


OUTCOMES_STEP = 64
"""Outcomes are added in steps of this many: folding takes rows of it without a rest."""


def outcomes_for(num_domains: int, num_outcomes: int) -> int:
    """Return how many outcomes a constellation needs, so that each domain has one of its own.

    Where domains share outcomes in pairs, texts arrive more rarely, and every domain that joins
    gives many others another pair: of 150 intents .819 of the queries arrived with 64 outcomes, and
    .885 with 192 (docs/log.md).

    Args:
        num_domains: Domains that need a block each, at most 240.
        num_outcomes: K, as wanted.

    Returns:
        `num_outcomes` if it is enough, else the least multiple of 64 that is.
    """
    needed = num_domains + FREE_OUTCOMES_MIN
    if needed <= num_outcomes:
        return num_outcomes
    return -(-needed // OUTCOMES_STEP) * OUTCOMES_STEP


def allocate_blocks(
    names: Sequence[str], *, num_outcomes: int = 64, outcomes_per_domain: int | None = None
) -> dict[str, tuple[int, ...]]:
    """Give each domain its outcomes, from 0 up; at least 16 stay free.

    Up to K - 16 domains get blocks of their own. When there are more, outcomes are shared: each
    domain gets a pair that no other domain has both of.

    Args:
        names: Domains, in the order in which they take outcomes.
        num_outcomes: K, more than 16.
        outcomes_per_domain: B; None shares out evenly, at most 3 each.

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
    """Return True when another domain has one of the outcomes of `name`."""
    own = set(blocks[name])
    return any(own & set(block) for other, block in blocks.items() if other != name)


def block_background(blocks: Blocks, num_outcomes: int) -> FloatArray:
    """Return pi: domains share 3/4 alike, free outcomes 1/4; uniform without blocks, shape (K,).

    Domains weigh alike whatever their size, so that a small corpus is not routed away from.
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
    """Return 1 where two outcomes belong to one domain alone and on the diagonal, shape (K, K)."""
    related_KK = np.eye(num_outcomes)
    owners_K = np.bincount(
        [outcome for block in blocks.values() for outcome in block], minlength=num_outcomes
    )
    for block in blocks.values():
        # Outcomes that domains share would tie all domains together, one through the next.
        if (owners_K[list(block)] == 1).all():
            related_KK[np.ix_(block, block)] = 1
    return related_KK
