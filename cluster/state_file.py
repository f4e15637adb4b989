"""Read and write the state file by which the command line finds a running constellation."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, DeploymentError

logger = logging.getLogger(__name__)

STATE_FILE = "constellation.json"

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_ENDED = frozenset("ZXx")
"""States of a process that has ended but is still listed."""
_START_TIME = 18
"""Position of field 22 of /proc/PID/stat (start time) after field 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """Process and addresses of one running constellation."""

    pid: int
    """Process id of the launcher, from which all other processes descend; on a Ray cluster, of the
    process that watches the registry."""
    started: str
    """Start mark of this process (see `start_mark`), since process ids are used again."""
    endpoint: str
    """host:port of the first router, for clients."""
    artifacts: str
    kernels: tuple[str, ...]
    http: str | None = None
    """Base URL of the OpenAI-compatible HTTP API; None without HTTP."""
    metrics: str | None = None
    """host:port of the metrics of all processes together."""
    endpoints: tuple[str, ...] = ()
    """host:port of every router, the first one's first; empty means `endpoint` alone."""
    address: str | None = None
    """host:port of the Ray cluster on which the constellation runs; None for a private Ray."""
    name: str = "default"
    """Name of the deployment on the cluster."""

    def alive(self) -> bool:
        """Return True while the process that wrote this runs."""
        return start_mark(self.pid) == self.started


def start_mark(pid: int) -> str | None:
    """Return a mark that no other process with the same id has; None when the process has ended.

    The mark names the boot of the machine and the ticks from that boot to the process's start. A
    time of day would change with every correction of the clock.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # man 5 proc: the name may hold blanks and ends at the last parenthesis; state is field 3.
    state, *rest = stat.rpartition(")")[2].split()
    if state in _ENDED:
        return None
    return f"{_BOOT_ID.read_text(encoding='utf-8').strip()} {rest[_START_TIME]}"


def own_start_mark() -> str:
    """Return `start_mark` of this process."""
    mark = start_mark(os.getpid())
    assert mark is not None  # this process runs
    return mark


def pack_state(state: RunState) -> bytes:
    """Return the bytes of the state file."""
    return json.dumps(asdict(state), indent=1).encode() + b"\n"


def write_state(run_dir: Path, state: RunState) -> None:
    """Write the state file atomically."""
    write_whole(run_dir / STATE_FILE, pack_state(state))


def remove_state(run_dir: Path) -> None:
    """Remove the state file; a failure is harmless, since the file then names an ended process."""
    try:
        (run_dir / STATE_FILE).unlink(missing_ok=True)
    except OSError as error:
        facts = {"path": str(run_dir / STATE_FILE), "reason": error.strerror}
        logger.warning("state file is not removed", extra=facts)


def running(run_dir: Path) -> RunState | None:
    """Return the constellation that runs from `run_dir`, or None.

    Raises:
        ArtifactError: The state file is damaged.
    """
    path = run_dir / STATE_FILE
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = {name: tuple(content[name]) for name in ("kernels", "endpoints")}
        state = RunState(**{**content, **listed})
    except (ValueError, TypeError, KeyError) as error:
        raise ArtifactError(path, "is not a state file; remove it if nothing runs") from error
    return state if state.alive() else None


def require_running(run_dir: Path) -> RunState:
    """Return the constellation that runs from `run_dir`, or raise `DeploymentError`."""
    state = running(run_dir)
    if state is None:
        raise DeploymentError(f"nothing runs from {run_dir}; start it with: constellation up")
    return state


def memory_bytes(pid: int) -> int:
    """Return the proportional memory (PSS) of a process and all its descendants, in bytes."""
    total = 0
    processes = [psutil.Process(pid)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue  # ended since it was listed
    return total
