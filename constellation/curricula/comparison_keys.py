"""Hash the words of a text once, for the search for near copies and for repeated paragraphs.

A word becomes a 32-bit code. From the codes of a text come its sketch (the smallest hashes of five
consecutive words, `near_copies`) and one 64-bit key for each paragraph (`repeated_paragraphs`). The
words are those of `comparison_units.units`. A long text is read in slabs, so that the memory beside
the text is 4 bytes for each of its words.

Shapes: N words of a text, P paragraphs of a text.
"""

import hashlib
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_units import (
    NO_PLAIN_WORD,
    RUN_CHARS_MAX,
    UNIT_PATTERN,
    units,
)

SHINGLE_WORDS = 5
SKETCH_SIZE = 64

Sketch = NDArray[np.uint64]

PARAGRAPH_GAP = re.compile(r"\n(?:[ \t]*\n)+")
"""Blank lines between two paragraphs."""

_SLAB_WORDS = 65_536
"""Most words hashed at once; bounds the memory and sorting of a long text."""

_SLAB_CHARS = 2**20
"""Characters of a long text that are split into words at once."""

_SMALLEST = 8 * SKETCH_SIZE
"""Hashes looked at first, since they nearly always hold `SKETCH_SIZE` different ones."""

_GAP, _LONG = 2**32, 2**32 + 1
"""Codes, above all codes of words, of blank lines and of words that are cut into pieces."""

_CODES_MAX = 2**18
"""Most words whose codes are remembered; more are forgotten and computed again."""

_BASE = 0x9E3779B97F4A7C15
"""Odd number whose powers make a paragraph's key depend on the order of its words."""

_ASCII = re.compile(rf"\w+|{PARAGRAPH_GAP.pattern}", re.ASCII)
_LETTERS = re.compile(rf"\w+|{PARAGRAPH_GAP.pattern}")
_ANY = re.compile(rf"{PARAGRAPH_GAP.pattern}|{UNIT_PATTERN}")
_BLANK = re.compile(r"\s")


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonKeys:
    """What a text is compared by."""

    sketch: Sketch
    """Smallest hashes of the text's shingles, ascending, at most `SKETCH_SIZE`."""
    paragraphs_P: NDArray[np.uint64]
    """A key for each paragraph; the last bit is 1 for a paragraph of at least `chars_min`
    characters. Paragraphs of the same words have the same other 63 bits."""


def comparison_keys(text: str, *, chars_min: int) -> ComparisonKeys:
    """Return the sketch of a text and the keys of its paragraphs.

    Args:
        text: A text.
        chars_min: Least characters of a paragraph whose key ends with 1.
    """
    codes_N, starts_P = _codes(text)
    return ComparisonKeys(
        sketch=_sketch(codes_N) if len(codes_N) else sketch(text),
        paragraphs_P=_keys(text, codes_N, starts_P, chars_min),
    )


def sketch(text: str) -> Sketch:
    """Return the smallest hashes of a text's shingles, sorted, at most `SKETCH_SIZE`."""
    words = units(text) or [""]
    return _sketch(np.asarray([_code(word) for word in words], dtype=np.uint32))


def paragraphs(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield the start and end of each paragraph, and the end of the blank lines after it."""
    start = 0
    for gap in PARAGRAPH_GAP.finditer(text):
        yield start, gap.start(), gap.end()
        start = gap.end()
    yield start, len(text), len(text)


class _Codes(dict[str, int]):
    """Codes of words, computed when first asked for."""

    def __missing__(self, word: str) -> int:
        if word[0] == "\n":
            return _GAP
        if len(word) > RUN_CHARS_MAX:
            return _LONG
        self[word] = code = _code(word)
        return code


_known = _Codes()


def _code(word: str) -> int:
    return zlib.crc32(word.encode())


def _codes(text: str) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
    """Return the code of every word, and the index of the first word of every paragraph."""
    codes: list[NDArray[np.uint32]] = []
    starts: list[NDArray[np.intp]] = [np.zeros(1, dtype=np.intp)]
    num_words = 0
    for slab in _slabs(text):
        lowered = slab.lower()
        found = _pattern(lowered).findall(lowered)
        mixed = _mixed_codes(found)
        is_gap = mixed == _GAP
        if not is_gap.any():
            codes.append(mixed.astype(np.uint32))
            num_words += len(mixed)
            continue
        places = np.flatnonzero(is_gap)
        starts.append(num_words + places - np.arange(len(places)))
        codes.append(mixed[~is_gap].astype(np.uint32))
        num_words += len(codes[-1])
    return np.concatenate(codes), np.concatenate(starts)


def _pattern(text: str) -> re.Pattern[str]:
    """Return the fastest pattern that finds the words and the blank lines of a text."""
    if text.isascii():
        return _ASCII
    return _ANY if NO_PLAIN_WORD.search(text) else _LETTERS


def _mixed_codes(found: Sequence[str]) -> NDArray[np.uint64]:
    """Return the codes of words and blank lines; words that are too long are cut first."""
    if len(_known) > _CODES_MAX:
        _known.clear()
    codes = np.fromiter(map(_known.__getitem__, found), dtype=np.uint64, count=len(found))
    if not (codes == _LONG).any():
        return codes
    cut = [
        list(map(_code, units(found[place]))) for place in np.flatnonzero(codes == _LONG).tolist()
    ]
    sizes = np.ones(len(codes), dtype=np.intp)
    sizes[codes == _LONG] = list(map(len, cut))
    repeated = np.repeat(codes, sizes)
    repeated[repeated == _LONG] = [code for codes in cut for code in codes]
    return repeated


def _slabs(text: str) -> Iterator[str]:
    """Yield a text in slabs that end where no word and no run of blank lines is cut."""
    start = 0
    while len(text) - start > _SLAB_CHARS:
        end = _end_of_slab(text, start + _SLAB_CHARS)
        yield text[start:end]
        start = end
    yield text[start:]


def _end_of_slab(text: str, wanted: int) -> int:
    """Return the end of the first blanks after `wanted`: a slab begins with a visible character."""
    blank = _BLANK.search(text, wanted)
    if blank is None:
        return len(text)
    end = blank.end()
    while end < len(text) and text[end].isspace():
        end += 1
    return end


def _sketch(codes_N: NDArray[np.uint32]) -> Sketch:
    smallest = np.empty(0, dtype=np.uint64)
    for start in range(0, max(1, len(codes_N) - SHINGLE_WORDS + 1), _SLAB_WORDS):
        slab = codes_N[start : start + _SLAB_WORDS + SHINGLE_WORDS - 1].astype(np.uint64)
        hashes = _shingles(slab)
        if len(smallest) == SKETCH_SIZE:  # most hashes are too large to be among the smallest
            hashes = hashes[hashes < smallest[-1]]
        smallest = np.unique(np.concatenate((smallest, _smallest(hashes))))[:SKETCH_SIZE]
    return smallest


def _smallest(hashes: Sketch) -> Sketch:
    """Return at least the `SKETCH_SIZE` smallest different hashes, or all."""
    if len(hashes) <= _SMALLEST:
        return hashes
    first = np.unique(np.partition(hashes, _SMALLEST - 1)[:_SMALLEST])
    return first if len(first) >= SKETCH_SIZE else hashes


def _shingles(codes: NDArray[np.uint64]) -> Sketch:
    """Return a hash of every five consecutive words, or of all words if there are fewer."""
    num_shingles = max(1, len(codes) - SHINGLE_WORDS + 1)
    mixed = np.zeros(num_shingles, dtype=np.uint64)
    for offset in range(min(SHINGLE_WORDS, len(codes))):
        mixed = scramble(mixed ^ codes[offset : offset + num_shingles])
    return mixed


def _keys(
    text: str, codes_N: NDArray[np.uint32], starts_P: NDArray[np.intp], chars_min: int
) -> NDArray[np.uint64]:
    ends = list(paragraphs(text))
    sizes_P = np.append(starts_P[1:], len(codes_N)) - starts_P
    keys_P = _word_keys(codes_N, starts_P, sizes_P)
    for index in np.flatnonzero(sizes_P == 0).tolist():
        start, end, _ = ends[index]
        signs = " ".join(sign for sign in text[start:end].lower() if not sign.isspace())
        digest = hashlib.blake2b(signs.encode(), digest_size=8).digest()
        keys_P[index] = int.from_bytes(digest, "little")
    is_long_P = np.asarray([end - start >= chars_min for start, end, _ in ends], dtype=np.uint64)
    keys: NDArray[np.uint64] = (keys_P & ~np.uint64(1)) | is_long_P
    return keys


def _word_keys(
    codes_N: NDArray[np.uint32], starts_P: NDArray[np.intp], sizes_P: NDArray[np.intp]
) -> NDArray[np.uint64]:
    """Return the sum of scramble(code) * base^place over the words of each paragraph."""
    keys_P = np.zeros(len(starts_P), dtype=np.uint64)
    if len(starts_P) == 1 and len(codes_N) <= _SLAB_WORDS:  # most documents of one paragraph
        terms = scramble(codes_N.astype(np.uint64)) * _LOW_POWERS[: len(codes_N)]
        keys_P[0] = terms.sum()
        return scramble(keys_P + sizes_P.astype(np.uint64))
    row_N = np.repeat(np.arange(len(starts_P)), sizes_P)
    for first in range(0, len(codes_N), _SLAB_WORDS):
        row = row_N[first : first + _SLAB_WORDS]
        place = np.arange(first, first + len(row)) - starts_P[row]
        terms = scramble(codes_N[first : first + len(row)].astype(np.uint64))
        terms *= _LOW_POWERS[place & 0xFFFF]
        if len(codes_N) > _SLAB_WORDS:
            terms *= _high_powers(place >> 16)
        np.add.at(keys_P, row, terms)
    return scramble(keys_P + sizes_P.astype(np.uint64))


def _powers(base: int, count: int) -> NDArray[np.uint64]:
    powers, power = [], 1
    for _ in range(count):
        powers.append(power)
        power = power * base % 2**64
    return np.asarray(powers, dtype=np.uint64)


_LOW_POWERS = _powers(_BASE, 2**16)


def _high_powers(places: NDArray[np.intp]) -> NDArray[np.uint64]:
    return _powers(pow(_BASE, 2**16, 2**64), int(places.max()) + 1)[places]


def scramble(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix 64-bit integers bijectively (the finaliser of splitmix64)."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
