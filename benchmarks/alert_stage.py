"""The constellation of `benchmarks.alerts_fired`: its processes and its callers."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.disks_disturbances import Disks
from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus, RetryPolicy
from constellation.errors import ConstellationError

MISTAKE = """
import pathlib
import constellation.runtime.supervisor as supervisor

overdue = supervisor.Supervisor.overdue

def overdue_with_a_mistake(self, *, now_s):
    if pathlib.Path({flag!r}).exists():
        raise ZeroDivisionError("planted by benchmarks.alerts_fired")
    return overdue(self, now_s=now_s)

supervisor.Supervisor.overdue = overdue_with_a_mistake
"""
"""A `sitecustomize.py`, which Python imports when it starts: the supervision of the registry has a
mistake while a file exists."""
_PAUSE_S = 0.05


@dataclass(frozen=True, slots=True)
class Stage:
    """A running constellation with several kernels and two routers."""

    state: RunState
    disks: Disks
    flag: Path
    """While this file exists, supervision makes the planted mistake."""
    training: Path
    """Folder of a tiny recipe whose training becomes unstable."""

    @property
    def artifacts(self) -> Path:
        """The artifacts folder that is served."""
        return Path(self.state.artifacts)

    def status(self) -> ConstellationStatus:
        """Return what a router knows, once one answers.

        Raises:
            TimeoutError: No router has answered for half a minute.
        """
        pause = threading.Event()
        for _ in range(150):
            with suppress(ConstellationError), Client(self.state.endpoints) as stars:
                return stars.status(timeout_s=2)
            pause.wait(0.2)
        raise TimeoutError("no router answers")

    def pid_of(self, member: str) -> int:
        """Return the process of a router, the registry or a kernel; 0 while it is down."""
        status = self.status()
        if member == "registry":
            return status.registry_pid
        pids = {each.name: each.pid for each in (*status.kernels, *status.routers)}
        return pids[member]

    def workers(self) -> dict[int, str]:
        """Return process id -> name of the actors' class, such as ray::KernelProcess."""
        found = {}
        for child in psutil.Process(self.state.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if child.name().endswith("Process"):
                    found[child.pid] = child.name()
        return found

    def fork_servers(self) -> list[int]:
        """Return the process ids of the fork server: one, or none."""
        children = psutil.Process(self.state.pid).children()
        return [each.pid for each in children if "cluster.fork_server.server" in each.cmdline()]


def send(pid: int, number: int) -> None:
    """Send a signal to a process of the constellation; an ended process is no error."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """Stop a process while the block runs."""
    send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        send(pid, signal.SIGCONT)


@contextmanager
def repeated(action: Callable[[], object], num_threads: int = 1) -> Iterator[None]:
    """Do something again and again in threads while the block runs; typed errors are no reason."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            with suppress(ConstellationError, psutil.Error, TimeoutError):
                action()
            stop.wait(_PAUSE_S)

    threads = [threading.Thread(target=work) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Callers:
    """Asks a constellation without retries; the action of `repeated`."""

    def __init__(self, stage: Stage, texts: list[str], **options: object) -> None:
        self._clients = threading.local()
        self._endpoint = stage.state.endpoint
        self._texts = texts
        self._options = options
        self._count = 0

    def _client(self) -> Client:
        if not hasattr(self._clients, "own"):
            self._clients.own = Client(self._endpoint, retries=RetryPolicy(attempts_max=1))
        own: Client = self._clients.own
        return own

    def ask(self) -> None:
        """Stream an answer to the next text."""
        self._count += 1
        text = self._texts[self._count % len(self._texts)]
        with self._client().stream(text, timeout_s=30, **self._options) as pieces:  # type: ignore[arg-type]
            for _ in pieces:
                pass
