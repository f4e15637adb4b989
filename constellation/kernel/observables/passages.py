"""Cut fixed-length passages from documents of any length; no document is used twice.

Statistics over passages take them as independent; two parts of one document are not.
"""

from collections.abc import Sequence

import numpy as np

from constellation.records import TokenArray


def passages(
    documents: Sequence[TokenArray], *, length: int, num_passages: int, end_id: int, seed: int = 0
) -> TokenArray:
    """Join whole documents until a passage is full, and drop what is left of the last one.

    Documents are taken in random order, so that the passages cover the corpus and not its start.

    Args:
        documents: Tokens of each document.
        length: Tokens of a passage, from 1.
        num_passages: Most passages made, from 1.
        end_id: The token that separates documents; it opens every document.
        seed: Seed of the order.

    Returns:
        Shape (up to `num_passages`, `length`), int32; fewer rows where the text ends.
    """
    made: list[TokenArray] = []
    held: list[TokenArray] = []
    num_held = 0
    for index in np.random.default_rng(seed).permutation(len(documents)).tolist():
        opened = np.concatenate([[end_id], documents[index]]).astype(np.int32)
        held.append(opened)
        num_held += len(opened)
        if num_held >= length:
            made.append(np.concatenate(held)[:length])
            held, num_held = [], 0
        if len(made) == num_passages:
            break
    return np.stack(made) if made else np.empty((0, length), dtype=np.int32)
