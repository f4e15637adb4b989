"""Write and read token files: streams of tokens, an end token before and after each document.

A file is a `.npy` array, int32. Training processes map the file into memory, so that all processes
of a machine share its pages. A file is replaced as a whole: a process that has mapped the file
keeps what it maps.

Shapes: N tokens.
"""

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import overload

import numpy as np
from numpy.typing import NDArray

from constellation.errors import TrainingError
from constellation.records import TokenArray

_HEADER_BYTES = 128
"""Bytes before the tokens, as `np.save` writes them."""

_SLAB_TOKENS = 2**22
"""Tokens that are looked at at once."""


class TokenFileWriter:
    """Writes documents to a token file, which appears under its name when it is complete."""

    def __init__(self, path: Path, end_id: int) -> None:
        """Open a file beside `path`; `end_id` is the token between documents."""
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._end = np.asarray([end_id], dtype=np.int32).tobytes()
        self._file = self._part.open("wb", buffering=2**18)
        self._file.write(bytes(_HEADER_BYTES) + self._end)

    def __enter__(self) -> "TokenFileWriter":
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the file, or remove it after an error."""
        if error is None:
            self._complete()
        else:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def write(self, tokens: TokenArray) -> None:
        """Write the tokens of the next document."""
        self._file.write(tokens.astype(np.int32, copy=False).tobytes() + self._end)

    def _complete(self) -> None:
        num_tokens = (self._file.tell() - _HEADER_BYTES) // 4
        header = io.BytesIO()
        described = {"descr": "<i4", "fortran_order": False, "shape": (num_tokens,)}
        np.lib.format.write_array_header_1_0(header, described)
        assert len(header.getvalue()) == _HEADER_BYTES, "a one-dimensional array has this header"
        self._file.seek(0)
        self._file.write(header.getvalue())
        self._file.close()
        os.replace(self._part, self.path)


def write_tokens(path: Path, documents: Iterable[TokenArray], end_id: int) -> Path:
    """Write documents as one stream; return the file."""
    with TokenFileWriter(path, end_id) as writer:
        for tokens in documents:
            writer.write(tokens)
    return path


def read_documents(path: Path, end_id: int) -> Iterator[TokenArray]:
    """Yield the tokens of each document of a token file; no document contains `end_id`."""
    start, count = 1, _SLAB_TOKENS  # after the first end token
    while True:
        # Read, not mapped, so that the pages do not count as memory of this process.
        offset = _HEADER_BYTES + 4 * start
        slab = np.fromfile(path, dtype=np.int32, count=count, offset=offset)
        ends = np.flatnonzero(slab == end_id)
        if not len(ends) and len(slab) == count:
            count *= 2  # a document longer than a slab
            continue
        first = 0
        for end in ends.tolist():
            yield slab[first:end]
            first = end + 1
        if not first:
            return
        start += first


class StreamDocuments(Sequence[TokenArray]):
    """The documents of a token file that is mapped into memory, or some of them."""

    def __init__(
        self, stream_N: TokenArray, starts: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> None:
        """Keep a stream, and the first token and the end of each document in it."""
        self._stream_N, self._starts, self._ends = stream_N, starts, ends

    @classmethod
    def of(cls, path: Path, end_id: int) -> "StreamDocuments":
        """Map a token file, and find its documents."""
        stream_N = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
        places = [
            start + np.flatnonzero(stream_N[start : start + _SLAB_TOKENS] == end_id)
            for start in range(0, len(stream_N), _SLAB_TOKENS)
        ]
        ends = np.concatenate(places)
        return cls(stream_N, ends[:-1] + 1, ends[1:])

    def chosen(self, is_chosen: NDArray[np.bool_]) -> "StreamDocuments":
        """Return the documents for which a flag is true."""
        return StreamDocuments(self._stream_N, self._starts[is_chosen], self._ends[is_chosen])

    def __len__(self) -> int:
        """Return the number of documents."""
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> TokenArray: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenArray]: ...
    def __getitem__(self, index: int | slice) -> TokenArray | Sequence[TokenArray]:
        """Return the tokens of one document, or of several."""
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        return self._stream_N[self._starts[index] : self._ends[index]]


def load_tokens(path: Path, *, vocab_size: int) -> TokenArray:
    """Map the stream of a token file into memory, shape (N,), int32, read-only.

    Args:
        path: A token file.
        vocab_size: Tokens must be in [0, vocab_size).

    Raises:
        TrainingError: The file is missing, cut short, no token file, or holds impossible tokens.
    """
    try:
        stream_N: TokenArray = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, str(error)) from error
    if stream_N.ndim != 1 or stream_N.dtype != np.int32:
        raise _damaged(path, f"it holds {stream_N.dtype} of shape {stream_N.shape}, not tokens")
    if len(stream_N) and not (stream_N.min() >= 0 and stream_N.max() < vocab_size):
        low, high = int(stream_N.min()), int(stream_N.max())
        raise _damaged(path, f"tokens {low} to {high} are not all in 0 to {vocab_size - 1}")
    return stream_N


def _damaged(path: Path, reason: str) -> TrainingError:
    return TrainingError(
        f"token file {path} cannot be used: {reason}; run the same command again, which makes "
        "damaged files again and resumes from the checkpoints"
    )
