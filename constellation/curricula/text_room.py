"""Forecast what preparing text takes: memory, disk and processor time, from the size of its files.

The figures are measured (benchmarks/corpus_scale.py) and rounded up.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.errors import CorpusError

DISK_BYTES_PER_BYTE: Final = 2.6
"""Bytes of disk for each byte of text: first the text twice, then the text once and its tokens."""

PACKED_RATIO: Final = 4
"""Bytes of text for each byte of a packed file, for text as people write it."""

MEMORY_BYTES: Final = 1_300_000_000
"""Memory of preparing text of any size, without the largest file and the index of documents."""

MEMORY_BYTES_PER_BYTE: Final = 0.05
"""Bytes of memory for each byte of text, in documents of some kilobytes: the index of documents."""

FILE_COPIES: Final = 5
"""Copies of the largest file in memory while the file is read."""

SECONDS_PER_MB: Final = 0.6
"""Processor seconds for each 10^6 bytes of text, corpus, coordizer and token files together."""

ROOM_CHECK_BYTES: Final = 64 * 2**20
"""Text below which the room on the disk is not checked beforehand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextForecast:
    """What a corpus will take, from its files to the token files. Sizes in bytes."""

    num_files: int
    text_bytes: int
    """Bytes of text, unpacked; packed files are counted as four times their size."""
    memory_bytes: int
    disk_bytes: int
    seconds: float
    """Processor seconds."""


def forecast_text(sizes: dict[str, int]) -> TextForecast:
    """Return what preparing files will take; `sizes` maps a file's name to its bytes."""
    unpacked = [
        size * PACKED_RATIO if name.lower().endswith(".gz") else size
        for name, size in sizes.items()
    ]
    total = sum(unpacked)
    memory = MEMORY_BYTES_PER_BYTE * total + FILE_COPIES * max(unpacked, default=0)
    # Small text needs less of everything, down to what Python and its packages take.
    fixed = min(MEMORY_BYTES, 300_000_000 + 10 * total)
    return TextForecast(
        num_files=len(sizes),
        text_bytes=total,
        memory_bytes=int(fixed + memory),
        disk_bytes=int(DISK_BYTES_PER_BYTE * total),
        seconds=SECONDS_PER_MB * total / 1e6,
    )


def check_room(forecast: TextForecast, folder: Path) -> None:
    """Raise when the disk of an existing folder has too little room for preparing text.

    Raises:
        CorpusError: Names the room that is needed, the room there is, and the ways out.
    """
    free = shutil.disk_usage(folder).free
    if forecast.text_bytes >= ROOM_CHECK_BYTES and forecast.disk_bytes > free:
        raise CorpusError(
            folder,
            f"preparing {forecast.text_bytes / 1e9:.1f} GB of text needs "
            f"{forecast.disk_bytes / 1e9:.1f} GB of disk, and {free / 1e9:.1f} GB are free; free "
            "some space, train into another folder by --out, or take less text by corpus.paths "
            "or corpus.domain_bytes_max",
        )
