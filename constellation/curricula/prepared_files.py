"""Write and read the files of a prepared corpus: JSON lines of a split, which are read lazily."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import overload

from constellation.curricula.documents import Document
from constellation.curricula.split import SPLITS
from constellation.errors import ArtifactError

MANIFEST = "manifest.json"


class Description:
    """Counts per domain, and one sha256 over all documents in order, of documents one by one."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._documents: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def add(self, document: Document) -> None:
        """Add the next document."""
        raw = document.text.encode()
        # With lengths, two different lists of texts never hash the same bytes.
        self._digest.update(f"{document.domain}\0{document.source}\0{len(raw)}\0".encode())
        self._digest.update(raw)
        self.count(document.domain, len(raw))

    def count(self, domain: str, num_bytes: int) -> None:
        """Count a document without hashing it."""
        self._documents[domain] += 1
        self._bytes[domain] += num_bytes

    def domains(self) -> dict[str, dict[str, int]]:
        """Return the number and the bytes of the documents of each domain."""
        return {
            name: {"num_documents": self._documents[name], "num_bytes": self._bytes[name]}
            for name in sorted(self._documents)
        }

    def to_dict(self) -> dict[str, object]:
        """Return the entry of a split in a manifest."""
        return {
            "sha256": self._digest.hexdigest(),
            "num_documents": self._documents.total(),
            "num_bytes": self._bytes.total(),
            "domains": self.domains(),
        }


def describe(documents: Iterable[Document]) -> dict[str, object]:
    """Return the counts per domain, and one sha256 over all documents in order."""
    description = Description()
    for document in documents:
        description.add(document)
    return description.to_dict()


class SplitWriter:
    """Writes pieces to the files of their splits, and at the end the manifest."""

    def __init__(self, folder: Path) -> None:
        """Open the files; a manifest of an earlier corpus is removed first."""
        self._folder = folder
        (folder / MANIFEST).unlink(missing_ok=True)
        self._stack = ExitStack()
        self._files = {
            name: self._stack.enter_context((folder / f"{name}.jsonl").open("w", encoding="utf-8"))
            for name in SPLITS
        }

    def __enter__(self) -> "SplitWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        self._stack.close()

    def write(self, split: str, piece: Document) -> None:
        """Write a piece at the end of a split."""
        self._files[split].write(to_line(piece))

    def finish(self, manifest: Mapping[str, object]) -> None:
        """Close the files, and write the manifest, with which the corpus is complete."""
        self._stack.close()
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (self._folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def to_line(document: Document) -> str:
    """Return a document as a line of JSON."""
    entry = {
        "text": document.text,
        "domain": document.domain,
        "source": document.source,
        "part": document.part,
    }
    return json.dumps(entry) + "\n"


class DocumentFile(Sequence[Document]):
    """The documents of a split in a file, read when they are asked for.

    In memory is the place of each line, 8 bytes a document.
    """

    def __init__(self, path: Path) -> None:
        """Read the file once, to find and check its lines.

        Raises:
            OSError: The file cannot be read.
            ValueError: A line is damaged.
        """
        self._path = path
        self._starts = array("q", [0])
        self._runs: list[tuple[str, int]] = []  # domain, and the first document of the run
        description = Description()
        with path.open("rb") as file:
            for line in file:
                document = _parse(line)
                if not self._runs or self._runs[-1][0] != document.domain:
                    self._runs.append((document.domain, len(self)))
                self._starts.append(self._starts[-1] + len(line))
                description.add(document)
        self.described = description.to_dict()
        """Counts and sha256 of the documents, as `describe` gives them."""

    @property
    def domains(self) -> set[str]:
        """Names of the domains."""
        return {domain for domain, _ in self._runs}

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._starts) - 1

    def __iter__(self) -> Iterator[Document]:
        """Yield the documents one by one."""
        return self._read(0, len(self))

    def of_domain(self, domain: str) -> Iterator[Document]:
        """Yield the documents of one domain."""
        ends = [first for _, first in self._runs[1:]] + [len(self)]
        for (name, first), end in zip(self._runs, ends, strict=True):
            if name == domain:
                yield from self._read(first, end)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | Sequence[Document]:
        """Return one document, or several in memory."""
        if isinstance(index, slice):
            return tuple(self[number] for number in range(len(self))[index])
        number = range(len(self))[index]
        return next(self._read(number, number + 1))

    def __eq__(self, other: object) -> bool:
        """Return whether the documents are the same and in the same order."""
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def _read(self, first: int, end: int) -> Iterator[Document]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._starts[first])
                for number in range(first, end):
                    yield _parse(file.readline(self._starts[number + 1] - self._starts[number]))
        except (OSError, ValueError, TypeError) as error:
            reason = f"has changed since it was checked ({error}); prepare the corpus again"
            raise ArtifactError(self._path, reason) from error


def _parse(line: bytes) -> Document:
    return Document(**json.loads(line))
