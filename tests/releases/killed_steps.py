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
from pathlib import Path
from typing import Any

from constellation.releases.store import ReleaseStore
from tests.releases.drafts import check_whole, draft, expected_files, files_in, write

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

OUTCOMES_MAX = 400


def prepare(store: ReleaseStore) -> None:
    """Leave release 1 with its folder, which is served, and 2, which is not."""
    for number, mark in enumerate(("first", "second"), start=1):
        write(store, mark, parent=number - 1 or None)
        check_whole(store, 1)
    store.switch(1)


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
MAY_BE_THERE: dict[str, list[tuple[int, ...]]] = {"write": [(1, 2), (1, 2, 3)]}


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
    template = folder / "template"
    (folder / "source").write_bytes(b"large" * 1000)
    prepare(ReleaseStore(template))
    if (
        operation == "prune"
    ):  # something must go: a third is served, so that the first is not needed
        write(ReleaseStore(template), "third", parent=2)
    killed: list[str] = []
    problems: list[str] = []
    for step in range(1, OUTCOMES_MAX):
        artifacts = folder / "artifacts"
        shutil.rmtree(artifacts, ignore_errors=True)
        shutil.copytree(template, artifacts)
        store = ReleaseStore(artifacts)
        event, told_at = [], os.pipe()
        code = forked(lambda: kill_at(step, told_at[1], OPERATIONS[operation], store))
        os.close(told_at[1])
        with os.fdopen(told_at[0]) as told:
            event = told.read().split()
        if code == 0:
            break
        assert code == -signal.SIGKILL, code
        killed += event
        if forked(lambda: look(store, operation)):
            problems.append(f"step {step}, {event}")
    print(json.dumps({"killed": killed, "problems": problems, "ended": code == 0}))


def kill_at(
    step: int, told: int, operation: Callable[[ReleaseStore], None], store: ReleaseStore
) -> None:
    left = step

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left == 0:
                os.write(told, event.encode())
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)
    operation(store)


def forked(run: Callable[[], None]) -> int:
    """Run a function in a process of its own; return its exit code, below 0 for a signal."""
    process = os.fork()
    if not process:
        try:
            run()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
