"""Records of a corpus: documents with domain and source, and the report on reading them."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from constellation.errors import CorpusError


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """One text with its domain and source."""

    text: str
    """Text of the document."""
    domain: str
    """Name of the domain, 1 to 64 characters of a-z, 0-9, '-', '_', '.'; one kernel is trained per
    domain."""
    source: str
    """Origin of the text, such as "net/client.py", or the "source" entry of its record; all
    documents of a source are in one of train, dev and test."""
    part: int = 0
    """Index of this piece within its source, from 0."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A record, file or folder that could not be read, with the reason."""

    source: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """Report on reading the files of a corpus: what was read, and what was not."""

    num_files: int
    """Number of files whose text was read."""
    num_bytes: int
    """Size of these files in bytes."""
    unread: Mapping[str, int] = field(default_factory=dict)
    """File that should have been read and could not be -> its size in bytes; the reason is in
    `skipped`."""
    not_text: Mapping[str, int] = field(default_factory=dict)
    """Suffix -> number of files with this suffix that hold no text."""
    passed_over: tuple[Skipped, ...] = ()
    """Devices, and links and folders that could not be followed or opened."""
    hidden: tuple[str, ...] = ()
    """Files and folders whose name begins with a dot."""
    renamed: tuple[str, ...] = ()
    """Files whose name is not UTF-8, under the names that `source` uses."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Name of a domain in a folder or record -> name of the domain in the corpus, where both
    differ."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpus:
    """Documents in a fixed order, and what was left out."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()
    """Records and whole files that could not be read."""
    reading: Reading | None = None
    """Report on reading the files; None for text that does not come from files."""
    unmerged: Mapping[str, int] = field(default_factory=dict)
    """Domain that `merged` left out -> number of its documents."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted({document.domain for document in self.documents}))

    def merged(self, domains: Mapping[str, Sequence[str]]) -> "Corpus":
        """Return the documents of the named domains, renamed to new domains.

        Args:
            domains: New domain -> old domains that are merged into it; documents of other domains
                are left out.

        Raises:
            CorpusError: A domain does not exist, or is named twice.
        """
        becomes = merged_names(self.domains, domains)
        documents = tuple(
            replace(document, domain=becomes[document.domain])
            for document in self.documents
            if document.domain in becomes
        )
        left_out = Counter(d.domain for d in self.documents if d.domain not in becomes)
        return replace(self, documents=documents, unmerged=dict(sorted(left_out.items())))


def merged_names(found: Collection[str], domains: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return old domain -> new domain, for the domains that are merged.

    Args:
        found: Domains of the text, sorted.
        domains: New domain -> old domains that are merged into it.

    Raises:
        CorpusError: A domain does not exist, or is named twice.
    """
    becomes = {old: new for new, olds in domains.items() for old in olds}
    if unknown := sorted(set(becomes) - set(found)):
        raise CorpusError("corpus", f"has no domain {unknown[0]!r}; it has {tuple(found)}")
    if len(becomes) < sum(len(olds) for olds in domains.values()):
        raise CorpusError("corpus", "a domain is merged into two; name each once")
    return becomes
