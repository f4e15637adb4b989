"""A corpus that is ready for training: pieces of each split, in memory or in files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import overload

from constellation.curricula.documents import Document
from constellation.curricula.prepared_files import DocumentFile


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedCorpus:
    """Train, dev and test pieces of a few kilobytes, with a manifest that describes them."""

    train: Sequence[Document]
    dev: Sequence[Document]
    test: Sequence[Document]
    manifest: Mapping[str, object]
    """Counts and sha256 of each split and domain, as plain JSON values."""

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains, sorted."""
        return tuple(sorted(domains_of(self.train)))

    def of_split(self, name: str) -> Sequence[Document]:
        """Return the documents of "train", "dev" or "test"."""
        return {"train": self.train, "dev": self.dev, "test": self.test}[name]


def domains_of(documents: Sequence[Document]) -> set[str]:
    """Return the domains of documents, without reading their text from a file."""
    if isinstance(documents, DocumentFile | OneDomain):
        return documents.domains
    return {document.domain for document in documents}


def documents_of(documents: Sequence[Document], domain: str) -> Iterator[Document]:
    """Yield the documents of one domain; of a file, only their lines are read."""
    if isinstance(documents, DocumentFile):
        return documents.of_domain(domain)
    if isinstance(documents, OneDomain):
        return iter(documents if domain in documents.domains else ())
    return (document for document in documents if document.domain == domain)


class OneDomain(Sequence[Document]):
    """Documents, assigned to one domain as they are read."""

    def __init__(self, documents: Sequence[Document], domain: str) -> None:
        """Wrap documents; nothing is read."""
        self._documents = documents
        self._domain = domain

    @property
    def domains(self) -> set[str]:
        """The domain, if there is a document."""
        return {self._domain} if len(self._documents) else set()

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._documents)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        """Return one document, or several in memory."""
        if isinstance(index, slice):
            return tuple(self._renamed(self._documents[index]))
        return replace(self._documents[index], domain=self._domain)

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents one by one."""
        return self._renamed(self._documents)

    def _renamed(self, documents: Iterable[Document]) -> Iterator[Document]:
        return (replace(document, domain=self._domain) for document in documents)
