"""Runs commands as programs of their own, with strange streams, and prints what became of them.

Run as `python -m tests.cli.program_run < cases.json`. Python and torch are loaded once, and every
case is a fork of that.
"""

import importlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from typing import Any

HEAVY = ("torch", "grpc", "cluster.cli.main", "constellation.client", "training.pipeline")
"""What commands import when they run, imported before the first fork."""


def main() -> None:
    for name in HEAVY:
        importlib.import_module(name)
    cases = json.load(sys.stdin)
    sys.stdout.write(json.dumps([KINDS[case.pop("kind")](**case) for case in cases]))


def strange_streams(arguments: list[str], streams: str) -> dict[str, Any]:
    """Run a command whose standard streams are full, closed or unread; return how it ended."""
    with tempfile.TemporaryFile() as heard:

        def prepare() -> None:
            os.dup2(heard.fileno(), 2)
            _replace(0, os.open(os.devnull, os.O_RDONLY))
            _replace(1, os.open(os.devnull, os.O_WRONLY))
            STREAMS[streams]()

        code = _forked(lambda: _run(arguments, prepare))
        heard.seek(0)
        return {"code": code, "heard": heard.read().decode()}


def slow_part(arguments: list[str], slow: str) -> dict[str, Any]:
    """Run a command one part of which takes until it has been heard of; return what was heard.

    Args:
        arguments: The command.
        slow: "module:function", the part; it ends the program.
    """
    heard_end, said_end = os.pipe()
    waited_end, go_on_end = os.pipe()
    out_end, print_end = os.pipe()

    def prepare() -> None:
        _replace(0, os.open(os.devnull, os.O_RDONLY))
        os.dup2(print_end, 1)
        os.dup2(said_end, 2)
        for end in (heard_end, said_end, go_on_end, out_end, print_end):
            os.close(end)
        _make_slow(slow, waited_end)

    process = _start(lambda: _run(arguments, prepare))
    for end in (said_end, waited_end, print_end):
        os.close(end)
    with os.fdopen(heard_end) as heard, os.fdopen(out_end) as out:
        first = heard.readline()
        second = heard.readline()
        os.close(go_on_end)
        heard.read()
        printed = out.read()
    return {"lines": [first, second], "printed": printed, "code": _code(process)}


def _make_slow(slow: str, waited_end: int) -> None:
    from cluster.cli import progress_lines

    progress_lines.SILENCE_FIRST_S = progress_lines.SILENCE_S = progress_lines.LOOK_S = 0.05
    module, _, name = slow.partition(":")

    def wait(*_: Any, **__: Any) -> None:
        os.read(waited_end, 1)
        raise SystemExit(0)

    setattr(importlib.import_module(module), name, wait)


def _full() -> None:
    _replace(1, os.open("/dev/full", os.O_WRONLY))


def _closed() -> None:
    os.close(1)


def _unread() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    _replace(1, writer)


def _complaints_full() -> None:
    _replace(2, os.open("/dev/full", os.O_WRONLY))


def _complaints_closed() -> None:
    os.close(2)


STREAMS: dict[str, Callable[[], None]] = {
    "good": lambda: None,
    "full": _full,
    "closed": _closed,
    "unread": _unread,
    "complaints full": _complaints_full,
    "complaints closed": _complaints_closed,
}
KINDS = {"streams": strange_streams, "slow": slow_part}


def _replace(number: int, other: int) -> None:
    os.dup2(other, number)
    os.close(other)


def _run(arguments: list[str], prepare: Callable[[], None]) -> None:
    prepare()
    sys.stdout, sys.stderr = _opened(1), _opened(2)
    sys.argv = ["constellation", *arguments]
    importlib.import_module("cluster.cli.main").main()


def _opened(number: int) -> Any:
    """Return the stream that Python makes of a descriptor at its start; None for a closed one."""
    try:
        os.fstat(number)
    except OSError:
        return None
    return open(number, "w", buffering=number - 1 or -1, closefd=False)


def _forked(run: Callable[[], None]) -> int:
    return _code(_start(run))


def _start(run: Callable[[], None]) -> int:
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        run()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 98
        if sys.stdout is not None:
            sys.stdout.flush()  # as Python does at the end
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _code(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main()
