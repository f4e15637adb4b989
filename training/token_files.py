"""Read token files and raise for damaged ones before a kernel learns from them.

Shapes: N tokens.
"""

from pathlib import Path

import numpy as np

from constellation.errors import TrainingError
from constellation.records import TokenArray


def load_tokens(path: Path, *, vocab_size: int) -> TokenArray:
    """Return the stream of a token file, shape (N,), int32.

    Args:
        path: A file that `training.text_preparation.make_tokens` wrote.
        vocab_size: Tokens must be in [0, vocab_size).

    Raises:
        TrainingError: The file is missing, cut short, no token file, or holds impossible tokens.
    """
    try:
        stream_N: TokenArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if stream_N.ndim != 1 or stream_N.dtype != np.int32:
        raise _damaged(path, f"it holds {stream_N.dtype} of shape {stream_N.shape}, not tokens")
    if len(stream_N) and not (stream_N.min() >= 0 and stream_N.max() < vocab_size):
        low, high = int(stream_N.min()), int(stream_N.max())
        raise _damaged(path, f"tokens {low} to {high} are not all in 0 to {vocab_size - 1}")
    return stream_N


def _damaged(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"token file {path} cannot be used: {reason}; run the same command again, which makes "
        "damaged files again and resumes from the checkpoints"
    )
