"""Read how full and how busy the GPUs of this machine are, from NVIDIA's program nvidia-smi.

The program belongs to the driver, so that a machine without it has no GPU that kernels could use.
CUDA itself is not asked: a process that asks CUDA takes hundreds of megabytes of every GPU.
"""

import shutil
import subprocess
from dataclasses import dataclass
from typing import Final

PROGRAM: Final = "nvidia-smi"
ANSWER_S: Final = 2.0
"""Seconds that the program may take; a driver that hangs leaves the GPUs out."""
_FIELDS: Final = "index,memory.total,memory.used,utilization.gpu"
_MIB: Final = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuReading:
    """Memory and load of one GPU at one moment."""

    name: str
    """As kernels name the device: "cuda:0" for the first GPU of the machine."""
    memory_bytes: int
    """All memory of the GPU."""
    memory_free_bytes: int
    """Memory that no process uses; high is good."""
    busy_ratio: float
    """Share of the last moments in which the GPU computed, [0, 1]; NaN if the GPU does not say."""


def read_gpus() -> tuple[GpuReading, ...]:
    """Return the GPUs of this machine; none where the program is missing, fails or hangs."""
    program = shutil.which(PROGRAM)
    if program is None:
        return ()
    command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=ANSWER_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    found = map(_reading, done.stdout.splitlines())
    return tuple(gpu for gpu in found if gpu is not None)


def _reading(line: str) -> GpuReading | None:
    """Return what one line says; None for a GPU that does not tell its memory."""
    index, *words = (word.strip() for word in line.split(","))
    if len(words) != 3 or not all(word.isdecimal() for word in (index, *words[:2])):
        return None
    total, used, busy = words
    return GpuReading(
        name=f"cuda:{index}",
        memory_bytes=int(total) * _MIB,
        memory_free_bytes=(int(total) - int(used)) * _MIB,
        busy_ratio=int(busy) / 100 if busy.isdecimal() else float("nan"),
    )
