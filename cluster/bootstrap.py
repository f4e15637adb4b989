"""The only file that calls ray.init. Starts a Ray of our own on loopback, or joins a cluster."""

import functools
import logging
import secrets
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import psutil

from cluster.fork_server.running import (
    fork_server,
    forking_interpreter,
    is_runnable,
    write_interpreter,
)
from constellation.errors import DeploymentError
from constellation.settings import apply_environment
from constellation.wire.channel import LOOPBACK

logger = logging.getLogger(__name__)

NAMESPACE = "constellation"
_RAY_WORKER = "ray._private.workers.default_worker"
"""What Ray's workers run."""
_PRODUCTS_MAX = "64"
_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # requests and weights never pass through it

# Named for other systems, but on every one it keeps the node's address 127.0.0.1; without it Ray
# replaces loopback by the machine's address and all its servers listen everywhere.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@functools.cache
def prepare_environment() -> None:
    """Set the variables that Ray reads when it is imported; once, before this process does that.

    The token is drawn once per process, because Ray remembers the first it sees.
    """
    if "ray" in sys.modules:
        raise DeploymentError(
            "Ray was imported before its environment was set; call prepare_environment() first"
        )
    apply_environment(_environment(secrets.token_hex(32)))


def _environment(token: str) -> dict[str, str]:
    return {
        # With the mode unset Ray writes a token into the home directory and turns it on later.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **_LOOPBACK_ONLY,
        # Nobody reads them, and every controller and worker would count.
        "RAY_TRAIN_METRICS_ENABLED": "0",
        # Nobody takes this machine away from itself; the watcher is a process for every run.
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
        # Ray's default of 15 would let any other program on a laptop starve the kernels.
        "RAY_worker_niceness": "0",
        # glibc keeps an arena per thread; Ray's processes have dozens of threads.
        "MALLOC_ARENA_MAX": "1",
        # torch's library of products keeps one prepared for every number of rows that it has seen,
        # up to 1,024 of half a megabyte: a kernel would grow by more than it weighs.
        "LRU_CACHE_CAPACITY": _PRODUCTS_MAX,
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": _PRODUCTS_MAX,
    }


@contextmanager
def local_ray(
    *,
    num_cpus: int,
    dashboard: bool,
    namespace: str = NAMESPACE,
    folder: Path | None = None,
    preloaded: Sequence[str] = (),
) -> Iterator[Path]:
    """Run a Ray of our own on loopback, behind a token nobody else knows; stop it at the end.

    Args:
        num_cpus: What tasks may claim. With 0 Ray keeps no idle workers, which saves their memory;
            our actors claim none.
        dashboard: Ray Train logs errors without it; serving does not need it.
        namespace: Where named actors live.
        folder: For logs and sockets, with a short path; None makes one and removes it afterwards.
        preloaded: Modules that workers have imported when they start, since they are forked from
            one process; none: every worker is a Python of its own. So it is where the system is not
            Linux, or no program runs from the folder.

    Yields:
        Ray's folder for logs and sockets.

    Raises:
        DeploymentError: Ray, or the process from which workers are forked, does not start.
    """
    prepare_environment()
    import ray  # after the environment is set: Ray reads it at import

    with nullcontext(folder) if folder else ray_folder() as temporary:
        interpreter = _interpreter(temporary) if preloaded else None
        try:
            with forking_interpreter(interpreter) if interpreter else nullcontext():
                ray.init(
                    num_cpus=num_cpus,
                    namespace=namespace,
                    include_dashboard=dashboard,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=True,
                    _temp_dir=str(temporary),
                    _node_ip_address="127.0.0.1",
                )
        except Exception as error:  # Ray raises Exception itself when a process of its own is late
            ray.shutdown()
            raise DeploymentError(
                f"Ray did not start: {error}; try again when the machine is less busy"
            ) from error
        try:
            with _forking(temporary, preloaded) if interpreter else nullcontext():
                yield temporary
        finally:
            ray.shutdown()


def _interpreter(folder: Path) -> Path | None:
    """Return what has Ray's workers forked; None where each has to be a Python of its own."""
    if sys.platform != "linux":
        return None
    command = write_interpreter(folder)
    if is_runnable(command):
        return command
    logger.warning("workers are not forked: no program runs there", extra={"path": str(command)})
    return None


def _forking(folder: Path, preloaded: Sequence[str]) -> AbstractContextManager[None]:
    import ray

    job = ray.get_runtime_context().get_job_id()
    return fork_server(raylet().pid, folder, (_RAY_WORKER, *preloaded), job=job)


def raylet() -> psutil.Process:
    """Return the process that starts the workers of the Ray that this process runs.

    Raises:
        DeploymentError: There is none.
    """
    for child in psutil.Process().children(recursive=True):
        if child.name() == "raylet":
            return child
    raise DeploymentError("no raylet runs below this process: it has no Ray, or that has ended")


@contextmanager
def ray_folder() -> Iterator[Path]:
    """Make a folder for Ray's logs and sockets, and remove it at the end.

    Ray's socket paths must stay short, so it lies directly under the system's.
    """
    with tempfile.TemporaryDirectory(prefix="cst", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def joined_ray(address: str, *, namespace: str = NAMESPACE) -> Iterator[None]:
    """Join a running cluster; leave it at the end."""
    if address.partition(":")[0] in LOOPBACK:
        apply_environment(_LOOPBACK_ONLY)
    import ray

    ray.init(address=address, namespace=namespace, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()
