"""Measure a coordizer (tokenizer with simplex points) on texts: distances, compression, errors.

Shapes: V tokens of the vocabulary, K outcomes, P pairs of tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.geometry.simplex import distance

PAIRS = 20_000
"""Number of random token pairs whose distances are measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordizerStatistics:
    """Statistics of a coordizer on a set of texts, as `inspect` measures them."""

    num_texts: int
    num_tokens: int
    """Number of tokens of all texts together."""
    distance_mean: float
    """Mean Fisher-Rao distance between the coordinates of two tokens that occur, radians in [0,
    pi]."""
    distance_p90: float
    """90th percentile of these distances, radians in [0, pi]."""
    bytes_per_token: float
    used_vocabulary: float
    """Share of the vocabulary that occurs in the texts, in [0, 1]."""
    roundtrip_accuracy: float
    """Share of the texts that decode exactly to the original; anything below 1 is a bug."""
    load_entropy: float
    """Entropy of the mean coordinate over all tokens, nats in [0, ln K]; higher means that the
    tokens use the outcomes more evenly."""


def inspect(coordizer: Coordizer, texts: Sequence[str | bytes]) -> CoordizerStatistics:
    """Measure `coordizer` on texts, which have together at least one token.

    Raises:
        ConfigError: When the texts hold no token.
    """
    tokens = coordizer.encode_batch(texts)
    num_tokens = sum(ids.size for ids in tokens)
    if num_tokens == 0:
        raise ConfigError("cannot inspect a coordizer on texts without a token")
    counts_V = np.bincount(np.concatenate(tokens), minlength=coordizer.vocab_size)
    originals = [text if isinstance(text, bytes) else _as_bytes(text) for text in texts]
    exact = [coordizer.decode(ids) == data for ids, data in zip(tokens, originals, strict=True)]
    used = np.flatnonzero(counts_V)
    first_P, second_P = np.random.default_rng(0).choice(used, (2, PAIRS))
    points_VK = coordizer.conditional_VK.astype(np.float64)
    distances_P = distance(points_VK[first_P], points_VK[second_P])
    load_K = counts_V @ points_VK / num_tokens
    load_K = load_K[load_K > 0]
    return CoordizerStatistics(
        num_texts=len(texts),
        num_tokens=num_tokens,
        distance_mean=float(distances_P.mean()),
        distance_p90=float(np.quantile(distances_P, 0.9)),
        bytes_per_token=sum(map(len, originals)) / num_tokens,
        used_vocabulary=used.size / coordizer.vocab_size,
        roundtrip_accuracy=sum(exact) / len(exact),
        load_entropy=float(-(load_K * np.log(load_K)).sum()),
    )


def _as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
