"""The starter corpus: text that every machine with Python has, in eight domains.

Reference topics of `pydoc`, docstrings, four kinds of source, character tables, and the licence
texts of Python and of installed packages. Nothing is downloaded, no package is imported.
"""

import ast
import importlib.metadata
import re
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from constellation.curricula.documents import Corpus, Document
from constellation.errors import CorpusError

DOMAIN_BYTES_MIN = 60_000
"""A domain with less text than this is not worth a kernel."""

SOURCE_PATTERNS: dict[str, tuple[str, ...]] = {
    "network": (
        "asyncio/*.py",
        "email/*.py",
        "ftplib.py",
        "http/*.py",
        "imaplib.py",
        "poplib.py",
        "selectors.py",
        "smtplib.py",
        "socket.py",
        "socketserver.py",
        "ssl.py",
        "urllib/*.py",
        "wsgiref/*.py",
        "xmlrpc/*.py",
    ),
    "numbers": (
        "_pydecimal.py",
        "_pydatetime.py",
        "_pylong.py",
        "_strptime.py",
        "bisect.py",
        "calendar.py",
        "colorsys.py",
        "datetime.py",
        "fractions.py",
        "heapq.py",
        "numbers.py",
        "random.py",
        "statistics.py",
        "zoneinfo/*.py",
    ),
    "testing": (
        "bdb.py",
        "cProfile.py",
        "doctest.py",
        "pdb.py",
        "profile.py",
        "pstats.py",
        "timeit.py",
        "trace.py",
        "unittest/*.py",
    ),
    "markup": ("html/*.py", "plistlib.py", "xml/*/*.py", "xml/*.py"),
    "charmaps": ("encodings/*.py",),
}
"""Domain -> files of the standard library whose source is its text."""

_LICENCE_NAME = re.compile(r"(?i)^(licen[cs]e|copying|notice)([-_.].*)?$")
_NOT_LIBRARY = frozenset({"site-packages", "dist-packages", "__pycache__", "test", "tests"})
_PROSE_CHARS_MIN = 200


def starter_corpus() -> Corpus:
    """Collect the starter corpus from the running Python.

    Returns:
        Documents of eight domains: "charmaps", "docstrings", "licences", "markup", "network",
        "numbers", "reference", "testing". One document is one source file, topic or licence.

    Raises:
        CorpusError: This Python has no readable standard library, or too little of a domain.
    """
    library = Path(sysconfig.get_path("stdlib"))
    if not (library / "encodings").is_dir():
        raise CorpusError(
            library,
            "the standard library's source is not here as files; "
            "give a folder of text per domain instead (`corpus.paths` in the recipe)",
        )
    documents = [
        *_reference_topics(),
        *_sources(library),
        *_docstrings(library),
        *_licences(library),
    ]
    _check_sizes(documents)
    return Corpus(documents=tuple(documents))


def _check_sizes(documents: Iterable[Document]) -> None:
    sizes = dict.fromkeys((*SOURCE_PATTERNS, "docstrings", "licences", "reference"), 0)
    for document in documents:
        sizes[document.domain] += len(document.text.encode())
    small = {name: size for name, size in sizes.items() if size < DOMAIN_BYTES_MIN}
    if small:
        found = ", ".join(f"{name} {size}" for name, size in sorted(small.items()))
        raise CorpusError(
            "starter corpus",
            f"this Python has too little text in some domains (bytes: {found}; each needs "
            f"{DOMAIN_BYTES_MIN}); install its full standard library, or give a folder of text "
            "per domain instead (`corpus.paths` in the recipe)",
        )


def _reference_topics() -> Iterator[Document]:
    """Yield the language reference as `help("topics")` shows it."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError as error:
        raise CorpusError("pydoc_data.topics", "this Python has no reference topics") from error
    for name in sorted(topics):
        yield Document(text=topics[name], domain="reference", source=f"topics/{name}")


def _sources(library: Path) -> Iterator[Document]:
    """Yield the source files of the domains that consist of source."""
    for domain, patterns in SOURCE_PATTERNS.items():
        for path in sorted({path for pattern in patterns for path in library.glob(pattern)}):
            text = _read(path)
            if text is not None:
                source = path.relative_to(library).as_posix()
                yield Document(text=text, domain=domain, source=source)


def _docstrings(library: Path) -> Iterator[Document]:
    """Yield, per module that no other domain uses, its docstrings as one text."""
    for path in sorted(library.rglob("*.py")):
        inner = path.relative_to(library)
        if _NOT_LIBRARY & set(inner.parts) or len(inner.parts) > 2 or _is_source(inner):
            continue
        text = _docstrings_of(path)
        if len(text) >= _PROSE_CHARS_MIN:
            yield Document(text=text, domain="docstrings", source=f"{inner.as_posix()}:docs")


def _is_source(inner: Path) -> bool:
    # Matching from the right would let "html/*.py" match "x/html/a.py"; depth rules that out.
    name = PurePosixPath(inner.as_posix())
    return any(
        name.match(pattern) and len(name.parts) == pattern.count("/") + 1
        for patterns in SOURCE_PATTERNS.values()
        for pattern in patterns
    )


def _docstrings_of(path: Path) -> str:
    """Return the docstrings of a module, its classes and functions, each under its name."""
    source = _read(path)
    if source is None:
        return ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old modules hold escapes that warn
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return ""  # some library files are bad on purpose
    parts = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = ast.get_docstring(node)
            if words:
                name = path.stem if isinstance(node, ast.Module) else f"{path.stem}.{node.name}"
                parts.append(f"{name}\n\n{words}\n")
    return "\n".join(parts)


def _licences(library: Path) -> Iterator[Document]:
    """Yield the licence of Python and those of the installed packages."""
    own = _read(library / "LICENSE.txt")
    if own is not None:
        yield Document(text=own, domain="licences", source="python/LICENSE.txt")
    found: dict[str, Path] = {}
    for package in importlib.metadata.distributions():
        for file in package.files or ():
            if "dist-info" in file.as_posix() and _LICENCE_NAME.match(file.name):
                found.setdefault(file.as_posix(), Path(str(package.locate_file(file))))
    for name in sorted(found):
        text = _read(found[name])
        if text is not None:
            yield Document(text=text, domain="licences", source=name)


def _read(path: Path) -> str | None:
    """Return the file's text, or None when it is missing or not UTF-8.

    A few library files are in other encodings on purpose; they are no loss.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
