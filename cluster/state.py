"""The state file of a running constellation: how the command line finds it again."""

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from constellation.errors import ArtifactError, DeploymentError
from constellation.files import write_whole

logger = logging.getLogger(__name__)

STATE_FILE = "constellation.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunState:
    """One running constellation."""

    pid: int
    """Process id of the launcher that everything else descends from."""
    started: float
    """The launcher's start time in seconds since the epoch: process ids are used again."""
    endpoint: str
    """host:port for clients, of the first router."""
    artifacts: str
    kernels: tuple[str, ...]
    http: str | None = None
    """Base URL for OpenAI's clients; None without HTTP."""
    metrics: str | None = None
    """host:port of the metrics of all processes together."""
    endpoints: tuple[str, ...] = ()
    """host:port of every router, the first one's first; empty means `endpoint` alone."""

    def alive(self) -> bool:
        """Return True while the launcher that wrote this runs."""
        try:
            process = psutil.Process(self.pid)
            zombie = process.status() == psutil.STATUS_ZOMBIE
            return abs(process.create_time() - self.started) < 1 and not zombie
        except psutil.NoSuchProcess:
            return False


def own_start_time() -> float:
    """Return when this process started, seconds since the epoch."""
    return float(psutil.Process(os.getpid()).create_time())


def pack_state(state: RunState) -> bytes:
    """Return what the state file holds."""
    return json.dumps(asdict(state), indent=1).encode() + b"\n"


def write_state(run_dir: Path, state: RunState) -> None:
    """Write the state file, whole or not at all."""
    write_whole(run_dir / STATE_FILE, pack_state(state))


def remove_state(run_dir: Path) -> None:
    """Remove the state file; one that cannot be removed names a process that is gone."""
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
