"""Read a folder or a list of files into a corpus: documents, each with a domain and a source.

This file does not handle tokens or splits. A record that cannot be read is counted, listed with its
reason, and skipped. More skipped records than `ReadLimits.skips_max`, or more unread bytes than
`ReadLimits.unread_share_max`, raise `CorpusError`.
"""

from collections import Counter
from collections.abc import Sequence
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
    is_text,
    read_records,
    suffix_of,
    unpack,
)
from constellation.curricula.reading_report import in_units, suffix_counts
from constellation.errors import ConfigError, CorpusError

__all__ = [
    "Corpus",
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
    """Read every text file under `paths`; docs/corpora.md lists what counts as text.

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
    limits = limits or ReadLimits()
    roots = [paths] if isinstance(paths, Path) else list(paths)
    found = find_files(roots)
    where = ", ".join(readable(str(root)) for root in roots) or "no path"
    reader = _Reader(where, limits)
    reader.check_sizes(found.files)
    for file in found.files:
        reader.read(file)
    reader.check_share(reader.num_bytes + sum(reader.unread.values()))
    if not reader.documents:
        raise CorpusError(where, f"no readable text ({reader.summary()})")
    names = name_domains(document.domain for document in reader.documents)
    return Corpus(
        documents=tuple(replace(d, domain=names[d.domain]) for d in reader.documents),
        skipped=tuple(reader.skipped),
        reading=Reading(
            num_files=reader.num_files,
            num_bytes=reader.num_bytes,
            unread=reader.unread,
            not_text=dict(sorted(reader.not_text.items())),
            passed_over=found.passed_over,
            hidden=found.hidden,
            renamed=tuple(file.name for file in found.files if file.is_renamed),
            names={original: name for original, name in names.items() if original != name},
        ),
    )


def without_names(corpus: Corpus) -> Reading | None:
    """Return the report on reading without renamed domains, for a corpus with other domains."""
    return None if corpus.reading is None else replace(corpus.reading, names={})


@dataclass(slots=True)
class _Reader:
    """Reads files one by one into documents, and counts what could not be read."""

    where: str
    limits: ReadLimits
    documents: list[Document] = field(default_factory=list)
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

    def read(self, file: FoundFile) -> None:
        """Add the documents of one file."""
        try:
            if file.size_bytes > self.limits.file_bytes_max:
                if not _may_be_text(file):
                    raise NotText
                raise TooLarge
            data = unpack(file.name, file.path.read_bytes(), bytes_max=self.limits.file_bytes_max)
            records = list(read_records(file.name, data, text_column=self.limits.text_column))
        except NotText:
            self.not_text[suffix_of(file.name) or "without suffix"] += 1
        except TooLarge:
            self._skip_file(file, self._too_large)
        except Unreadable as error:
            self._skip_file(file, str(error))
        except OSError as error:
            self._skip_file(file, f"cannot be opened: {error.strerror}")
        else:
            self.num_files += 1
            self.num_bytes += file.size_bytes
            for record in records:
                self._add_record(file, record)

    def summary(self) -> str:
        """Return a short reason why nothing could be read."""
        parts = [f"{len(self.skipped)} records skipped"]
        if self.skipped:
            parts.append(f"the first is {self.skipped[0].source}: {self.skipped[0].reason}")
        if self.not_text:
            parts.append(f"no text in {suffix_counts(self.not_text)}")
        return "; ".join(parts)

    def _add_record(self, file: FoundFile, record: Record) -> None:
        source = record.source or (f"{file.name}:{record.line}" if record.line else file.name)
        if record.problem:
            self._skip(source, record.problem)
        elif not record.text.strip():
            self._skip(source, "empty text")
        else:
            self.documents.append(
                Document(
                    text=record.text,
                    domain=record.domain or file.domain,
                    source=source,
                    part=record.part,
                )
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
