"""Documents, each with its domain and its source: what reading gives and preparing takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from constellation.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text and where it came from."""

    text: str
    """The text itself."""
    domain: str
    """Name of its domain, 1 to 64 characters of a-z, 0-9, '-', '_', '.'; one kernel is trained
    per domain."""
    source: str
    """What the text was cut from, such as "net/client.py", or what its record names as "source"; a
    source is never split over train, dev and test."""
    part: int = 0
    """Index of this piece within its source, from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A record that could not be read."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What was read of the files of a corpus, and what was not, and why."""

    num_files: int
    """Files whose text was read."""
    num_bytes: int
    """Bytes of these files."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """File that should have been read and was not -> its bytes; the reason is among `skipped`."""
    not_text: Mapping[str, int] = field(default_factory=dict)
    """Suffix -> files with it that hold no text."""
    passed_over: tuple[Skipped, ...] = ()
    """Links and folders that could not be followed or opened, devices."""
    hidden: tuple[str, ...] = ()
    """Files and folders whose name begins with a dot."""
    renamed: tuple[str, ...] = ()
    """Files whose name is not UTF-8, as they are called in `source`."""
    names: Mapping[str, str] = field(default_factory=dict)
    """What a folder or record calls a domain -> the domain's name, where the two differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Documents in a fixed order, and what had to be left out."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()
    """Records, and files as a whole, that could not be read."""
    reading: Reading | None = None
    """Of the files; None where the text comes from elsewhere."""
    unmerged: Mapping[str, int] = field(default_factory=dict)
    """Domain that `merged` left out -> its documents."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted({document.domain for document in self.documents}))

    def merged(self, domains: Mapping[str, Sequence[str]]) -> "Corpus":
        """Return the documents of the named domains under new ones.

        Args:
            domains: New domain -> domains that become it; documents of others are left out.

        Raises:
            CorpusError: A domain is not there, or named twice.
        """
        becomes = {old: new for new, olds in domains.items() for old in olds}
        if unknown := sorted(set(becomes) - set(self.domains)):
            raise CorpusError("corpus", f"has no domain {unknown[0]!r}; it has {self.domains}")
        if len(becomes) < sum(len(olds) for olds in domains.values()):
            raise CorpusError("corpus", "a domain is merged into two; name each once")
        documents = tuple(
            replace(document, domain=becomes[document.domain])
            for document in self.documents
            if document.domain in becomes
        )
        left_out = Counter(d.domain for d in self.documents if d.domain not in becomes)
        return replace(self, documents=documents, unmerged=dict(sorted(left_out.items())))
