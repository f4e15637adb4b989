"""Start the fork server of a private Ray, watch it, and restart it when it dies.

Without the server every worker starts as a new Python: slower, and with more memory.

Ray starts its workers by `worker_command`: the public setting `py_executable` of a Ray runtime
environment takes any command in place of Python.
"""

import logging
import select
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cluster.fork_server import client, server
from cluster.subprocesses import module_command
from constellation.settings import child_environment

logger = logging.getLogger(__name__)

SOCKET: Final = "forks/orders"
"""Name of the server's socket in the private folder."""
LOG: Final = "forks/server.log"
"""Name of the server's log in the private folder; the log is empty unless something is wrong."""
_SHELL: Final = "bash"
"""Shell script by which Ray runs the command of a worker."""
_READY_S: Final = 60.0
_END_S: Final = 5.0
_PAUSE_S: Final = 1.0
"""Seconds before a server that ended is restarted; doubled after each restart that fails."""
_PAUSE_MAX_S: Final = 600.0


def worker_command(folder: Path) -> str | None:
    """Return the command with which Ray starts forked workers; None where none can be forked.

    No file in the folder for temporary files is part of it, so that no cleaner of old files can
    keep workers from starting.
    """
    if sys.platform != "linux" or shutil.which(_SHELL) is None:
        return None
    return shlex.join((sys.executable, "-I", "-S", client.__file__, str(folder / SOCKET)))


class ForkServer:
    """The process that the workers of one Ray are forked from, with its supervision.

    `check` does all the work and never waits, so that it can be called every second.
    """

    def __init__(self, raylet: int, folder: Path, modules: Sequence[str], *, job: str) -> None:
        """Store the options; the server is not started yet.

        Args:
            raylet: Id of the process that starts the workers, which they do not outlive.
            folder: The private folder, as in `worker_command`.
            modules: What workers have imported when they start.
            job: Ray's name of the job whose workers they are, in hexadecimal digits.
        """
        self._folder = folder
        self._arguments = (str(folder / SOCKET), str(raylet), *modules)
        # Ray sets these for its workers, and reads them when it is imported.
        of_ray = {"RAY_RAYLET_PID": str(raylet), "RAY_JOB_ID": job}
        # numpy's BLAS would start threads; Ray gives its workers one for torch's, too.
        one_thread = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._environment = child_environment(of_ray | one_thread)
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._started_s = self._due_s = 0.0
        self._pause_s = _PAUSE_S
        self.problem = "it has not started yet"
        """Why no worker can be forked now; empty while workers can be."""

    def start(self, now_s: float) -> None:
        """Start the server and wait until it accepts orders or has failed."""
        self.check(now_s)
        if self._process is not None and self._process.stdout is not None:
            select.select([self._process.stdout], [], [], _READY_S)
        self.check(now_s + _READY_S)

    def check(self, now_s: float) -> None:
        """Restart a server that has ended, once a restart is due; end one that cannot be used."""
        if self._process is None:
            if now_s >= self._due_s:
                self._spawn(now_s)
        elif self._process.poll() is not None:
            self._failed(self._last_words(), now_s)
        elif not self._ready:
            self._look_whether_ready(now_s)
        elif not (self._folder / SOCKET).exists():
            self._failed("its socket was removed", now_s)

    def close(self) -> None:
        """End the server; workers that were forked keep running."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()  # it holds nothing, and one that was stopped would not see a request
        with suppress(subprocess.TimeoutExpired):  # it waits for a disk
            process.wait(timeout=_END_S)
        if process.stdout is not None:
            process.stdout.close()

    def _spawn(self, now_s: float) -> None:
        self._started_s, self._ready = now_s, False
        try:
            (self._folder / SOCKET).parent.mkdir(mode=0o700, exist_ok=True)
            (self._folder / SOCKET).unlink(missing_ok=True)
            with (self._folder / LOG).open("wb") as log:
                self._process = subprocess.Popen(
                    module_command(server.__name__, *self._arguments),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    cwd=self._folder,
                    env=self._environment,
                )
        except OSError as error:
            self._failed(str(error), now_s)

    def _look_whether_ready(self, now_s: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        said, _, _ = select.select([self._process.stdout], [], [], 0)
        if said and self._process.stdout.read(1) == server.READY:
            self._ready, self._pause_s, self.problem = True, _PAUSE_S, ""
        elif said:  # it has closed its output: what it had to say is said
            self._failed(self._last_words(), now_s)
        elif now_s - self._started_s >= _READY_S:
            self._failed(f"it took no orders within {_READY_S:.0f} s", now_s)

    def _failed(self, reason: str, now_s: float) -> None:
        self.close()
        self._ready, self.problem = False, reason
        self._due_s = now_s + self._pause_s
        logger.warning(
            "no worker can be forked; workers start as Pythons of their own",
            extra={"reason": reason, "next_try_s": self._pause_s},
        )
        self._pause_s = min(_PAUSE_MAX_S, 2 * self._pause_s)

    def _last_words(self) -> str:
        assert self._process is not None
        try:
            log = (self._folder / LOG).read_text(encoding="utf-8", errors="replace")
        except OSError:
            log = ""
        last = log.strip().splitlines()[-1:]
        return "".join(last) or f"it {_ending(self._process.returncode)}"


def _ending(code: int | None) -> str:
    if code is None:
        return "closed its output"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
