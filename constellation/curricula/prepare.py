"""Prepare a corpus for training: clean, de-duplicate, cap, split and cut documents into pieces.

The text goes through temporary files (`document_spill`), so that the memory needed is some hundred
bytes for each document, and a few times the largest document.
"""

import tempfile
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from constellation.curricula.chunks import chunk
from constellation.curricula.comparison_keys import comparison_keys
from constellation.curricula.deduplication import deduplicate_spill
from constellation.curricula.document_spill import DocumentSpill
from constellation.curricula.documents import Corpus, Document, merged_names
from constellation.curricula.prepared_corpus import PreparedCorpus
from constellation.curricula.prepared_files import Description, SplitWriter, describe
from constellation.curricula.reading_report import account_of
from constellation.curricula.split import SPLITS, SplitConfig, Unit, split_domain
from constellation.curricula.text_cleaning import clean
from constellation.errors import ConfigError, CorpusError

__all__ = ["PrepareConfig", "PreparedCorpus", "describe", "prepare", "prepare_files"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """Options of preparing a corpus."""

    domain_bytes_max: int | None = None
    """Most bytes per domain after de-duplication; None means no limit."""
    similarity_max: float = 0.8
    """Jaccard index of five-word shingles, in (0, 1], from which on two documents count as
    copies."""
    paragraph_chars_min: int = 200
    """Paragraphs of at least this many characters are kept once in the whole corpus."""
    chunk_chars_min: int = 2000
    """Least characters of a piece before it may end at a blank line."""
    chunk_chars_max: int = 4000
    """Most characters of a piece."""
    split: SplitConfig = field(default_factory=SplitConfig)
    """Shares of documents in train, dev and test."""

    def __post_init__(self) -> None:
        if self.domain_bytes_max is not None and self.domain_bytes_max < 1:
            raise ConfigError(f"domain_bytes_max is {self.domain_bytes_max}; it must be >= 1")
        if not 0 < self.similarity_max <= 1:
            raise ConfigError(f"similarity_max is {self.similarity_max}; it must be in (0, 1]")
        if not 1 <= self.chunk_chars_min <= self.chunk_chars_max:
            raise ConfigError(
                "need 1 <= chunk_chars_min <= chunk_chars_max, got "
                f"{self.chunk_chars_min} and {self.chunk_chars_max}"
            )


class Source(Protocol):
    """Documents that are read once, and the report on reading them."""

    def documents(self) -> Iterator[Document]:
        """Yield the documents."""

    def account(self, domains: Collection[str]) -> tuple[dict[str, str], Corpus]:
        """Return the final name of each domain, and a corpus without documents, after reading."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """A corpus in memory as a source."""

    corpus: Corpus

    def documents(self) -> Iterator[Document]:
        return iter(self.corpus.documents)

    def account(self, domains: Collection[str]) -> tuple[dict[str, str], Corpus]:
        return {name: name for name in domains}, self.corpus


def prepare(corpus: Corpus, config: PrepareConfig | None = None) -> PreparedCorpus:
    """Clean, de-duplicate, cap, split by document, and cut documents into pieces.

    Deterministic: the same corpus and settings give the same pieces in the same order.

    Args:
        corpus: Documents as they were read.
        config: Options; None means the defaults.

    Returns:
        Pieces of each split, in memory. All pieces of one source are in one split.

    Raises:
        CorpusError: Nothing is left, or a domain is too small to split.
    """
    found: dict[str, list[Document]] = {name: [] for name in SPLITS}
    with tempfile.TemporaryDirectory(prefix="constellation-text-") as folder:
        manifest = prepare_pieces(
            _Listed(corpus),
            Path(folder),
            config,
            write=lambda split, piece: found[split].append(piece),
        )
    splits = {name: tuple(pieces) for name, pieces in found.items()}
    return PreparedCorpus(**splits, manifest=manifest)


def prepare_files(
    source: Source,
    folder: Path,
    config: PrepareConfig | None = None,
    *,
    merge: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Prepare a corpus as `prepare` does, from a source to the files of `load_prepared`.

    Args:
        source: Documents; they are read once.
        folder: For the files; must have room for the text twice.
        config: Options; None means the defaults.
        merge: New domain -> domains that are merged into it, as `Corpus.merged`; None or empty
            keeps all domains.

    Raises:
        CorpusError: Nothing is left, a domain is too small to split, or the source cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with SplitWriter(folder) as writer:
        writer.finish(prepare_pieces(source, folder, config, merge=merge, write=writer.write))


def prepare_pieces(
    source: Source,
    folder: Path,
    config: PrepareConfig | None = None,
    *,
    merge: Mapping[str, Sequence[str]] | None = None,
    write: Callable[[str, Document], None],
) -> dict[str, object]:
    """Prepare a corpus; call `write` with the split and each piece, and return the manifest.

    Temporary files in `folder` hold the text meanwhile; the other arguments are those of
    `prepare_files`.
    """
    config = config or PrepareConfig()
    with DocumentSpill(folder) as spill:
        num_empty = _spill(source, spill, config)
        work = _Preparation(spill, config, source, merge or {}, num_empty)
        return work.run(write)


def _spill(source: Source, spill: DocumentSpill, config: PrepareConfig) -> Counter[str]:
    """Read and clean all documents; return domain -> documents without text after cleaning."""
    num_empty: Counter[str] = Counter()
    for document in source.documents():
        text = clean(document.text)
        if text:
            keys = comparison_keys(text, chars_min=config.paragraph_chars_min)
            spill.add(replace(document, text=text), keys)
        else:
            num_empty[document.domain] += 1
    return num_empty


class _Preparation:
    """The steps after reading, on the numbers of documents in a spill."""

    def __init__(
        self,
        spill: DocumentSpill,
        config: PrepareConfig,
        source: Source,
        merge: Mapping[str, Sequence[str]],
        num_empty: Counter[str],
    ) -> None:
        self._spill = spill
        self._config = config
        names, corpus = source.account({*spill.domain_names, *num_empty})
        becomes = merged_names(sorted(names.values()), merge) if merge else None
        self._names = {
            domain: name if becomes is None else becomes.get(name) for domain, name in names.items()
        }
        numbers = Counter(spill.domain_names[index] for index in spill.domains)
        counts = numbers + num_empty
        left_out = Counter[str]()
        for domain, name in names.items():
            if self._names[domain] is None:
                left_out[name] += counts[domain]
        self._num_empty = sum(n for domain, n in num_empty.items() if self._names[domain])
        self._num_read = counts.total() - left_out.total()
        unmerged = dict(sorted(left_out.items())) if merge else corpus.unmerged
        self._account = account_of(replace(corpus, unmerged=unmerged), self._num_read)
        self._num_skipped = len(corpus.skipped)

    def run(self, write: Callable[[str, Document], None]) -> dict[str, object]:
        """De-duplicate, cap, split and cut; return the manifest."""
        config, spill = self._config, self._spill
        chosen = [name is not None for name in map(self._names.get, spill.domain_names)]
        read = np.flatnonzero(np.asarray(chosen, dtype=bool)[np.asarray(spill.domains)])
        kept = deduplicate_spill(
            spill,
            read,
            similarity_max=config.similarity_max,
            paragraph_chars_min=config.paragraph_chars_min,
        )
        if not kept.numbers:
            raise CorpusError("corpus", "no text is left after cleaning and de-duplication")
        capped, over_cap = self._cap(kept.numbers)
        return {
            "reading": self._account,
            "num_read": self._num_read,
            "num_skipped": self._num_skipped,
            "num_empty": self._num_empty,
            "num_exact_copies": kept.num_exact,
            "num_near_copies": kept.num_near,
            "num_repeated_paragraphs": kept.num_paragraphs,
            "num_emptied": kept.num_emptied,
            "num_over_cap": len(kept.numbers) - len(capped),
            "over_cap": over_cap,
            "splits": self._write(capped, write),
        }

    def _cap(self, numbers: "array[int]") -> tuple["array[int]", dict[str, object]]:
        """Keep documents of each domain while their bytes are within the cap.

        Documents are considered in the order of their hashes, so that the cap takes a fair sample
        and not the first names. Also returns the cap, and counts of what it left out.
        """
        bytes_max = self._config.domain_bytes_max
        if bytes_max is None:
            return numbers, {}
        used: Counter[str] = Counter()
        left_out, over = Description(), set[int]()
        for number in sorted(numbers, key=self._spill.digest):
            domain, size = self._domain_of(number), self._spill.num_bytes(number)
            if used[domain] + size <= bytes_max:
                used[domain] += size
            else:
                over.add(number)
                left_out.count(domain, size)
        kept = array("q", (number for number in numbers if number not in over))
        return kept, {"bytes_max": bytes_max, "domains": left_out.domains()}

    def _write(
        self, numbers: "array[int]", write: Callable[[str, Document], None]
    ) -> dict[str, object]:
        """Split, cut and write the documents, domain by domain; return counts and digests."""
        counted = {name: Description() for name in SPLITS}
        by_domain: dict[str, array[int]] = {}
        for number in numbers:
            by_domain.setdefault(self._domain_of(number), array("q")).append(number)
        for domain in sorted(by_domain):
            parts = split_domain(domain, by_domain[domain], self._spill, self._config.split)
            for piece, split in self._pieces(domain, parts):
                counted[split].add(piece)
                write(split, piece)
        return {name: counted[name].to_dict() for name in SPLITS}

    def _pieces(
        self, domain: str, parts: Iterable[tuple[Unit, str]]
    ) -> Iterator[tuple[Document, str]]:
        last, whole = -1, ""  # the sections of a document follow each other
        for unit, split in parts:
            for number in unit.numbers:
                if number != last:
                    last, whole = number, self._spill.text(number)
                source, text = self._spill.source(number), whole
                if unit.section is not None:
                    source, text = f"{source}#{unit.section}", whole[unit.start : unit.end]
                for part, piece in enumerate(self._cut(text)):
                    yield Document(text=piece, domain=domain, source=source, part=part), split

    def _cut(self, text: str) -> list[str]:
        sizes = self._config
        return chunk(text, chars_min=sizes.chunk_chars_min, chars_max=sizes.chunk_chars_max)

    def _domain_of(self, number: int) -> str:
        name = self._names[self._spill.domain_names[self._spill.domains[number]]]
        assert name is not None, "documents of other domains are left out before"
        return name
