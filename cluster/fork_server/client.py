"""Stand in for the Python executable: fork Ray workers from the server, exec Python otherwise.

Run as `python -I -S client.py SOCKET ARGUMENT ...`. Every worker's start waits for this program, so
it imports little, and nothing of this project. When the server cannot fork a worker, the worker is
started as a new Python, as Ray does by itself.
"""

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("!iII")
"""Header of an order: the worker's `oom_score_adj` (how soon the system kills it when memory runs
out; man 5 proc), which Ray has set for this process, and the sizes in bytes of the arguments and of
the environment, which follow in the system's own format."""
FORKED: Final = b"+"
"""Byte by which the server confirms that a worker was forked."""

_WORKER: Final = "default_worker.py"
_ANSWER_S: Final = 10.0


def main() -> None:
    """Order a forked worker from the server, or exec Python with the given arguments."""
    server, *arguments = sys.argv[1:]
    wanted = bool(arguments) and Path(arguments[0]).name == _WORKER
    if not (wanted and ordered(server, arguments)):
        os.execv(sys.executable, [sys.executable, *arguments])


def ordered(server: str, arguments: list[str]) -> bool:
    """Order a worker with this process's streams and environment; return whether it was forked.

    Args:
        server: Path of the server's socket.
        arguments: The program's path and its arguments.
    """
    packed = b"\0".join(map(os.fsencode, arguments))
    environment = Path("/proc/self/environ").read_bytes()
    score = int(Path("/proc/self/oom_score_adj").read_text(encoding="utf-8"))
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(server)
            header = HEADER.pack(score, len(packed), len(environment))
            socket.send_fds(connection, [header], [0, 1, 2])
            connection.sendall(packed + environment)
            return connection.recv(1) == FORKED
    except OSError as error:
        sys.stderr.write(f"no worker was forked ({error}); it starts as a new Python\n")
        return False


if __name__ == "__main__":
    main()
