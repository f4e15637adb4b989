"""The starter corpus: text in eight domains collected from the installed Python packages.

The text comes with Python's standard library and with packages that this project needs anyway.
Nothing is downloaded and no package is imported: the files named in the tables below are read in
place, completely. In domains of code, comments and docstrings are removed, since their prose is
similar in every domain.
"""

import ast
import importlib.metadata
import importlib.util
import inspect
import re
import sysconfig
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from constellation.curricula.documents import Corpus, Document
from constellation.errors import CorpusError

DOMAIN_BYTES_MIN = 100_000
"""Least bytes of a domain; less text is not enough for a kernel."""

Patterns = tuple[tuple[str, str], ...]
"""Pairs of a package and a pattern for files in the package's folder."""

CPP: Patterns = (("torch", "include/c10/core/*.h"), ("torch", "include/c10/util/*.h"))
MATHEMATICS: Patterns = (
    ("mpmath", "function_docs.py"),
    ("numpy", "linalg/*.py"),
    ("scipy", "special/*.py"),
    ("sympy", "functions/*/*.py"),
)
PROTOBUF: Patterns = (
    *(
        ("google", f"{folder}/**/*.proto")
        for folder in ("api", "cloud", "gapic", "logging", "longrunning", "rpc", "type")
    ),
    ("tensorboardX", "proto/*.proto"),
)
YAML: Patterns = (
    ("ray", "autoscaler/**/*.yaml"),
    ("torch", "_export/**/*.yaml"),
    ("torchgen", "packaged/**/*.yaml"),
)

PYTHON = (
    *("asyncio/*.py", "collections/*.py", "json/*.py"),
    *("*datetime.py", "argparse.py", "bisect.py", "calendar.py", "contextlib.py", "copy.py"),
    *("csv.py", "dataclasses.py", "difflib.py", "enum.py", "fractions.py", "functools.py"),
    *("graphlib.py", "heapq.py", "queue.py", "random.py", "sched.py", "shlex.py", "shutil.py"),
    *("socket.py", "statistics.py", "string.py", "tempfile.py", "textwrap.py", "threading.py"),
    "uuid.py",
)
"""Patterns for files of the standard library."""

LICENCES = (
    *("aiohappyeyeballs", "aiohttp", "distlib", "fonttools", "grpcio", "matplotlib", "numpy"),
    *("pandas", "pillow", "pyarrow", "scipy", "setuptools", "sympy", "torch"),
)
"""Distributions whose licences, with those of bundled software, are read beside Python's
licence."""

CHARACTERS = (range(0x3000), range(0x1F000, 0x1FC00))
"""Code points whose Unicode names are read: alphabets, signs and pictures, no ideographs."""

ORIGINS = {
    "cpp": "the package torch",
    "licences": "the packages " + ", ".join(LICENCES),
    "mathematics": "the packages mpmath, numpy, scipy and sympy",
    "protobuf": "the packages googleapis-common-protos and tensorboardX",
    "python": "the source of Python's standard library",
    "reference": "Python's module pydoc_data",
    "unicode": "Python's module unicodedata",
    "yaml": "the packages torch and ray",
}
"""Domain -> packages that its text comes from."""

_COMMENTS = {
    ".h": re.compile(
        r"/\*.*?\*/|^[ \t]*//[^\n]*\n|^(?:#else\n)?#[^\n]*TORCH_STABLE_ONLY[^\n]*\n",
        re.DOTALL | re.MULTILINE,
    ),
    ".proto": re.compile(r"\A(?:/\*.*?\*/|(?://[^\n]*\n)+)", re.DOTALL),
    ".py": re.compile(r"^[ \t]*#[^\n]*\n", re.MULTILINE),
    ".yaml": re.compile(r"^[ \t]*#[^\n]*\n", re.MULTILINE),
}
"""Suffix -> text that is removed: comments, and in headers the lines that packaging adds to each.
In `.proto` only the copyright notice at the start: comments are most of such files."""

_TYPED = re.compile(r"^ *(?:>>>|\.\.\.).*\n?", re.MULTILINE)
_GAP = re.compile(r"\n(?:[ \t]*\n)+")
_SENTENCE = re.compile(r"\w[.:](?:\s|$)")
_NUMBERED = re.compile(r"-[0-9A-F]{3,}$")
_LICENCE_NAME = re.compile(r"(?i)^(licen[cs]e|copying|notice)([-_.].*)?$")
_PROSE_CHARS_MIN = 200
_NAMES_PER_DOCUMENT = 64


def starter_corpus() -> Corpus:
    """Collect the starter corpus from the installed Python and its packages.

    Returns:
        Documents of eight domains: "cpp" (headers of torch), "licences", "mathematics" (docstrings
        of mpmath, numpy, scipy and sympy), "protobuf" (message definitions), "python" (source),
        "reference" (the manual of the language, without its code), "unicode" (names of characters),
        "yaml". One document is one file, topic, or list of names.

    Raises:
        CorpusError: This machine has too little text of a domain, or a file cannot be read.
    """
    documents = (
        *_files("cpp", CPP),
        *_licences(),
        *_mathematics(),
        *_files("protobuf", PROTOBUF),
        *_python(),
        *_reference(),
        *_unicode(),
        *_files("yaml", YAML),
    )
    _check_sizes(documents)
    return Corpus(documents=documents)


def _check_sizes(documents: Iterable[Document]) -> None:
    sizes = dict.fromkeys(ORIGINS, 0)
    for document in documents:
        sizes[document.domain] += len(document.text.encode())
    small = [name for name, size in sizes.items() if size < DOMAIN_BYTES_MIN]
    if small:
        found = "; ".join(f"{name} {sizes[name]}, from {ORIGINS[name]}" for name in small)
        raise CorpusError(
            "starter corpus",
            f"this machine has too little text in some domains (bytes: {found}; each needs "
            f"{DOMAIN_BYTES_MIN}); install what is missing, or give a folder of text per domain "
            "instead (`corpus.paths` in the recipe)",
        )


def _files(domain: str, patterns: Patterns) -> Iterator[Document]:
    """Yield the files of packages without their comments."""
    for source, path in _paths(patterns):
        code = _COMMENTS[path.suffix].sub("", _read(path))
        yield Document(text=code, domain=domain, source=source)


def _mathematics() -> Iterator[Document]:
    """Yield the long strings of each module (docstrings and tables of them), without typed code."""
    for source, path in _paths(MATHEMATICS):
        strings = (inspect.cleandoc(string) for string in _long_strings(_read(path)))
        words = "\n\n\n".join(_TYPED.sub("", string) for string in strings)
        if words:
            yield Document(text=words, domain="mathematics", source=f"{source}:docs")


def _long_strings(source: str) -> Iterator[str]:
    for node in ast.walk(_parse(source)):
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and len(value) >= _PROSE_CHARS_MIN:
            yield value


def _python() -> Iterator[Document]:
    """Yield source files of the standard library without comments and docstrings."""
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted({path for pattern in PYTHON for path in library.glob(pattern)}):
        code = _COMMENTS[".py"].sub("", _without_docstrings(_read(path)))
        yield Document(text=code, domain="python", source=path.relative_to(library).as_posix())


def _without_docstrings(source: str) -> str:
    """Return a module's source without the lines of its docstrings.

    A docstring that is the whole body of a function is kept: without it the code would not parse.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(_parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if len(node.body) > 1 else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                end = first.end_lineno or first.lineno
                lines[first.lineno - 1 : end] = [""] * (end - first.lineno + 1)
    return "".join(lines)


def _reference() -> Iterator[Document]:
    """Yield the prose of Python's language reference, which `help("topics")` shows."""
    try:
        from pydoc_data.topics import topics
    except ModuleNotFoundError:
        return
    for name in sorted(topics):
        yield Document(text=_prose(topics[name]), domain="reference", source=f"topics/{name}")


def _prose(topic: str) -> str:
    """Return the paragraphs that contain a sentence, without code blocks after a colon."""
    kept: list[str] = []
    is_code = False
    for paragraph in _GAP.split(topic):
        announced = is_code or (bool(kept) and kept[-1].endswith(":"))
        is_code = announced and paragraph.startswith("   ")
        if not is_code and ">>>" not in paragraph and _SENTENCE.search(paragraph):
            kept.append(paragraph.rstrip())
    return "\n\n".join(kept)


def _unicode() -> Iterator[Document]:
    """Yield names of characters, 64 per document, without names that are only a number."""
    lines = [
        f"U+{code:04X} {name}\n"
        for code in (code for block in CHARACTERS for code in block)
        if (name := unicodedata.name(chr(code), "")) and not _NUMBERED.search(name)
    ]
    for start in range(0, len(lines), _NAMES_PER_DOCUMENT):
        names = lines[start : start + _NAMES_PER_DOCUMENT]
        first = names[0].split()[0]
        yield Document(text="".join(names), domain="unicode", source=f"unicode/{first}")


def _licences() -> Iterator[Document]:
    """Yield the licence of Python and the licences of the named distributions."""
    found = {"python/LICENSE.txt": Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"}
    for name in LICENCES:
        try:
            files = importlib.metadata.distribution(name).files or ()
        except importlib.metadata.PackageNotFoundError:
            continue  # the other distributions may have enough text
        for file in files:
            if "dist-info" in file.as_posix() and _LICENCE_NAME.match(file.name):
                found[file.as_posix()] = Path(str(file.locate()))
    for source, path in sorted(found.items()):
        if path.is_file():
            yield Document(text=_read(path), domain="licences", source=source)


def _paths(patterns: Patterns) -> Iterator[tuple[str, Path]]:
    """Yield name and path of the matching files of all installed packages."""
    for package, pattern in patterns:
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).glob(pattern)):
                yield f"{package}/{path.relative_to(folder).as_posix()}", path


def _parse(source: str) -> ast.Module:
    """Return the syntax tree of source text; an empty tree when this Python cannot parse it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in old modules would warn
            return ast.parse(source)
    except (SyntaxError, ValueError):
        return ast.Module(body=[], type_ignores=[])


def _read(path: Path) -> str:
    """Return a file's text; bytes that are not UTF-8 are replaced, since few files have any.

    Raises:
        CorpusError: The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CorpusError(path, f"cannot be read: {error.strerror}") from error
