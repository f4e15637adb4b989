"""Run a program of this project: standard streams, progress lines, exit codes, no traceback."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable

from cluster.cli import progress_lines, standard_streams
from cluster.cli.standard_streams import EXIT_UNREAD, OutputLost

EXIT_FAILED = 1
"""Exit code of a command that failed."""
EXIT_INTERRUPTED = 130
"""Exit code after Ctrl-C, as in shells."""


def run_program(name: str, run: Callable[[], object]) -> None:
    """Run a program, and end this process with the program's exit code.

    Args:
        name: Name of the program, with which its progress lines begin.
        run: The program; returns, or raises SystemExit.
    """
    activity = standard_streams.prepare()
    with progress_lines.watched(name, activity):
        code = _exit_code(run)
    sys.exit(code)


def _exit_code(run: Callable[[], object]) -> int | str | None:
    try:
        try:
            run()
        finally:
            sys.stdout.flush()
    except OutputLost as lost:
        standard_streams.discard_output()
        if lost.is_unread:
            return EXIT_UNREAD
        print(f"error: {lost}", file=sys.stderr)
        return EXIT_FAILED
    except SystemExit as ended:
        return ended.code
    except KeyboardInterrupt:
        print(file=sys.stderr)  # the shell's prompt begins on a line of its own
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last handler there is
        print(f"error: {_unexpected(error)}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _unexpected(error: Exception) -> str:
    """Return one line for an unexpected error, and write the traceback to a file."""
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    text = "".join(traceback.format_exception(error))
    try:
        number, path = tempfile.mkstemp(prefix="constellation-error-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
    except OSError:  # no room for it: then it is better seen than lost
        return f"unexpected {said}\n{text}"
    return f"unexpected {said}; the traceback, for a report of the mistake, is in {path}"
