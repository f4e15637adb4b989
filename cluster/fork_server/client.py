"""What our own Ray runs in place of Python: it has workers forked, and is Python for all else.

Run as `python -I -S client.py SOCKET ARGUMENT ...`. Every worker waits until this is done, so it
imports little, and nothing of ours. Where no fork is to be had, the worker starts as Ray means it.
"""

import os
import socket
import struct
import sys
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("!iII")
"""How soon the worker is to be killed for its memory (`oom_score_adj` of man 5 proc, which Ray has
set for us), and the bytes of the arguments and of the environment, which follow as the system keeps
them."""
FORKED: Final = b"+"
"""The server's answer."""

_WORKER: Final = "default_worker.py"
_ANSWER_S: Final = 10.0


def main() -> None:
    """Order a worker from the server, or become what the arguments say."""
    server, *arguments = sys.argv[1:]
    wanted = bool(arguments) and Path(arguments[0]).name == _WORKER
    if not (wanted and ordered(server, arguments)):
        os.execv(sys.executable, [sys.executable, *arguments])


def ordered(server: str, arguments: list[str]) -> bool:
    """Have a worker forked that has our input, output and environment; say whether it was.

    Args:
        server: Path of the server's socket.
        arguments: The program, and what it is told.
    """
    told = b"\0".join(map(os.fsencode, arguments))
    environment = Path("/proc/self/environ").read_bytes()
    score = int(Path("/proc/self/oom_score_adj").read_text(encoding="utf-8"))
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_S)
            connection.connect(server)
            header = HEADER.pack(score, len(told), len(environment))
            socket.send_fds(connection, [header], [0, 1, 2])
            connection.sendall(told + environment)
            return connection.recv(1) == FORKED
    except OSError as error:
        sys.stderr.write(f"no worker was forked ({error}); it starts by itself\n")
        return False


if __name__ == "__main__":
    main()
