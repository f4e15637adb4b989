"""Run the process that workers are forked from: import modules, then fork one worker per order.

Run as `python -m cluster.fork_server.server SOCKET RAYLET MODULE ...`. It writes one byte to its
standard output once it listens, and ends when the process RAYLET ends.

A worker that imports the modules itself takes two seconds of processor time and 140 MB of memory of
its own; a forked worker starts in some hundredths of a second and shares the memory pages that it
does not change. A process with one thread can be forked safely; `preload` checks that the imports
started no other thread.
"""

import gc
import logging
import os
import runpy
import select
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from cluster.fork_server.client import FORKED, HEADER
from constellation.errors import DeploymentError
from constellation.settings import replace_environment

logger = logging.getLogger(__name__)

READY: Final = b"+"
"""Byte written to standard output once the server accepts orders."""

_ORDER_S = 5.0
_ORDER_BYTES_MAX = 4 * 2**20
_WAITING_MAX = 512
_CREDENTIALS = struct.Struct("3i")  # process, user, group: man 7 unix


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A request to fork one worker."""

    arguments: list[str]
    """The program's path and its arguments."""
    environment: dict[str, str]
    """All environment variables of the worker."""
    descriptors: list[int]
    """The worker's standard input, output and error, open in this process."""
    score: int
    """The worker's `oom_score_adj`, from -1000 to 1000."""


def main() -> None:
    """Import the modules and serve orders; in a forked worker, run the ordered program."""
    path, raylet, *modules = sys.argv[1:]
    ready = os.dup(1)
    os.dup2(2, 1)  # whatever an import prints is for the log
    preload(modules)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(_WAITING_MAX)
        watched = os.pidfd_open(int(raylet))
        os.write(ready, READY)
        os.close(ready)
        order = serve(listening, watched)
    if order is not None:
        become(order, watched)


def preload(modules: list[str]) -> None:
    """Import modules and exclude their objects from later garbage collections.

    Raises:
        DeploymentError: An import started a thread, which no fork would have.
    """
    gc.disable()
    for module in modules:
        import_module(module)
    gc.freeze()
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        raise DeploymentError(
            f"importing {', '.join(modules)} started {threads - 1} threads; workers cannot be "
            "forked from a process that has any"
        )


def serve(listening: socket.socket, watched: int) -> Order | None:
    """Fork a worker for every order; return its order in the worker.

    Args:
        listening: Socket on which orders arrive.
        watched: Descriptor of the process that the server does not outlive (man 2 pidfd_open).

    Returns:
        None in the server, when that process has ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries them
    while True:
        ready, _, _ = select.select([listening.fileno(), watched], [], [])
        if watched in ready:
            return None
        connection, _ = listening.accept()
        with connection:
            connection.settimeout(_ORDER_S)
            order = _read(connection)
            if order is None:
                continue
            if os.fork() == 0:
                return order
            _close(order.descriptors)
            with suppress(OSError):  # it was killed while it waited
                connection.sendall(FORKED)


def become(order: Order, watched: int) -> None:
    """Run the ordered program in this process, as if it had just been started.

    Args:
        order: What to run.
        watched: Descriptor of the process that this one does not outlive. Ray's workers look for
            its id, which stays in use until the process was waited for.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # A session of its own, not only a process group as Ray gives its workers: when the parent of a
    # stopped process ends, the system sends SIGHUP and SIGCONT to the process's group, unless the
    # parent was of another session (man 2 setpgid). Such a worker would run on, or end.
    os.setsid()
    Path("/proc/self/oom_score_adj").write_text(str(order.score), encoding="utf-8")
    for standard, descriptor in enumerate(order.descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    replace_environment(order.environment)
    gc.enable()
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()
    sys.argv = order.arguments
    runpy.run_path(order.arguments[0], run_name="__main__")


def _end_with(watched: int) -> None:
    select.select([watched], [], [])
    os._exit(1)  # what Ray does when it finds its raylet gone


def _read(connection: socket.socket) -> Order | None:
    """Return the next order; None when the client is not ours or no longer waits."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    if _CREDENTIALS.unpack(peer)[1] != os.getuid():
        return None
    descriptors: list[int] = []
    try:
        header, descriptors, _, _ = socket.recv_fds(connection, HEADER.size, 3)
        score, *sizes = HEADER.unpack(header)
        packed, environment = _received(connection, *sizes)
        # One that has waited too long closes, and starts its worker itself: there must not be two.
        closed, _, _ = select.select([connection], [], [], 0)
        if len(descriptors) == 3 and not closed:
            return _order(packed, environment, descriptors, score)
    except (OSError, EOFError, struct.error):
        logger.warning("an order was not understood", exc_info=True)
    _close(descriptors)
    return None


def _received(connection: socket.socket, *sizes: int) -> list[bytes]:
    if sum(sizes) > _ORDER_BYTES_MAX:
        raise EOFError(f"an order of {sum(sizes)} bytes; at most {_ORDER_BYTES_MAX} are read")
    with connection.makefile("rb") as stream:
        parts = [stream.read(size) for size in sizes]
    if [len(part) for part in parts] != list(sizes):
        raise EOFError("an order ended early")
    return parts


def _order(packed: bytes, environment: bytes, descriptors: list[int], score: int) -> Order:
    pairs = (each.partition(b"=") for each in environment.split(b"\0") if each)
    return Order(
        arguments=[os.fsdecode(each) for each in packed.split(b"\0")],
        environment={os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs},
        descriptors=descriptors,
        score=score,
    )


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


if __name__ == "__main__":
    main()
