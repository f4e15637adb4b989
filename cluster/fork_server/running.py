"""Start a fork server for a Ray of our own, and have that Ray order its workers there."""

import select
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster.fork_server import client, server
from constellation.errors import DeploymentError
from constellation.settings import child_environment

SOCKET: Final = "forks/orders"
"""Inside Ray's folder."""
LOG: Final = "forks/server.log"
"""Inside Ray's folder: what the server has to say, which should be nothing."""
_COMMAND: Final = "forks/python"
_READY_S: Final = 60.0
_END_S: Final = 5.0


def write_interpreter(folder: Path) -> Path:
    """Write the program that orders workers, and is Python for all else; return its path.

    Args:
        folder: Ray's.
    """
    command = folder / _COMMAND
    command.parent.mkdir(mode=0o700, exist_ok=True)
    words = (sys.executable, "-I", "-S", client.__file__, str(folder / SOCKET))
    command.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    command.chmod(0o700)
    return command


def is_runnable(command: Path) -> bool:
    """Say whether a written interpreter runs: folders for temporary files may hold no programs."""
    try:
        done = subprocess.run([command, "-c", ""], timeout=_READY_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


@contextmanager
def forking_interpreter(command: Path) -> Iterator[None]:
    """Let a Ray that is started meanwhile run its Python by a written interpreter.

    Ray starts all its Python by the path in `sys.executable`, and offers no setting for it.
    """
    python = sys.executable
    sys.executable = str(command)
    try:
        yield
    finally:
        sys.executable = python


@contextmanager
def fork_server(raylet: int, folder: Path, modules: Sequence[str], *, job: str) -> Iterator[None]:
    """Run the server from which the workers of this process's Ray are forked.

    Args:
        raylet: Id of the process that starts the workers, which they do not outlive.
        folder: Ray's, as told to `write_interpreter`.
        modules: What workers have imported when they start.
        job: Ray's name of the job whose workers they are, in hexadecimal digits.

    Raises:
        DeploymentError: It does not come up.
    """
    (folder / SOCKET).unlink(missing_ok=True)
    # What Ray tells its workers, and reads when it is imported.
    told = {"RAY_RAYLET_PID": str(raylet), "RAY_JOB_ID": job}
    # numpy's BLAS would start threads; Ray gives its workers one for torch's, too.
    one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", server.__name__, str(folder / SOCKET), str(raylet), *modules]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=child_environment(told | one_thread),
        )
    try:
        _wait_for(process, folder / LOG)
        yield
    finally:
        process.kill()  # it holds nothing, and one that was stopped would not hear a request
        process.wait(timeout=_END_S)


def _wait_for(process: "subprocess.Popen[bytes]", log: Path) -> None:
    assert process.stdout is not None
    with process.stdout as told:
        ready, _, _ = select.select([told], [], [], _READY_S)
        if not ready or told.read(1) != server.READY:
            said = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise DeploymentError(
                f"the process from which workers are forked did not come up within {_READY_S:.0f} "
                f"s: {''.join(said) or 'it said nothing'}"
            )
