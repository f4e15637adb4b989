"""Serve the folder of a run by a Ray actor on the driver's node, to workers on other nodes.

Training files may pass through Ray, unlike requests and weights of serving: Ray Train needs Ray to
live in any case, the calls have Ray's token and TLS, and no port has to be opened.
"""

import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import ray
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from constellation.errors import TrainingError
from training.run_files.copied_files import CopiedFiles
from training.run_files.folder_server import FileState, FolderServer

logger = logging.getLogger(__name__)

CALL_S: Final = 60.0
"""Seconds that a call to the driver's node may take before the worker gives up."""
_COPIES: Final = Path(".cache") / "constellation" / "training"
"""Folder of the copies of runs, below the home folder of a node's user."""


class ActorCalls:
    """The calls of the server of a run's folder, answered by an actor; keeps `FolderCalls`."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def states(self, name: str) -> Mapping[str, FileState]:
        """Return the states of a file, or of all files below a folder."""
        states: Mapping[str, FileState] = self._ask("states", name)
        return states

    def read(self, name: str, offset: int) -> bytes:
        """Return at most `CHUNK_BYTES` bytes of a file."""
        return bytes(self._ask("read", name, offset))

    def write(self, name: str, content: bytes, state: FileState) -> None:
        """Write a file whole."""
        self._ask("write", name, content, state)

    def append(self, name: str, content: bytes) -> None:
        """Add bytes to the end of a file."""
        self._ask("append", name, content)

    def begin(self, name: str) -> str:
        """Return the name of a new hidden file."""
        return str(self._ask("begin", name))

    def finish(self, part: str, name: str, state: FileState) -> None:
        """Replace a file by a hidden one."""
        self._ask("finish", part, name, state)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files."""
        self._ask("remove", tuple(names))

    def _ask(self, method: str, *arguments: object) -> Any:
        try:
            return ray.get(getattr(self._actor, method).remote(*arguments), timeout=CALL_S)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, FileNotFoundError | OSError | TrainingError):
                raise error.cause from error
            raise
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError) as error:
            raise TrainingError(
                f"the node that drives the training did not answer within {CALL_S:.0f} s: {error}; "
                "run the same command again to resume from the last checkpoints"
            ) from error


@contextmanager
def served_folder(root: Path) -> Iterator[Any]:
    """Serve the folder of a run while the context lasts; yield the actor, for workers."""
    here = ray.get_runtime_context().get_node_id()
    on_driver = NodeAffinitySchedulingStrategy(here, soft=False)
    actor_class: Any = ray.remote(FolderServer)
    actor = actor_class.options(num_cpus=0, scheduling_strategy=on_driver).remote(root)
    try:
        yield actor
    finally:
        _remove_copies(root)
        ray.kill(actor)


def nodes() -> list[str]:
    """Return the ids of the nodes of the Ray cluster that live."""
    known: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [str(node["NodeID"]) for node in known if node["Alive"]]


def copied_files(actor: Any, run: Path) -> tuple[CopiedFiles, Path]:
    """Return the files of a run as a worker on this node copies them, and the folder of the copy.

    Args:
        actor: That `served_folder` yielded.
        run: Folder of the run on the driver's node.
    """
    node = ray.get_runtime_context().get_node_id()
    folder = _copies_of(run) / node
    return CopiedFiles(ActorCalls(actor), folder), folder


def _copies_of(run: Path) -> Path:
    return Path.home() / _COPIES / sha256(str(run).encode()).hexdigest()[:16]


def _remove_copies(run: Path) -> None:
    """Remove the copies of a run on all nodes that live."""
    remove = ray.remote(num_cpus=0, max_retries=0)(_remove_copy)
    left = [
        remove.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            run
        )
        for node in nodes()
    ]
    _, late = ray.wait(left, num_returns=len(left), timeout=CALL_S)
    if late:
        logger.warning("copies of a run are left on nodes", extra={"nodes": len(late)})


def _remove_copy(run: Path) -> None:
    shutil.rmtree(_copies_of(run), ignore_errors=True)
