"""The accelerators of this node, as the driver's program names them; torch is not imported."""

import logging
import subprocess
from typing import Final

from constellation.records import Device

logger = logging.getLogger(__name__)

_COMMAND: Final = (
    "nvidia-smi",
    "--query-gpu=index,memory.total",
    "--format=csv,noheader,nounits",
)
_ANSWER_S: Final = 10.0


def accelerators(num_gpus: float) -> tuple[Device, ...]:
    """Return the GPUs of this node with their memory, at most as many as Ray offers.

    Args:
        num_gpus: GPUs that Ray offers on this node; with 0 no program is started.
    """
    if num_gpus < 1:
        return ()
    try:
        done = subprocess.run(
            _COMMAND, capture_output=True, encoding="utf-8", check=True, timeout=_ANSWER_S
        )
        return parsed(done.stdout)[: int(num_gpus)]
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.error("GPUs are not described", extra={"reason": str(error)})
        return ()


def parsed(table: str) -> tuple[Device, ...]:
    """Return the devices of a table with the columns index and MiB.

    Raises:
        ValueError: This is no such table.
    """
    rows = [line.split(",") for line in table.splitlines() if line.strip()]
    return tuple(
        Device(name=f"cuda:{int(index)}", memory_bytes=int(mebibytes) * 2**20)
        for index, mebibytes in rows
    )
