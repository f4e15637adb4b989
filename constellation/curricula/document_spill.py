"""Keep documents in temporary files while a corpus is prepared, and a few numbers in memory.

A document costs about 60 bytes of memory, whatever its length, and its text lies in a file. The
files have no names that last: they are deleted when the spill is closed.

Shapes: N numbers of a list.
"""

import hashlib
import os
import tempfile
from array import array
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from constellation.curricula.comparison_keys import ComparisonKeys
from constellation.curricula.documents import Document

DIGEST_BYTES = 32
"""Bytes of a text's sha256."""

_KEY_BYTES = 8


class NumberLists:
    """Lists of 64-bit numbers in a temporary file, read one list at a time."""

    def __init__(self, folder: Path) -> None:
        """Make an empty file in `folder`."""
        self._file = _temporary(folder)
        self._ends = array("q", [0])

    def append(self, numbers_N: NDArray[np.uint64]) -> None:
        """Add a list at the end."""
        self._file.write(numbers_N.tobytes())
        self._ends.append(self._ends[-1] + len(numbers_N))

    def __len__(self) -> int:
        """Return the number of lists."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> NDArray[np.uint64]:
        """Return one list."""
        return self.read(self._ends[index], self._ends[index + 1])

    @property
    def num_values(self) -> int:
        """Numbers of all lists together."""
        return self._ends[-1]

    def read(self, start: int, end: int) -> NDArray[np.uint64]:
        """Return the numbers from `start` to `end` of all lists joined."""
        data = _read(self._file, start * _KEY_BYTES, (end - start) * _KEY_BYTES)
        return np.frombuffer(data, dtype=np.uint64)

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


class DocumentSpill:
    """Cleaned documents in temporary files, by number in the order of adding."""

    def __init__(self, folder: Path) -> None:
        """Make empty files in `folder`, which must have room for the text of the corpus."""
        self._texts = _temporary(folder)
        self._digests = _temporary(folder)
        self.sketches = NumberLists(folder)
        """Sketch of every document."""
        self.paragraphs = NumberLists(folder)
        """Keys of the paragraphs of every document."""
        self._end = 0
        self._starts, self._sizes = array("q"), array("q")
        self._source_starts, self._source_sizes = array("q"), array("i")
        self._num_chars = array("q")
        self.domains = array("i")
        """Number of every document's domain in `domain_names`."""
        self._source_keys = array("Q")
        self.domain_names: list[str] = []
        """Domains in the order in which they first occur."""
        self._domain_numbers: dict[str, int] = {}

    def __enter__(self) -> "DocumentSpill":
        """Return the spill."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Delete all files."""
        for file in (self._texts, self._digests, self.sketches, self.paragraphs):
            file.close()

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._starts)

    def add(self, document: Document, keys: ComparisonKeys) -> None:
        """Add a document with a cleaned text, and what it is compared by."""
        source = document.source.encode()
        data = document.text.encode()
        self._source_starts.append(self._end)
        self._source_sizes.append(len(source))
        self._starts.append(self._end + len(source))
        self._sizes.append(len(data))
        self._write(source + data)
        self._digests.write(hashlib.sha256(data).digest())
        self._num_chars.append(len(document.text))
        self.domains.append(self._number_of(document.domain))
        digest = hashlib.blake2b(source, digest_size=_KEY_BYTES).digest()
        self._source_keys.append(int.from_bytes(digest, "little"))
        self.sketches.append(keys.sketch)
        self.paragraphs.append(keys.paragraphs_P)

    def replace_text(self, number: int, text: str) -> None:
        """Give a document another text."""
        data = text.encode()
        self._starts[number] = self._end
        self._sizes[number] = len(data)
        self._write(data)
        self._num_chars[number] = len(text)
        self._digests.flush()
        os.pwrite(self._digests.fileno(), hashlib.sha256(data).digest(), number * DIGEST_BYTES)

    def text(self, number: int) -> str:
        """Return the text of a document."""
        return self.text_at(self._starts[number], self._sizes[number])

    def text_at(self, start: int, size: int) -> str:
        """Return the text in some bytes of the file of texts."""
        return _read(self._texts, start, size).decode()

    def text_start(self, number: int) -> int:
        """Return where in the file of texts the text of a document begins."""
        return self._starts[number]

    def num_bytes(self, number: int) -> int:
        """Return the bytes of a document's text in UTF-8."""
        return self._sizes[number]

    def num_chars_of(self, number: int) -> int:
        """Return the characters of a document's text."""
        return self._num_chars[number]

    def source_key(self, number: int) -> int:
        """Return a hash of a document's source."""
        return self._source_keys[number]

    def source(self, number: int) -> str:
        """Return the source of a document."""
        return _read(self._texts, self._source_starts[number], self._source_sizes[number]).decode()

    def digest(self, number: int) -> bytes:
        """Return the sha256 of a document's text."""
        return _read(self._digests, number * DIGEST_BYTES, DIGEST_BYTES)

    def digests(self) -> NDArray[np.uint64]:
        """Return the first 16 bytes of all digests, as numbers in the digests' order, (N, 2)."""
        data = _read(self._digests, 0, len(self) * DIGEST_BYTES)
        words = np.frombuffer(data, dtype=">u8").reshape(-1, DIGEST_BYTES // 8)
        return words[:, :2].astype(np.uint64)

    def _write(self, data: bytes) -> None:
        self._texts.write(data)
        self._end += len(data)

    def _number_of(self, domain: str) -> int:
        number = self._domain_numbers.setdefault(domain, len(self.domain_names))
        if number == len(self.domain_names):
            self.domain_names.append(domain)
        return number


def _temporary(folder: Path) -> BinaryIO:
    return tempfile.TemporaryFile(dir=folder, buffering=2**20)  # type: ignore[return-value]


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    """Return bytes of a file that is still being written."""
    file.flush()
    return os.pread(file.fileno(), size, start)
