"""Read a folder or a list of files into a corpus: documents, each with a domain and a source.

This file does not handle tokens or splits. A record that cannot be read is counted, listed with its
reason, and skipped. More skipped records than `ReadLimits.skips_max`, or more unread bytes than
`ReadLimits.unread_share_max`, raise `CorpusError`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from constellation.curricula.documents import Corpus, Document, Reading, Skipped
from constellation.curricula.domain_names import name_domains
from constellation.curricula.file_search import FoundFile, find_files, readable
from constellation.curricula.readers import (
    HEAD_BYTES,
    NotText,
    Record,
    TooLarge,
    Unreadable,
    is_known,
    is_lines,
    is_text,
    read_lines,
    read_records,
    suffix_of,
    unpack,
)
from constellation.curricula.reading_report import in_units, suffix_counts
from constellation.errors import ConfigError, CorpusError

__all__ = [
    "Corpus",
    "CorpusFiles",
    "Document",
    "ReadLimits",
    "Reading",
    "Skipped",
    "read_corpus",
    "without_names",
]

FILE_BYTES_MAX = 256 * 2**20
"""Largest file that is read by default, in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadLimits:
    """Limits on unreadable and large files while a corpus is read."""

    skips_max: int = 100
    """Most unreadable records (files or lines); one more raises an error."""
    file_bytes_max: int = FILE_BYTES_MAX
    """Largest file that is read, in bytes; a larger file is skipped and listed."""
    unread_share_max: float | None = None
    """Largest share of the bytes of text files, in [0, 1], that may be unread because a file is too
    large or damaged; a larger share raises an error. None means any share."""
    text_column: str | None = None
    """Column of tables (.csv, .tsv, .parquet) that holds the texts. None means that .csv and .tsv
    are read as plain text, and that .parquet has a column "text"."""

    def __post_init__(self) -> None:
        if self.skips_max < 0 or self.file_bytes_max < 1:
            raise ConfigError(
                "need skips_max >= 0 and file_bytes_max >= 1, got "
                f"{self.skips_max} and {self.file_bytes_max}"
            )
        if self.unread_share_max is not None and not 0 <= self.unread_share_max <= 1:
            raise ConfigError(f"unread_share_max is {self.unread_share_max}; allowed: 0 to 1")


def read_corpus(paths: Path | Sequence[Path], limits: ReadLimits | None = None) -> Corpus:
    """Read every text file under `paths` into memory; docs/corpora.md lists what counts as text.

    The domain of a document is the first that exists of: the "domain" entry of its JSON-lines
    metadata; the first sub-folder below the given folder; the file's name without suffix. Domains
    get names that are valid for kernels (`name_domains`), different domains different names.

    Args:
        paths: A folder, a file, or several of them.
        limits: Limits on unreadable files; None means the defaults.

    Returns:
        Documents in the sorted order of their paths; empty texts are skipped and listed.

    Raises:
        CorpusError: A path is missing, nothing readable is found, or more records than
            `limits.skips_max` or more bytes than `limits.unread_share_max` are skipped.
    """
    files = CorpusFiles(paths, limits)
    documents = list(files.documents())
    names, corpus = files.account({document.domain for document in documents})
    return replace(corpus, documents=tuple(replace(d, domain=names[d.domain]) for d in documents))


class CorpusFiles:
    """The text files under some paths, whose documents are read one after the other."""

    def __init__(
        self,
        paths: Path | Sequence[Path],
        limits: ReadLimits | None = None,
        *,
        on_read: Callable[[int, int], None] | None = None,
    ) -> None:
        """Find the files; nothing is read.

        Args:
            paths: A folder, a file, or several of them.
            limits: Limits on unreadable files; None means the defaults.
            on_read: Called after each file with the bytes read so far, and the bytes of all files.

        Raises:
            CorpusError: A path is missing.
        """
        roots = [paths] if isinstance(paths, Path) else list(paths)
        self._found = find_files(roots)
        self._where = ", ".join(readable(str(root)) for root in roots) or "no path"
        self._reader = _Reader(self._where, limits or ReadLimits())
        self._on_read = on_read or _ignore

    @property
    def num_bytes(self) -> int:
        """Size of all files in bytes, of those that hold no text as well."""
        return sum(file.size_bytes for file in self._found.files)

    def documents(self) -> Iterator[Document]:
        """Yield the documents, with the domains that folders and records name.

        Raises:
            CorpusError: Nothing readable is found, or too much cannot be read.
        """
        reader, files = self._reader, self._found.files
        reader.check_sizes(files)
        read, total, num_documents = 0, self.num_bytes, 0
        for file in files:
            for document in reader.read(file):
                num_documents += 1
                yield document
            read += file.size_bytes
            self._on_read(read, total)
        reader.check_share(reader.num_bytes + sum(reader.unread.values()))
        if not num_documents:
            raise CorpusError(self._where, f"no readable text ({reader.summary()})")

    def account(self, domains: Collection[str]) -> tuple[dict[str, str], Corpus]:
        """Return names for the domains, and a corpus without documents that says what was read.

        Args:
            domains: Domains of the documents, as `documents` named them; all have been read.
        """
        reader, names = self._reader, name_domains(domains)
        return names, Corpus(
            documents=(),
            skipped=tuple(reader.skipped),
            reading=Reading(
                num_files=reader.num_files,
                num_bytes=reader.num_bytes,
                unread=reader.unread,
                not_text=dict(sorted(reader.not_text.items())),
                passed_over=self._found.passed_over,
                hidden=self._found.hidden,
                renamed=tuple(file.name for file in self._found.files if file.is_renamed),
                names={original: name for original, name in names.items() if original != name},
            ),
        )


def _ignore(read: int, total: int) -> None:
    """Do nothing."""


def without_names(corpus: Corpus) -> Reading | None:
    """Return the report on reading without renamed domains, for a corpus with other domains."""
    return None if corpus.reading is None else replace(corpus.reading, names={})


@dataclass(slots=True)
class _Reader:
    """Reads files one by one, and counts what could not be read."""

    where: str
    limits: ReadLimits
    skipped: list[Skipped] = field(default_factory=list)
    unread: dict[str, int] = field(default_factory=dict)
    not_text: Counter[str] = field(default_factory=Counter)
    num_files: int = 0
    num_bytes: int = 0

    def check_sizes(self, files: Sequence[FoundFile]) -> None:
        """Raise an error before reading, when files that are too large exceed the unread share."""
        large = [file for file in files if file.size_bytes > self.limits.file_bytes_max]
        sizes = {file.name: file.size_bytes for file in large if _may_be_text(file)}
        self._check_share(
            dict.fromkeys(sizes, self._too_large), sizes, sum(file.size_bytes for file in files)
        )

    def check_share(self, num_bytes: int) -> None:
        """Raise an error when too large a share of `num_bytes` could not be read."""
        reasons = {skip.source: skip.reason for skip in self.skipped}
        self._check_share(reasons, self.unread, num_bytes)

    def read(self, file: FoundFile) -> Iterator[Document]:
        """Yield the documents of one file; a damaged file has none."""
        try:
            for record in self._records(file):
                document = self._document(file, record)
                if document is not None:
                    yield document
        except NotText:
            self.not_text[suffix_of(file.name) or "without suffix"] += 1
        except TooLarge:
            self._skip_file(file, self._too_large)
        except Unreadable as error:
            self._skip_file(file, str(error))
        except OSError as error:
            self._skip_file(file, f"cannot be opened: {error.strerror}")

    def _records(self, file: FoundFile) -> Iterable[Record]:
        if file.size_bytes > self.limits.file_bytes_max:
            raise TooLarge if _may_be_text(file) else NotText
        if is_lines(file.name):  # whose lines are read one by one, whatever the size of the file
            with file.path.open("rb") as lines:
                yield from read_lines(lines)
        else:
            data = unpack(file.name, file.path.read_bytes(), bytes_max=self.limits.file_bytes_max)
            records = read_records(file.name, data, text_column=self.limits.text_column)
            yield from list(records)  # all or none: a table may turn out damaged at its end
        self.num_files += 1
        self.num_bytes += file.size_bytes

    def summary(self) -> str:
        """Return a short reason why nothing could be read."""
        parts = [f"{len(self.skipped)} records skipped"]
        if self.skipped:
            parts.append(f"the first is {self.skipped[0].source}: {self.skipped[0].reason}")
        if self.not_text:
            parts.append(f"no text in {suffix_counts(self.not_text)}")
        return "; ".join(parts)

    def _document(self, file: FoundFile, record: Record) -> Document | None:
        source = record.source or (f"{file.name}:{record.line}" if record.line else file.name)
        if record.problem:
            self._skip(source, record.problem)
            return None
        if not record.text.strip():
            self._skip(source, "empty text")
            return None
        return Document(
            text=record.text,
            domain=record.domain or file.domain,
            source=source,
            part=record.part,
        )

    def _skip_file(self, file: FoundFile, reason: str) -> None:
        self.unread[file.name] = file.size_bytes
        self._skip(file.name, reason)

    def _skip(self, source: str, reason: str) -> None:
        self.skipped.append(Skipped(source=source, reason=reason))
        if len(self.skipped) > self.limits.skips_max:
            first = self.skipped[0]
            raise CorpusError(
                source,
                f"{reason}; over the limit of {self.limits.skips_max} unreadable records, the "
                f"first is {first.source} ({first.reason}); mend them or raise skips_max",
            )

    def _check_share(self, reasons: dict[str, str], sizes: dict[str, int], num_bytes: int) -> None:
        share_max, lost = self.limits.unread_share_max, sum(sizes.values())
        if share_max is None or lost <= share_max * num_bytes:
            return
        largest = sorted(sizes, key=lambda name: -sizes[name])
        named = "; ".join(
            f"{name} ({in_units(sizes[name])}): {reasons[name]}" for name in largest[:5]
        )
        more = f"; and {len(largest) - 5} more" if len(largest) > 5 else ""
        raise CorpusError(
            self.where,
            f"{lost / num_bytes:.1%} of the bytes of text cannot be read, over the limit of "
            f"{share_max:.1%}: {named}{more}; mend or split these files, raise "
            "corpus.file_bytes_max, or allow the loss by corpus.unread_share_max",
        )

    @property
    def _too_large(self) -> str:
        return f"over the limit of corpus.file_bytes_max = {self.limits.file_bytes_max} bytes"


def _may_be_text(file: FoundFile) -> bool:
    """Return whether a file's suffix, or its first bytes, show that it holds text."""
    if is_known(file.name):
        return True
    with file.path.open("rb") as content:
        return is_text(content.read(HEAD_BYTES), is_whole=False)
