"""Map the tensors of a safetensors file into memory, shared by processes and write-protected.

Every process of a machine that maps the same file reads the same pages, which the system loads
once. They are pages of its cache: what nobody reads for long need not stay in memory. They are
mapped without the right to write: torch knows of no read-only tensors, so an operation in place
would otherwise change the weights of everybody; here the process that tries is ended by SIGSEGV,
and the others read on what they read.

A file that is replaced by a rename goes on as it was for those who have it mapped. One that is
written over in its place changes under them, and one that is cut short ends them by SIGBUS. People
copy files over others, so what is served is not mapped where they do: `load_kernel` keeps a copy
under its hash in a folder of the deployment, which also lets kernels with the same weights share.

Source: the safetensors format, 8 bytes with the length of a JSON header, the header, the numbers.
"""

import json
import mmap
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from constellation.errors import ArtifactError

_DTYPES: Final = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LENGTH_BYTES: Final = 8


def map_bytes(path: Path) -> mmap.mmap:
    """Return a file's bytes as read-only memory.

    Raises:
        ArtifactError: It is empty or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise ArtifactError(path, "it is empty")
            return mmap.mmap(file.fileno(), 0, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ)
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error


def mapped_tensors(path: Path, mapped: mmap.mmap) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file as views of its mapping, which they keep alive.

    Tensors that do not begin at a multiple of their numbers' size are copied; files that
    safetensors wrote have none.

    Raises:
        ArtifactError: It is no whole safetensors file.
    """
    with warnings.catch_warnings():
        # torch warns that writing to it is undefined; that is what the guard is for.
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        everything = torch.frombuffer(mapped, dtype=torch.uint8)
    try:
        return dict(_tensors(everything, mapped))
    except (ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ArtifactError(path, f"it is not a safetensors file: {error}") from error


def _tensors(everything: Tensor, mapped: mmap.mmap) -> Iterator[tuple[str, Tensor]]:
    start = _LENGTH_BYTES + int.from_bytes(mapped[:_LENGTH_BYTES], "little")
    if start > len(mapped):
        raise ValueError(f"its header would end at byte {start} of {len(mapped)}")
    header: dict[str, Any] = json.loads(mapped[_LENGTH_BYTES:start])
    header.pop("__metadata__", None)
    for name, described in header.items():
        begin, end = (start + int(offset) for offset in described["data_offsets"])
        if not start <= begin <= end <= len(mapped):
            raise ValueError(f"{name} would lie at bytes {begin} to {end} of {len(mapped)}")
        dtype = _DTYPES[described["dtype"]]
        numbers = everything[begin:end]
        if begin % dtype.itemsize:
            numbers = numbers.clone()
        yield name, numbers.view(dtype).view(described["shape"])
