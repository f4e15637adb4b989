"""Documents as tokens: each as it stands, and as the tokens that count as evidence.

Coordinates are fitted on the tokens of whole documents; basins, passages and thresholds are folded
from the tokens of documents without the white space at their ends. The two differ in a few tokens
at the end, so of the second only what differs is kept. Knows tokens, not text.

Shapes: N documents, T tokens of all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from constellation.errors import ConfigError

IdArray = NDArray[Any]
"""Token ids, uint16 or uint32."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Documents:
    """Documents in order, each with its source."""

    tokens_T: IdArray
    """Tokens of all documents, one document after the other."""
    ends_N: NDArray[np.int64]
    """Where each document ends in `tokens_T`; it begins where the one before ends."""
    kept_N: NDArray[np.int64]
    """Tokens that a document's evidence begins with are so many of the document's first."""
    rest_T: IdArray
    """Tokens of the evidence after those, of all documents, one after the other."""
    rest_ends_N: NDArray[np.int64]
    """Where each document's part ends in `rest_T`."""
    sources: tuple[str, ...]
    """Names of the sources, different ones, in the order in which they come first."""
    source_N: NDArray[np.int64]
    """Index of each document's source."""

    def __post_init__(self) -> None:
        """Refuse parts that do not fit each other."""
        lengths = {len(self.ends_N), len(self.kept_N), len(self.rest_ends_N), len(self.source_N)}
        if len(lengths) != 1 or self.tokens_T.dtype != self.rest_T.dtype:
            raise ConfigError(f"documents of {sorted(lengths)} ends, and tokens of two kinds")
        sizes_N = _sizes(self.ends_N, len(self.tokens_T))
        _sizes(self.rest_ends_N, len(self.rest_T))
        if ((self.kept_N < 0) | (self.kept_N > sizes_N)).any():
            raise ConfigError("the evidence of a document keeps more tokens than the document has")
        if len(set(self.sources)) != len(self.sources) or not _in_order(
            self.source_N, len(self.sources)
        ):
            raise ConfigError("sources must be different and in the order in which they come first")

    def __len__(self) -> int:
        """Return N."""
        return len(self.ends_N)

    def tokens(self) -> list[IdArray]:
        """Return the tokens of every document."""
        return np.split(self.tokens_T, self.ends_N[:-1]) if len(self) else []

    def evidence(self) -> list[IdArray]:
        """Return the tokens that every document's basin is folded from."""
        rests = np.split(self.rest_T, self.rest_ends_N[:-1]) if len(self) else []
        return [
            np.concatenate([ids[:kept], rest]) if len(rest) else ids[:kept]
            for ids, kept, rest in zip(self.tokens(), self.kept_N.tolist(), rests, strict=True)
        ]

    def rows_by_source(self) -> dict[str, NDArray[np.intp]]:
        """Return source -> its documents, in the order of `sources`."""
        order_N = np.argsort(self.source_N, kind="stable")
        counts = np.bincount(self.source_N, minlength=len(self.sources))
        parts = np.split(order_N, np.cumsum(counts)[:-1]) if self.sources else []
        return dict(zip(self.sources, parts, strict=True))

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> "Documents":
        """Return some of the documents, as if there had never been others."""
        chosen = np.asarray(rows, dtype=np.intp).tolist()
        tokens, evidence = self.tokens(), self.evidence()
        return join_documents(
            [tokens[row] for row in chosen],
            [evidence[row] for row in chosen],
            [self.sources[self.source_N[row]] for row in chosen],
            dtype=self.tokens_T.dtype,
        )


def join_documents(
    tokens: Sequence[IdArray],
    evidence: Sequence[IdArray],
    sources: Sequence[str],
    *,
    dtype: np.dtype[Any],
) -> Documents:
    """Put documents together.

    Args:
        tokens: Of each document, as it stands.
        evidence: Of each document, without the white space at its ends.
        sources: Of each document.
        dtype: Of the tokens that are kept.
    """
    kept = [_common(whole, counted) for whole, counted in zip(tokens, evidence, strict=True)]
    rests = [counted[size:] for counted, size in zip(evidence, kept, strict=True)]
    number: dict[str, int] = {}
    source_N = [number.setdefault(source, len(number)) for source in sources]
    return Documents(
        tokens_T=_joined(tokens, dtype),
        ends_N=_ends(tokens),
        kept_N=np.array(kept, dtype=np.int64),
        rest_T=_joined(rests, dtype),
        rest_ends_N=_ends(rests),
        sources=tuple(number),
        source_N=np.array(source_N, dtype=np.int64),
    )


def token_dtype(vocab_size: int) -> np.dtype[Any]:
    """Return the smallest kind of number that holds every token of a vocabulary."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def _common(one: IdArray, other: IdArray) -> int:
    """Return how many tokens two texts begin with alike."""
    size = min(len(one), len(other))
    unlike = np.flatnonzero(one[:size] != other[:size])
    return int(unlike[0]) if unlike.size else size


def _joined(parts: Sequence[IdArray], dtype: np.dtype[Any]) -> IdArray:
    return np.concatenate([np.empty(0, dtype), *(part.astype(dtype) for part in parts)])


def _ends(parts: Iterable[IdArray]) -> NDArray[np.int64]:
    return np.cumsum([len(part) for part in parts], dtype=np.int64)


def _sizes(ends_N: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    sizes_N = np.diff(ends_N, prepend=0)
    if (sizes_N < 0).any() or int(sizes_N.sum()) != total:
        raise ConfigError(f"the ends of documents do not divide {total} tokens")
    return sizes_N


def _in_order(source_N: NDArray[np.int64], num_sources: int) -> bool:
    found, first = np.unique(source_N, return_index=True)
    return found.tolist() == list(range(num_sources)) and bool((np.diff(first) > 0).all())
