"""Draw some text of other domains for a specialist to read too, so that it forgets less.

Replay makes a kernel slightly worse on its own text, and better when a route is wrong or several
kernels answer together (docs/log.md).

Source: rehearsal, Robins (1995).
"""

import random
from collections.abc import Sequence

import numpy as np

from constellation.records import TokenArray


def sample_replay(
    others: Sequence[TokenArray], *, own_tokens: int, share: float, name: str
) -> list[TokenArray]:
    """Return whole documents of other domains, drawn without replacement.

    Args:
        others: Tokens of the other domains' documents.
        own_tokens: Tokens of the kernel's own documents.
        share: Share of the kernel's reading that is other domains' text, in [0, 1); met up to less
            than a document while there is text enough.
        name: Name of the kernel; decides what is drawn.
    """
    wanted = own_tokens * share / (1 - share)
    order = list(range(len(others)))
    random.Random(name).shuffle(order)
    before = np.cumsum([0, *(len(others[place]) for place in order)])
    return [
        others[place]
        for place, sum_before in zip(order, before, strict=False)
        if sum_before < wanted
    ]
