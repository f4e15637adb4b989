"""Read a corpus: a folder or a list of files becomes documents, each with its domain.

Knows nothing of tokens or splits. A record that cannot be read is counted, named and skipped;
more of them than `ReadLimits.skips_max` stop the reading with `CorpusError`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from constellation.curricula.readers import Unreadable, is_known, read_records
from constellation.errors import ConfigError, CorpusError


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
class Corpus:
    """Documents in a fixed order, and what had to be left out."""

    documents: tuple[Document, ...]
    skipped: tuple[Skipped, ...] = ()

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
        return replace(self, documents=documents)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadLimits:
    """What reading tolerates."""

    skips_max: int = 100
    """Unreadable records (files or lines) tolerated; one more stops the reading."""
    file_bytes_max: int = 256 * 2**20
    """Bytes of the largest file that is read; a larger one is skipped and named."""

    def __post_init__(self) -> None:
        if self.skips_max < 0 or self.file_bytes_max < 1:
            raise ConfigError(
                "need skips_max >= 0 and file_bytes_max >= 1, got "
                f"{self.skips_max} and {self.file_bytes_max}"
            )


def read_corpus(paths: Path | Sequence[Path], limits: ReadLimits | None = None) -> Corpus:
    """Read every known file under `paths`.

    The domain of a document is, in this order: the "domain" entry of its JSON-lines metadata;
    the first sub-folder of the given folder it lies in; the stem of its file. Names become
    lower-case, and characters other than a-z, 0-9, '-', '_' and '.' become '-'.

    Args:
        paths: A folder, a file, or several of them.
        limits: What to tolerate; the defaults when left out.

    Returns:
        Documents in the sorted order of their paths; empty texts are skipped and named.

    Raises:
        CorpusError: When a path is missing, nothing readable is found, or more records than
            `limits.skips_max` had to be skipped.
    """
    limits = limits or ReadLimits()
    roots = [paths] if isinstance(paths, Path) else list(paths)
    skipped: list[Skipped] = []
    documents: list[Document] = []

    def skip(source: str, reason: str) -> None:
        skipped.append(Skipped(source=source, reason=reason))
        if len(skipped) > limits.skips_max:
            raise CorpusError(
                source,
                f"{reason}; over the limit of {limits.skips_max} unreadable records, the first "
                f"is {skipped[0].source} ({skipped[0].reason}); mend them or raise skips_max",
            )

    for path, name, domain in _walk(roots):
        documents += _read_file(path, name, domain, limits, skip)
    if not documents:
        where = ", ".join(str(root) for root in roots) or "no path"
        raise CorpusError(where, f"no readable text ({len(skipped)} records skipped)")
    return Corpus(documents=tuple(documents), skipped=tuple(skipped))


def _walk(roots: Iterable[Path]) -> Iterable[tuple[Path, str, str]]:
    """Yield each known file with its name in the corpus and the domain its place implies."""
    for root in roots:
        if root.is_file():
            yield root, root.name, root.stem
        elif root.is_dir():
            for path in sorted(root.rglob("*")):
                inner = path.relative_to(root)
                hidden = any(part.startswith(".") for part in inner.parts)
                if path.is_file() and is_known(path) and not hidden:
                    domain = inner.parts[0] if len(inner.parts) > 1 else path.stem
                    yield path, inner.as_posix(), domain
        else:
            raise CorpusError(root, "no such file or folder")


def _read_file(
    path: Path, name: str, domain: str, limits: ReadLimits, skip: Callable[[str, str], None]
) -> list[Document]:
    """Return the documents of one file; report what cannot be read to `skip`."""
    try:
        size_bytes = path.stat().st_size
        if size_bytes > limits.file_bytes_max:
            skip(name, f"{size_bytes} bytes, over the limit of {limits.file_bytes_max}")
            return []
        records = list(read_records(path))
    except Unreadable as error:
        skip(name, str(error))
        return []
    except OSError as error:
        skip(name, f"cannot be opened: {error.strerror}")
        return []
    found: list[Document] = []
    for record in records:
        source = record.source or (f"{name}:{record.line}" if record.line else name)
        if record.problem:
            skip(source, record.problem)
        elif not record.text.strip():
            skip(source, "empty text")
        else:
            named = _name(record.domain or domain)
            found.append(Document(text=record.text, domain=named, source=source, part=record.part))
    return found


def _name(domain: str) -> str:
    """Return the domain as a name that kernels may have."""
    return re.sub(r"[^a-z0-9_.-]+", "-", domain.lower()).strip("-.")[:64] or "unnamed"
