"""Split a domain's documents into train, dev and test in shares, ordered by hashes of their text.

All documents of one source (one file) go into one split, unless the source is a large part of its
domain: then the source is cut into sections, and each section is assigned on its own.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

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


def split(documents: Sequence[Document], config: SplitConfig) -> dict[str, list[Document]]:
    """Return the documents of "train", "dev" and "test", each in the given order.

    Deterministic: the order of the documents does not matter, only their texts, and a domain's
    split does not depend on the other domains.

    Raises:
        CorpusError: A domain has fewer than three documents even after cutting.
    """
    by_domain: defaultdict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_domain[document.domain].append(document)
    shares: dict[str, list[Document]] = {name: [] for name in SPLITS}
    for domain in sorted(by_domain):
        units = list(_units(by_domain[domain], config.section_share_max))
        if len(units) < len(SPLITS):
            raise CorpusError(
                f"domain {domain!r}",
                f"{len(units)} documents, but train, dev and test need at least one each",
            )
        for unit, name in zip(units, _assign(units, config), strict=True):
            shares[name] += unit
    return shares


def _units(documents: list[Document], share_max: float) -> Iterable[list[Document]]:
    """Yield groups of documents that are assigned together: one source, or one section of it."""
    total = sum(len(document.text) for document in documents)
    by_source: defaultdict[str, list[Document]] = defaultdict(list)
    for document in documents:
        by_source[document.source].append(document)
    for source, group in by_source.items():
        if len(group) > 1 and sum(len(one.text) for one in group) <= share_max * total:
            yield group
            continue
        sections = list(_cut_into_sections(group, max(4000, int(share_max * total))))
        for number, section in enumerate(sections):
            alone = len(sections) == 1
            yield [section if alone else replace(section, source=f"{source}#{number}")]


def _cut_into_sections(documents: list[Document], chars_max: int) -> Iterable[Document]:
    """Yield documents; documents over `chars_max` are cut into sections."""
    for document in documents:
        if len(document.text) <= chars_max:
            yield document
            continue
        for text in chunk(document.text, chars_min=max(1, chars_max // 2), chars_max=chars_max):
            yield replace(document, text=text)


def _assign(units: list[list[Document]], config: SplitConfig) -> list[str]:
    """Return the split of each group of one domain; every split gets at least one group.

    In the order of their hashes, groups are assigned to test and dev until each has its share of
    the characters, rounded to whole groups; all other groups are training text.
    """
    order = sorted(range(len(units)), key=lambda i: _place(units[i]))
    sizes = [sum(len(document.text) for document in unit) for unit in units]
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


def _place(unit: list[Document]) -> bytes:
    """Return a sort key of a group that depends on its texts alone, not on names or order."""
    digests = sorted(hashlib.sha256(document.text.encode()).digest() for document in unit)
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()
