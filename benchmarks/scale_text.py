"""Make a large corpus for benchmarks from the text that this machine has, with variation.

Eight domains: Python packages, Python's library, C headers, Perl, documentation, manual pages in
English and in other languages, and package metadata. A domain whose files do not suffice is
repeated with other words in place of every ninth word; a tenth of these words occur nowhere else,
so that the vocabulary grows with the corpus as in text by people.
"""

import gzip
import random
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import numpy

FILE_BYTES_MAX = 600_000
"""Largest file that is read, in bytes."""

CHANGED_EVERY = 9
"""One of so many words is replaced in a repetition."""

NEW_EVERY = 10
"""One of so many replaced words occurs nowhere else."""

_WORD = re.compile(r"(\w+)")


def _folders() -> dict[str, tuple[Path, str]]:
    packages = Path(numpy.__file__).parents[1]
    return {
        "packages": (packages, "[j-z]*/**/*.py"),
        "library": (Path(sysconfig.get_path("stdlib")), "**/*.py"),
        "headers": (Path("/usr/include"), "**/*.h*"),
        "perl": (Path("/usr/share/perl"), "**/*.p[lmo]*"),
        "documents": (Path("/usr/share/doc"), "**/*"),
        "manuals": (Path("/usr/share/man"), "man*/*.gz"),
        "foreign": (Path("/usr/share/man"), "*/man*/*.gz"),
        "interfaces": (packages, "**/*.pyi"),
    }


def make_text(folder: Path, num_bytes: int, *, packed: bool = False) -> int:
    """Write about `num_bytes` of text in eight domains; return the exact number of bytes.

    Args:
        folder: For the domains' folders.
        num_bytes: Bytes of UTF-8 over all domains, unpacked.
        packed: Whether files are written as `.gz`, which takes a quarter of the disk.
    """
    folders = _folders()
    return sum(
        _make_domain(folder / name, place, pattern, num_bytes // len(folders), packed=packed)
        for name, (place, pattern) in folders.items()
    )


def _make_domain(folder: Path, place: Path, pattern: str, num_bytes: int, *, packed: bool) -> int:
    sources = _sources(place, pattern, num_bytes)
    total = sum(len(text.encode()) for text in sources)
    if not total:
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    pool = _pool(sources)
    repeats = -(-num_bytes // total)
    written = 0
    for number, source in enumerate(sources):
        for turn, text in enumerate(_variants(source, repeats, pool, seed=number)):
            data = text.encode()
            if written + len(data) > num_bytes:
                return written
            written += len(data)
            _write(folder / f"{turn:03d}" / f"{number:06d}.txt", data, packed=packed)
    return written


def _sources(place: Path, pattern: str, num_bytes: int) -> list[str]:
    found: list[str] = []
    total = 0
    for path in sorted(place.glob(pattern)):
        text = _text_of(path)
        if text and text.strip():
            found.append(text)
            total += len(text.encode())
            if total >= num_bytes:
                break
    return found


def _text_of(path: Path) -> str | None:
    """Return a file's text; None for links, large files and files that hold no text."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > FILE_BYTES_MAX:
        return None
    data = path.read_bytes()
    try:
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        return None if b"\0" in data else data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError):
        return None


def _pool(sources: list[str]) -> list[str]:
    words: dict[str, None] = {}
    for text in sources[:2000]:
        words.update(dict.fromkeys(_WORD.findall(text)))
        if len(words) > 50_000:
            break
    return list(words)


def _variants(source: str, count: int, pool: list[str], *, seed: int) -> Iterator[str]:
    """Yield the text itself, and then repetitions with other words."""
    yield source
    parts = _WORD.split(source) if count > 1 else []
    for turn in range(1, count):
        draw = random.Random(seed * 10_007 + turn)
        changed = [*parts]
        places = range(2 * draw.randrange(CHANGED_EVERY) + 1, len(parts), 2 * CHANGED_EVERY)
        words = draw.choices(pool, k=len(places))
        for at in range(0, len(words), NEW_EVERY):
            words[at] = words[at] + "".join(draw.choices("aeioulnrst", k=5))
        for place, word in zip(places, words, strict=True):
            changed[place] = word
        yield "".join(changed)


def _write(path: Path, data: bytes, *, packed: bool) -> None:
    path.parent.mkdir(exist_ok=True)
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(data, 1, mtime=0))
    else:
        path.write_bytes(data)
