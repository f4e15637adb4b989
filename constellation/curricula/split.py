"""Split a domain's documents into train, dev and test in shares, ordered by hashes of their text.

All documents of one source (one file) go into one split, unless the source is a large part of its
domain: then the source is cut into sections, and each section is assigned on its own.
"""

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from constellation.curricula.chunks import chunk
from constellation.curricula.documents import Document
from constellation.errors import ConfigError, CorpusError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Shares of each domain's documents in train, dev and test."""

    dev_share: float = 0.1
    """Share of each domain's text held out for tuning and calibration, in (0, 1)."""
    test_share: float = 0.1
    """Share of each domain's text held out for reported figures only, in (0, 1)."""
    section_share_max: float = 0.08
    """A source with more than this share of its domain's characters is cut into sections, each of
    which is assigned on its own: otherwise one long book would leave a domain without held-out
    text."""

    def __post_init__(self) -> None:
        shares = (self.dev_share, self.test_share, self.section_share_max)
        if min(shares) <= 0 or self.dev_share + self.test_share >= 1:
            raise ConfigError(
                f"need shares above 0 and dev_share + test_share below 1, got {shares}"
            )


class SplitTexts(Protocol):
    """Documents by number, as the split sees them."""

    def num_chars_of(self, number: int) -> int:
        """Return the characters of a document."""

    def source_key(self, number: int) -> Hashable:
        """Return a value that is equal for documents of the same source."""

    def digest(self, number: int) -> bytes:
        """Return the sha256 of a document's text."""

    def text(self, number: int) -> str:
        """Return the text of a document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Unit:
    """Documents that are assigned together: those of one source, or one section of it."""

    numbers: tuple[int, ...]
    """Numbers of the documents."""
    num_chars: int
    place: bytes
    """Sort key that depends on the texts alone, not on names or order."""
    section: int | None = None
    """Number of the section within its source; None for a source that is not cut."""
    start: int = 0
    """First character of the only document that belongs to the section."""
    end: int | None = None
    """Character at which the section ends; None for the end of the document."""


def split(documents: Sequence[Document], config: SplitConfig) -> dict[str, list[Document]]:
    """Return the documents of "train", "dev" and "test", each in the given order.

    Deterministic: the order of the documents does not matter, only their texts, and a domain's
    split does not depend on the other domains.

    Raises:
        CorpusError: A domain has fewer than three documents even after cutting.
    """
    by_domain: defaultdict[str, list[int]] = defaultdict(list)
    for number, document in enumerate(documents):
        by_domain[document.domain].append(number)
    shares: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for domain in sorted(by_domain):
        for unit, name in split_domain(domain, by_domain[domain], _Listed(documents), config):
            shares[name] += _documents_of(unit, documents)
    return shares


def split_domain(
    domain: str, numbers: Sequence[int], texts: SplitTexts, config: SplitConfig
) -> list[tuple[Unit, str]]:
    """Return the units of one domain, in the order of the documents, and the split of each.

    Args:
        domain: Name of the domain.
        numbers: Numbers of its documents.
        texts: The documents.
        config: Shares of the splits.

    Raises:
        CorpusError: The domain has fewer than three documents even after cutting.
    """
    units = list(_units(numbers, texts, config.section_share_max))
    if len(units) < len(SPLITS):
        raise CorpusError(
            f"domain {domain!r}",
            f"{len(units)} documents, but train, dev and test need at least one each",
        )
    return list(zip(units, _assign(units, config), strict=True))


@dataclass(frozen=True, slots=True)
class _Listed:
    """Documents in memory."""

    documents: Sequence[Document]

    def num_chars_of(self, number: int) -> int:
        return len(self.documents[number].text)

    def source_key(self, number: int) -> Hashable:
        return self.documents[number].source

    def digest(self, number: int) -> bytes:
        return hashlib.sha256(self.documents[number].text.encode()).digest()

    def text(self, number: int) -> str:
        return self.documents[number].text


def _documents_of(unit: Unit, documents: Sequence[Document]) -> Iterator[Document]:
    for number in unit.numbers:
        document = documents[number]
        if unit.section is None:
            yield document
        else:
            source = f"{document.source}#{unit.section}"
            yield replace(document, text=document.text[unit.start : unit.end], source=source)


def _units(numbers: Sequence[int], texts: SplitTexts, share_max: float) -> Iterator[Unit]:
    total = sum(map(texts.num_chars_of, numbers))
    by_source: defaultdict[Hashable, list[int]] = defaultdict(list)
    for number in numbers:
        by_source[texts.source_key(number)].append(number)
    for group in by_source.values():
        size = sum(map(texts.num_chars_of, group))
        if len(group) > 1 and size <= share_max * total:
            yield Unit(numbers=tuple(group), num_chars=size, place=_place(group, texts))
            continue
        sections = list(_sections(group, texts, max(4000, int(share_max * total))))
        alone = len(sections) == 1
        for index, section in enumerate(sections):
            yield section if alone else replace(section, section=index)


def _sections(group: Sequence[int], texts: SplitTexts, chars_max: int) -> Iterator[Unit]:
    """Yield the documents one by one; a document over `chars_max` is cut."""
    for number in group:
        size = texts.num_chars_of(number)
        if size <= chars_max:
            yield Unit(numbers=(number,), num_chars=size, place=texts.digest(number))
            continue
        start = 0
        whole = texts.text(number)
        for text in chunk(whole, chars_min=max(1, chars_max // 2), chars_max=chars_max):
            place, end = hashlib.sha256(text.encode()).digest(), start + len(text)
            yield Unit(numbers=(number,), num_chars=len(text), place=place, start=start, end=end)
            start = end


def _assign(units: Sequence[Unit], config: SplitConfig) -> list[str]:
    """Return the split of each group of one domain; every split gets at least one group.

    In the order of their hashes, groups are assigned to test and dev until each has its share of
    the characters, rounded to whole groups; all other groups are training text.
    """
    order = sorted(range(len(units)), key=lambda i: units[i].place)
    sizes = [unit.num_chars for unit in units]
    total = sum(sizes)
    room = {"test": config.test_share * total, "dev": config.dev_share * total}
    names = ["train"] * len(units)
    for i in order:
        name = next((name for name in room if sizes[i] / 2 <= room[name]), None)
        if name is not None:
            names[i] = name
            room[name] -= sizes[i]
    for name in SPLITS:
        if name not in names:  # few long documents: take the first group whose split has another
            spare = next(i for i in order if names.count(names[i]) > 1)
            names[spare] = name
    return names


def _place(group: Sequence[int], texts: SplitTexts) -> bytes:
    """Return a sort key of documents that depends on their texts alone, not on names or order."""
    digests = sorted(map(texts.digest, group))
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
