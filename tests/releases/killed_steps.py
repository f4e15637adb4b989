"""Kills an operation on a store at each of its steps, one after the other, and looks what is left.

Run as `python -m tests.releases.killed_steps OPERATION FOLDER`; prints one line of JSON. The steps
are the audit events of Python: the operation knows nothing of them. For the n-th step a fork of
this process runs the operation on a fresh copy of a store and sends itself SIGKILL when the step
is about to be done; another fork then looks at the store. This ends with the n that survives.
"""

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from constellation.releases.store import ReleaseStore
from tests.releases.drafts import check_whole, expected_files, files_in, write

STEPS = frozenset(
    {
        "open",
        "os.chmod",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "fcntl.flock",
        "shutil.copyfile",
        "shutil.rmtree",
        "tempfile.mkdtemp",
    }
)
"""Audit events of what touches a file system."""

STEPS_MAX = 400


def prepare(store: ReleaseStore) -> None:
    """Leave release 1 with its folder, which is served, and 2, which is not."""
    for number, mark in enumerate(("first", "second"), start=1):
        write(store, mark, parent=number - 1 or None)
        check_whole(store, 1)
    store.switch(1)


def plant_leftovers(artifacts: Path) -> None:
    """Leave what earlier processes left that were killed."""
    for name in (".current.1.2.part", "blobs/sha256/.0.1.2.part", "releases/.9.msgpack.claim"):
        (artifacts / name).touch()
    (artifacts / "releases/.9-left/kernels").mkdir(parents=True)
    (artifacts / "releases/.9-left/kernels/file").touch()


def put(store: ReleaseStore) -> None:
    with store.adding() as blobs:
        source = store.artifacts.parent / "source"
        blobs.put_file(source)
        blobs.put_bytes(b"small")


def add(store: ReleaseStore) -> None:
    write(store, "third", parent=1)


def switch(store: ReleaseStore) -> None:
    store.switch(2)


def lay_out(store: ReleaseStore) -> None:
    store.folder(2)


def lay_out_again(store: ReleaseStore) -> None:
    (store.artifacts / "releases/1/table.msgpack").unlink()
    store.folder(1)


def prune(store: ReleaseStore) -> None:
    store.prune(keep=1)


OPERATIONS: dict[str, Callable[[ReleaseStore], None]] = {
    "put": put,
    "write": add,
    "switch": switch,
    "folder": lay_out,
    "folder again": lay_out_again,
    "prune": prune,
}
MAY_BE_CURRENT = {"switch": {1, 2}}
MAY_BE_THERE: dict[str, list[tuple[int, ...]]] = {
    "write": [(1, 2), (1, 2, 3)],
    "prune": [(1, 2, 3), (1, 3)],
}


def look(store: ReleaseStore, operation: str) -> None:
    """Raise unless the store holds the old releases or the new ones, whole, and still works."""
    current = store.current()
    assert current in MAY_BE_CURRENT.get(operation, {1}), current
    assert store.versions() in MAY_BE_THERE.get(operation, [(1, 2)]), store.versions()
    for version in store.versions():
        check_whole(store, version)
    newest = write(store, "after", parent=current).version
    store.switch(newest)
    check_whole(store, newest)
    store.prune(keep=1)
    shutil.rmtree(store.artifacts / "releases" / str(current))
    shutil.rmtree(store.artifacts / "releases" / str(newest))
    assert current is not None
    assert files_in(store.artifacts) == expected_files(store, current, newest)
    folders = {path.name for path in (store.artifacts / "releases").iterdir() if path.is_dir()}
    assert folders == set(), folders


def main(operation: str, folder: Path) -> None:
    template, artifacts = ReleaseStore(folder / "template"), ReleaseStore(folder / "artifacts")
    (folder / "source").write_bytes(b"large" * 1000)
    prepare(template)
    if operation == "prune":  # release 2 is neither current, nor a parent, nor the newest
        template.folder(2)
        write(template, "third", parent=2)
    plant_leftovers(template.artifacts)
    killed: list[str] = []
    problems: list[str] = []
    ended = False
    while not ended and len(killed) < STEPS_MAX:
        shutil.rmtree(artifacts.artifacts, ignore_errors=True)
        shutil.copytree(template.artifacts, artifacts.artifacts)
        step, code = killed_at(len(killed) + 1, partial(OPERATIONS[operation], artifacts))
        ended = code == 0
        if code == -signal.SIGKILL:
            killed.append(step)
        elif not ended:
            problems.append(f"the operation failed by itself: {code}")
            break
        if forked(partial(look, artifacts, operation)):
            problems.append(f"step {len(killed)}: {step}")
    sys.stdout.write(json.dumps({"killed": killed, "problems": problems, "ended": ended}))


def killed_at(number: int, operation: Callable[[], None]) -> tuple[str, int]:
    """Run an operation that is killed at a step; return the step and the exit code."""
    heard_end, told_end = os.pipe()
    code = forked(partial(kill_at, number, told_end, operation))
    os.close(told_end)
    with os.fdopen(heard_end) as heard:
        return heard.read(), code


def kill_at(number: int, told_end: int, operation: Callable[[], None]) -> None:
    left = number

    def note(event: str, _: tuple[Any, ...]) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left == 0:
                os.write(told_end, event.encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    operation()


def forked(run: Callable[[], None]) -> int:
    """Run a function in a process of its own; return its exit code, below 0 for a signal."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 1
    try:
        run()
        code = 0
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
