"""Prepare a corpus for training: clean, de-duplicate, cap, split and cut documents into pieces."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from constellation.curricula.chunks import chunk
from constellation.curricula.deduplication import deduplicate
from constellation.curricula.documents import Corpus, Document
from constellation.curricula.reading_report import account_of
from constellation.curricula.split import SPLITS, SplitConfig, split
from constellation.curricula.text_cleaning import clean
from constellation.errors import ConfigError, CorpusError


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


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedCorpus:
    """Train, dev and test pieces of a few kilobytes, with a manifest that describes them."""

    train: tuple[Document, ...]
    dev: tuple[Document, ...]
    test: tuple[Document, ...]
    manifest: Mapping[str, object]
    """Counts and sha256 of each split and domain, as plain JSON values."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted({document.domain for document in self.train}))

    def of_split(self, name: str) -> tuple[Document, ...]:
        """Return the documents of "train", "dev" or "test"."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def prepare(corpus: Corpus, config: PrepareConfig | None = None) -> PreparedCorpus:
    """Clean, de-duplicate, cap, split by document, and cut documents into pieces.

    Deterministic: the same corpus and settings give the same pieces in the same order.

    Args:
        corpus: Documents as they were read.
        config: Options; None means the defaults.

    Returns:
        Pieces of each split. All pieces of one source are in one split.

    Raises:
        CorpusError: Nothing is left, or a domain is too small to split.
    """
    config = config or PrepareConfig()
    cleaned = [replace(document, text=clean(document.text)) for document in corpus.documents]
    not_empty = [document for document in cleaned if document.text]
    kept = deduplicate(
        not_empty,
        similarity_max=config.similarity_max,
        paragraph_chars_min=config.paragraph_chars_min,
    )
    if not kept.documents:
        raise CorpusError("corpus", "no text is left after cleaning and de-duplication")
    capped = _cap(kept.documents, config.domain_bytes_max)
    pieces = {
        name: tuple(_cut(documents, config))
        for name, documents in split(capped, config.split).items()
    }
    manifest = {
        "reading": account_of(corpus),
        "num_read": len(corpus.documents),
        "num_skipped": len(corpus.skipped),
        "num_empty": len(cleaned) - len(not_empty),
        "num_exact_copies": kept.num_exact,
        "num_near_copies": kept.num_near,
        "num_repeated_paragraphs": kept.num_paragraphs,
        "num_emptied": kept.num_emptied,
        "num_over_cap": len(kept.documents) - len(capped),
        "over_cap": _over_cap(kept.documents, capped, config.domain_bytes_max),
        "splits": {name: describe(pieces[name]) for name in SPLITS},
    }
    return PreparedCorpus(
        train=pieces["train"], dev=pieces["dev"], test=pieces["test"], manifest=manifest
    )


def describe(documents: Iterable[Document]) -> dict[str, object]:
    """Return the counts per domain, and one sha256 over all documents in order."""
    digest = hashlib.sha256()
    num_documents: Counter[str] = Counter()
    num_bytes: Counter[str] = Counter()
    for document in documents:
        raw = document.text.encode()
        # With lengths, two different lists of texts never hash the same bytes.
        digest.update(f"{document.domain}\0{document.source}\0{len(raw)}\0".encode())
        digest.update(raw)
        num_documents[document.domain] += 1
        num_bytes[document.domain] += len(raw)
    return {
        "sha256": digest.hexdigest(),
        "num_documents": num_documents.total(),
        "num_bytes": num_bytes.total(),
        "domains": {
            name: {"num_documents": num_documents[name], "num_bytes": num_bytes[name]}
            for name in sorted(num_documents)
        },
    }


def _cap(documents: Iterable[Document], bytes_max: int | None) -> list[Document]:
    """Keep documents of each domain while their bytes are within the cap.

    Documents are considered in the order of their hashes, so that the cap takes a fair sample and
    not the first names.
    """
    documents = list(documents)
    if bytes_max is None:
        return documents
    order = sorted(range(len(documents)), key=lambda i: _digest(documents[i]))
    used: Counter[str] = Counter()
    kept: set[int] = set()
    for i in order:
        size_bytes = len(documents[i].text.encode())
        if used[documents[i].domain] + size_bytes <= bytes_max:
            used[documents[i].domain] += size_bytes
            kept.add(i)
    return [document for i, document in enumerate(documents) if i in kept]


def _over_cap(
    documents: Iterable[Document], capped: Iterable[Document], bytes_max: int | None
) -> dict[str, object]:
    """Return the cap, and counts of the documents that it left out of each domain."""
    if bytes_max is None:
        return {}
    stays = set(map(id, capped))
    left_out = describe(document for document in documents if id(document) not in stays)
    return {"bytes_max": bytes_max, "domains": left_out["domains"]}


def _digest(document: Document) -> bytes:
    return hashlib.sha256(document.text.encode()).digest()


def _cut(documents: Iterable[Document], config: PrepareConfig) -> Iterable[Document]:
    for document in documents:
        texts = chunk(
            document.text, chars_min=config.chunk_chars_min, chars_max=config.chunk_chars_max
        )
        for part, text in enumerate(texts):
            yield replace(document, text=text, part=part)
