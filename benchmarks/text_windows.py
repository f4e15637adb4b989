"""Cut documents into the texts that kernel basins and calibration are made of.

Always the same cut for fitting and serving: a kernel's basin is a mean over texts about as long as
a query, for the basin of a whole book says little about a question.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError

WINDOW_TOKENS = 64
"""Tokens of a text by default; accuracy at 8 to 128 tokens hardly depends on it."""

_WINDOW_MIN = 8


def sample_windows(
    documents: Sequence[NDArray[Any]],
    *,
    window_tokens: int = WINDOW_TOKENS,
    windows_max: int = 1000,
) -> list[NDArray[Any]]:
    """Return texts of one domain, spread evenly over its documents; no randomness.

    Args:
        documents: Token ids of each document.
        window_tokens: Length of a text, at least 8. The rest of a document is a text of its own
            when it has 8 tokens or more.
        windows_max: Most texts; more are thinned out evenly, which keeps long documents' share.

    Returns:
        Views of the documents, in order; empty when no document has 8 tokens.

    Raises:
        ConfigError: When a setting is out of range.
    """
    if window_tokens < _WINDOW_MIN or windows_max < 1:
        raise ConfigError(
            f"need window_tokens >= {_WINDOW_MIN} and windows_max >= 1, got {window_tokens} and "
            f"{windows_max}"
        )
    windows = [
        ids[start : start + window_tokens]
        for ids in documents
        for start in range(0, len(ids), window_tokens)
        if len(ids) - start >= _WINDOW_MIN
    ]
    if len(windows) <= windows_max:
        return windows
    kept = np.linspace(0, len(windows) - 1, windows_max).astype(np.intp)
    return [windows[place] for place in kept]
