"""Append tokens to a coordizer (tokenizer with simplex points); old tokens keep their points.

An appended token matches as a whole string, before any merge, so text without the string is encoded
as before. Appended tokens get the next ids. Merges and the coordinates of other tokens keep their
bits. A kernel's new embedding rows are initialised from the tokens that encoded the string before:
`before.encode(text)`.

Shapes: E new tokens, R = E + 1 rows, K outcomes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_factorisation import WINDOW_TOKENS
from constellation.coordizer.encoding import Encoder
from constellation.errors import ConfigError
from constellation.records import FloatArray, TokenArray


def extend(coordizer: Coordizer, texts: Sequence[str], documents: Sequence[str]) -> Coordizer:
    """Return a coordizer with `texts` appended as tokens.

    Args:
        coordizer: The coordizer to extend; it is not changed.
        texts: The new tokens in the order of their ids, each encoded as two tokens or more so far.
        documents: Texts from which the new tokens' coordinates are fitted. A token that occurs in
            none of the texts lies at the background.

    Raises:
        ConfigError: A text is empty, repeated, not UTF-8, or a token already.
    """
    _check(coordizer, texts)
    before = coordizer.parts
    vocabulary = replace(
        before.vocabulary,
        tokens=before.vocabulary.tokens + tuple(texts),
        whole_strings=before.vocabulary.whole_strings + tuple(texts),
    )
    tokens = Encoder(vocabulary).encode_batch(documents)
    counts_EK, rows_EK = _fit_rows(coordizer, tokens, num_new=len(texts))
    return Coordizer(
        replace(
            before,
            vocabulary=vocabulary,
            conditional_VK=np.concatenate([before.conditional_VK, rows_EK]),
            counts_VK=np.concatenate([before.counts_VK, counts_EK]),
        )
    )


def _check(coordizer: Coordizer, texts: Sequence[str]) -> None:
    if len(set(texts)) != len(texts):
        raise ConfigError("new tokens repeat; each must be given once")
    known = set(coordizer.vocabulary.tokens)
    for text in texts:
        if text in known or coordizer.encode(text).size < 2:
            raise ConfigError(f"{text!r} cannot be a new token: it is empty or a token already")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{text!r} cannot be a new token: it is not UTF-8") from error


def _fit_rows(
    coordizer: Coordizer, tokens: Sequence[TokenArray], *, num_new: int
) -> tuple[FloatArray, NDArray[np.float32]]:
    """Return soft counts and coordinates of the new tokens, each of shape (E, K).

    Each occurrence of a new token is divided over outcomes by the basin of the known tokens in the
    same window.
    """
    fitted = coordizer.coordinates
    rows_RK = np.zeros((num_new + 1, fitted.background_K.size))
    for ids in tokens:
        for start in range(0, ids.size, WINDOW_TOKENS):
            # Row 0 is all known tokens, row e + 1 the new token e.
            window = ids[start : start + WINDOW_TOKENS] - (coordizer.vocab_size - 1)
            basin_K = coordizer.basin(window[window <= 0] + (coordizer.vocab_size - 1))
            occurrences = np.bincount(np.maximum(window, 0), minlength=num_new + 1)
            rows_RK += occurrences[:, None] * basin_K
    rows_RK[:, fitted.counts_VK.sum(axis=0) == 0] = 0  # no text belongs to a free outcome
    # The old tokens are included because smoothing uses the counts of a domain's other tokens.
    together_VK = np.concatenate([fitted.counts_VK, rows_RK[1:]])
    return rows_RK[1:], replace(fitted, counts_VK=together_VK).conditional()[-num_new:]
