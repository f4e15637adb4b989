"""Find paragraphs that occurred earlier in the corpus, with the text in a file.

Only a paragraph whose key occurs twice, once of them in a long paragraph, can be dropped or be what
another paragraph repeats. These keys are found first, by sorting; the text of all other paragraphs
is never looked at again.

Shapes: N keys of the corpus, P paragraphs of a document, R keys that are repeated.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_keys import paragraphs
from constellation.curricula.comparison_units import units, use_other_operators

_PART_KEYS = 2**22
"""Keys sorted at once, about; bounds the memory to some 100 MB."""


class KeyFile(Protocol):
    """Keys of all paragraphs of a corpus."""

    @property
    def num_values(self) -> int:
        """Return the number of keys."""

    def read(self, start: int, end: int) -> NDArray[np.uint64]:
        """Return the keys from `start` to `end`."""


class TextFile(Protocol):
    """Texts of a corpus in one file."""

    def text_at(self, start: int, size: int) -> str:
        """Return the text in some bytes of the file."""


class RepeatedParagraphs:
    """The repeated paragraphs of a corpus, and where each first occurs."""

    def __init__(self, keys: KeyFile, texts: TextFile, *, chars_min: int) -> None:
        """Find the keys that occur twice.

        Args:
            keys: Keys of all paragraphs, as `comparison_keys` gives them for `chars_min`.
            texts: File with the texts.
            chars_min: Least characters of a paragraph that is dropped.
        """
        self._texts = texts
        self._chars_min = chars_min
        self._keys_R = repeated_keys(keys)
        self._starts_R = np.full(len(self._keys_R), -1, dtype=np.int64)
        self._sizes_R = np.zeros(len(self._keys_R), dtype=np.int64)

    def occur_in(self, keys_P: NDArray[np.uint64]) -> bool:
        """Return whether a document has a paragraph that is repeated somewhere in the corpus."""
        return bool((self._ranks(keys_P) >= 0).any())

    def without_copies(self, text: str, keys_P: NDArray[np.uint64], start: int) -> tuple[str, int]:
        """Return a text without the paragraphs that occurred before, and how many were dropped.

        Args:
            text: The next document's text.
            keys_P: Keys of its paragraphs.
            start: Byte of the file of texts at which the text begins.
        """
        fresh: list[str] = []
        ranks = self._ranks(keys_P).tolist()
        parts = zip(_byte_starts(text, start), ranks, strict=True)
        for (first, end, gap, first_byte), rank in parts:
            is_copy = rank >= 0 and self._is_copy(rank, text[first:end], first_byte)
            if not (is_copy and end - first >= self._chars_min):
                fresh.append(text[first:gap])
        return "".join(fresh), len(ranks) - len(fresh)

    def _ranks(self, keys_P: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the index of every key among the repeated keys; -1 for other keys."""
        wanted_P = keys_P >> np.uint64(1)
        if not len(self._keys_R):
            return np.full(len(wanted_P), -1, dtype=np.int64)
        places_P = np.minimum(np.searchsorted(self._keys_R, wanted_P), len(self._keys_R) - 1)
        return np.where(self._keys_R[places_P] == wanted_P, places_P, -1)

    def _is_copy(self, rank: int, paragraph: str, start: int) -> bool:
        """Record a paragraph; return whether its words and operators occurred before."""
        if self._starts_R[rank] < 0:
            self._starts_R[rank], self._sizes_R[rank] = start, len(paragraph.encode())
            return False
        first = self._texts.text_at(int(self._starts_R[rank]), int(self._sizes_R[rank]))
        if units(first) != units(paragraph):  # two paragraphs with the same key by chance
            return False
        return not use_other_operators(paragraph, first)


def _byte_starts(text: str, start: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield start, end and gap of each paragraph in characters, and its start in bytes."""
    for first, end, gap in paragraphs(text):
        yield first, end, gap, start
        start += len(text[first:gap].encode())


def repeated_keys(keys: KeyFile) -> NDArray[np.uint64]:
    """Return, ascending and without their last bit, the keys that occur twice, one of them long."""
    num_parts = 1 << max(0, (keys.num_values // _PART_KEYS).bit_length())
    shift = np.uint64(64 - num_parts.bit_length() + 1)
    return np.concatenate([_repeated(_part(keys, part, shift)) for part in range(num_parts)])


def _part(keys: KeyFile, part: int, shift: np.uint64) -> NDArray[np.uint64]:
    """Return the keys whose first bits are the number of a part."""
    found = [np.empty(0, dtype=np.uint64)]
    for start in range(0, keys.num_values, _PART_KEYS):
        slab = keys.read(start, min(start + _PART_KEYS, keys.num_values))
        # All keys are in the only part: a shift by all 64 bits is not defined.
        found.append(slab if shift == 64 else slab[slab >> shift == np.uint64(part)])
    return np.concatenate(found)


def _repeated(keys_N: NDArray[np.uint64]) -> NDArray[np.uint64]:
    keys_N = np.sort(keys_N)
    words_N = keys_N >> np.uint64(1)
    is_last_N = np.append(words_N[1:] != words_N[:-1], True)[: len(words_N)]
    sizes = np.diff(np.flatnonzero(is_last_N), prepend=-1)
    # Of equal keys those of long paragraphs come last.
    is_long = (keys_N[is_last_N] & np.uint64(1)) == 1
    repeated: NDArray[np.uint64] = words_N[is_last_N][(sizes > 1) & is_long]
    return repeated
