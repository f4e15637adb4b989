"""Documents stored as token ids: the tokens of each whole text and of its stripped text.

Coordinates are fitted on the tokens of whole documents. Basins, passages and thresholds are
computed from evidence: the tokens of documents without white space at their ends. Both differ only
in a few tokens at the end, so only the differing tokens of the evidence are stored. This file works
on tokens, not text.

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
    """A sequence of documents as tokens, each with the name of its source."""

    tokens_T: IdArray
    """Tokens of all documents, one document after the other."""
    ends_N: NDArray[np.int64]
    """End of each document in `tokens_T`; a document begins where the previous one ends."""
    kept_N: NDArray[np.int64]
    """Number of a document's first tokens that are also the first tokens of its evidence."""
    rest_T: IdArray
    """Remaining tokens of the evidence of all documents, one document after the other."""
    rest_ends_N: NDArray[np.int64]
    """End of each document's part in `rest_T`."""
    sources: tuple[str, ...]
    """Unique names of the sources, in the order of their first documents."""
    source_N: NDArray[np.int64]
    """Index in `sources` of each document's source."""

    def __post_init__(self) -> None:
        """Check that lengths, ends and sources fit each other."""
        lengths = {len(self.ends_N), len(self.kept_N), len(self.rest_ends_N), len(self.source_N)}
        if len(lengths) != 1 or self.tokens_T.dtype != self.rest_T.dtype:
            raise ConfigError(
                f"documents need one number of ends and one type of token; got {sorted(lengths)}, "
                f"{self.tokens_T.dtype} and {self.rest_T.dtype}"
            )
        sizes_N = _sizes(self.ends_N, len(self.tokens_T))
        _sizes(self.rest_ends_N, len(self.rest_T))
        if ((self.kept_N < 0) | (self.kept_N > sizes_N)).any():
            raise ConfigError(
                "the evidence of a document keeps fewer than 0 or more than all of its tokens"
            )
        if len(set(self.sources)) != len(self.sources) or not _in_order(
            self.source_N, len(self.sources)
        ):
            raise ConfigError("sources must be unique and in the order of their first documents")

    def __len__(self) -> int:
        """Return the number of documents N."""
        return len(self.ends_N)

    def tokens(self) -> list[IdArray]:
        """Return the tokens of every document."""
        return np.split(self.tokens_T, self.ends_N[:-1]) if len(self) else []

    def evidence(self) -> list[IdArray]:
        """Return the tokens of every document without white space at its ends, for its basin."""
        rests = np.split(self.rest_T, self.rest_ends_N[:-1]) if len(self) else []
        return [
            np.concatenate([ids[:kept], rest]) if len(rest) else ids[:kept]
            for ids, kept, rest in zip(self.tokens(), self.kept_N.tolist(), rests, strict=True)
        ]

    def rows_by_source(self) -> dict[str, NDArray[np.intp]]:
        """Return source -> indices of its documents, in the order of `sources`."""
        order_N = np.argsort(self.source_N, kind="stable")
        counts = np.bincount(self.source_N, minlength=len(self.sources))
        parts = np.split(order_N, np.cumsum(counts)[:-1]) if self.sources else []
        return dict(zip(self.sources, parts, strict=True))

    def select(self, rows: Sequence[int] | NDArray[np.intp]) -> "Documents":
        """Return some of the documents, with the bits as if the others had never been there."""
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
    """Build `Documents` from the tokens of single documents, stored as `dtype`."""
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
    """Return the smallest integer type that holds every token id of a vocabulary."""
    return np.dtype(np.uint16 if vocab_size <= 2**16 else np.uint32)


def _common(one: IdArray, other: IdArray) -> int:
    """Return the length of the common prefix of two token sequences."""
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
        raise ConfigError(f"ends of documents must be ascending, the last one {total}")
    return sizes_N


def _in_order(source_N: NDArray[np.int64], num_sources: int) -> bool:
    found, first = np.unique(source_N, return_index=True)
    return found.tolist() == list(range(num_sources)) and bool((np.diff(first) > 0).all())
