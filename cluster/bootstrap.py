"""Start a private Ray on loopback or join a Ray cluster; the only file that calls ray.init."""

import contextlib
import functools
import logging
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Final

import psutil

from actors.spec import StartState
from cluster import ray_versions
from cluster.fork_server.supervision import ForkServer, worker_command
from cluster.listening_check import check_loopback
from cluster.private_folder import held, private_folder, ray_part
from constellation.errors import DeploymentError
from constellation.loopback import LOOPBACK_ADDRESS, host_of, is_loopback
from constellation.secret_files import read_secret
from constellation.settings import (
    absolute_module_paths,
    apply_environment,
    clear_environment,
)

logger = logging.getLogger(__name__)

NAMESPACE = "constellation"
_RAY_WORKER = "ray._private.workers.default_worker"
"""Module that Ray runs as a worker process."""
_PRODUCTS_MAX = "64"
_OBJECT_STORE_BYTES = 100 * 1024 * 1024  # requests and weights never pass through it

# Named for other systems, but on every one it keeps the node on loopback; without it Ray
# replaces loopback by the machine's address and all its servers listen everywhere.
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}

_LATE: Final = "timed out"
"""Part of Ray's error message when one of its own processes was not ready in time."""

_UNFORKED: Final = (
    "processes that start now take seconds longer and share no memory, since none can be forked"
)

ADVICE: Final = (
    f"install a Ray that was tried: pip install 'ray[default,train]{ray_versions.TRIED}', or join "
    "a Ray that you protect yourself: constellation up --address"
)
"""Way out for the user when a private Ray listens on more than loopback."""


@functools.cache
def prepare_environment() -> None:
    """Set the variables that Ray reads when it is imported; once, before this process does that.

    Variables of Ray that were set before are removed. They are meant for another Ray: among them
    are the address of a cluster to join, and that of a database to keep the state in.

    The token is drawn once per process, because Ray remembers the first it sees.
    """
    if "ray" in sys.modules:
        raise DeploymentError(
            "Ray was imported before its environment was set; call prepare_environment() first"
        )
    clear_environment("RAY_")
    absolute_module_paths()
    apply_environment(_environment(secrets.token_hex(32)))


def _environment(token: str) -> dict[str, str]:
    return {
        # With the mode unset Ray writes a token into the home directory and turns it on later.
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "RAY_USAGE_STATS_ENABLED": "0",
        **_LOOPBACK_ONLY,
        # Under `uv run` it would replace the command of the workers, and upload the working folder.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
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


class OwnRay:
    """A running private Ray, and the supervision of the processes it needs to start workers."""

    def __init__(self, folder: Path, forks: ForkServer | None) -> None:
        """Record which files Ray needs, so that `check` can find them missing.

        Args:
            folder: The private folder.
            forks: The server that forks workers; None when every worker starts as a new Python.
        """
        self.folder = ray_part(folder)
        """Where Ray has its logs and sockets."""
        self._forks = forks
        self._sockets = tuple(self.folder.glob("session_2*/sockets/*"))

    def check(self) -> StartState:
        """Supervise the fork server; return how workers can be started now. Never blocks."""
        if self._forks is not None:
            self._forks.check(time.monotonic())
        if not all(path.exists() for path in self._sockets):
            return StartState(
                can_start=False,
                forked=None if self._forks is None else False,
                problem=f"no process can be started again, since {self.folder} was emptied; "
                "restart with: constellation down, up",
            )
        if self._forks is None:
            return StartState()
        problem = self._forks.problem
        return StartState(forked=not problem, problem=problem and f"{_UNFORKED}: {problem}")


@contextmanager
def local_ray(
    *,
    num_cpus: int,
    dashboard: bool,
    folder: Path | None = None,
    preloaded: Sequence[str] = (),
) -> Iterator[OwnRay]:
    """Run a private Ray on loopback, protected by a random token, and stop it when the block ends.

    Args:
        num_cpus: What tasks may claim. With 0 Ray keeps no idle workers, which saves their memory;
            our actors claim none.
        dashboard: Ray Train logs errors without it; serving does not need it.
        folder: A private folder for logs and sockets; None makes one and removes it afterwards.
        preloaded: Modules that workers have imported when they start, since they are forked from
            one process. Empty: every worker is a Python of its own, as it is where no worker can be
            forked.

    Raises:
        DeploymentError: Ray does not start.
        NotOnLoopback: A process of Ray's listens where other machines can reach it.
    """
    prepare_environment()
    if note := ray_versions.untried():
        logger.warning(note)
    with nullcontext(folder) if folder else private_folder() as private, held(private):
        command = worker_command(private) if preloaded else None
        try:
            _start(private, command, num_cpus=num_cpus, dashboard=dashboard)
            check_loopback(ADVICE)
            with _forking(private, preloaded) if command else nullcontext() as forks:
                yield OwnRay(private, forks)
        finally:
            import ray

            ray.shutdown()


def _start(private: Path, command: str | None, *, num_cpus: int, dashboard: bool) -> None:
    import ray  # after the environment is set: Ray reads it at import

    try:
        # Ray's processes, and what they start, search their working directory for modules.
        with contextlib.chdir(ray_part(private)):
            ray.init(
                address="local",
                num_cpus=num_cpus,
                namespace=NAMESPACE,
                include_dashboard=dashboard,
                object_store_memory=_OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
                runtime_env={"py_executable": command} if command else None,
                _temp_dir=str(ray_part(private)),
                _node_ip_address=LOOPBACK_ADDRESS,
            )
    except Exception as error:  # Ray raises Exception itself when a process of its own is late
        raise DeploymentError(f"Ray did not start: {error}{_hint(error)}") from error


def _hint(error: Exception) -> str:
    late = _LATE in str(error).lower()
    return "; try again when the machine is less busy" if late else ""


@contextmanager
def _forking(private: Path, preloaded: Sequence[str]) -> Iterator[ForkServer]:
    import ray

    job = ray.get_runtime_context().get_job_id()
    forks = ForkServer(raylet().pid, private, (_RAY_WORKER, *preloaded), job=job)
    try:
        forks.start(time.monotonic())
        yield forks
    finally:
        forks.close()


def raylet() -> psutil.Process:
    """Return the raylet: the process that starts the workers of the Ray started by this process.

    Raises:
        DeploymentError: This process runs no Ray.
    """
    for child in psutil.Process().children(recursive=True):
        if child.name() == "raylet":
            return child
    raise DeploymentError("no raylet runs below this process: it has no Ray, or that has ended")


def num_gpus() -> float:
    """Return the GPUs of the Ray that this process started or joined."""
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get("GPU", 0.0)


@contextmanager
def joined_ray(address: str, token_file: Path | None = None) -> Iterator[None]:
    """Join a running Ray cluster, and disconnect from it when the block ends.

    Args:
        address: host:port of the cluster's head.
        token_file: File with the cluster's token; None leaves Ray's own environment variables in
            force.

    Raises:
        ConfigError: The token file cannot be read.
        DeploymentError: No cluster answers at `address`, or the cluster refuses to be joined.
    """
    if is_loopback(host_of(address)):
        apply_environment(_LOOPBACK_ONLY)
    if token_file is not None:
        # Said explicitly: with the mode unset Ray decides by files in the home directory.
        clear_environment("RAY_AUTH_TOKEN")
        token = read_secret(token_file, "token file of Ray")
        apply_environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token})
    import ray

    try:
        ray.init(
            address=address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
        )
    except Exception as error:  # Ray raises errors of many kinds here
        raise DeploymentError(f"the Ray cluster at {address} was not joined: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()
