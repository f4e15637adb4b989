"""A store under random operations, one after the other and by several processes at once."""

import json
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from constellation.errors import ArtifactError
from constellation.releases.store import ReleaseStore
from tests.releases.drafts import check_whole, draft, expected_files, files_in, write

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
marks = st.sampled_from(["first", "second", "third"])


class History(RuleBasedStateMachine):
    """What a store should hold, kept beside what it holds."""

    def __init__(self) -> None:
        super().__init__()
        memory = MEMORY if MEMORY.is_dir() else None
        self.folder = tempfile.TemporaryDirectory(dir=memory)
        self.contents: dict[int, str] = {}
        self.parents: dict[int, int | None] = {}
        self.current: int | None = None
        self.newest = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @property
    def store(self) -> ReleaseStore:
        """The store as a process finds it that has just started."""
        return ReleaseStore(Path(self.folder.name) / "artifacts")

    @rule(mark=marks)
    def write(self, mark: str) -> None:
        parent = self.current if self.current in self.contents else None
        release = write(self.store, mark, parent=parent)
        self.newest += 1
        assert release.version == self.newest, "versions rise by one and are never used again"
        self.contents[release.version] = release.content_sha256
        self.parents[release.version] = parent

    @precondition(lambda self: self.contents)
    @rule(data=st.data())
    def switch(self, data: st.DataObject) -> None:
        self.current = data.draw(st.sampled_from(sorted(self.contents)))
        self.store.switch(self.current)

    @precondition(lambda self: self.contents)
    @rule(data=st.data(), spoil=st.booleans())
    def lay_out(self, data: st.DataObject, spoil: bool) -> None:
        version = data.draw(st.sampled_from(sorted(self.contents)))
        if spoil:
            shutil.rmtree(self.store.folder(version) / "kernels")
        check_whole(self.store, version)

    @precondition(lambda self: self.contents)
    @rule(keep=st.integers(1, 3), data=st.data())
    def prune(self, keep: int, data: st.DataObject) -> None:
        in_use = data.draw(st.sets(st.integers(1, self.newest), max_size=2))
        stays = {*sorted(self.contents)[-keep:], *in_use}
        if self.current is not None:
            stays |= {self.current, self.parents[self.current] or self.current}
        went = sorted(set(self.contents) - stays)
        assert self.store.prune(keep, in_use=in_use).versions == tuple(went)
        for version in went:
            del self.contents[version]
        expected = expected_files(self.store, *self.contents)
        if self.current is None:
            expected.remove("current")
        found = {path for path in files_in(self.store.artifacts) if not _is_in_view(path)}
        assert found == expected

    @invariant()
    def everything_is_as_expected(self) -> None:
        assert self.store.versions() == tuple(sorted(self.contents))
        assert self.store.current() == self.current
        for version, content in self.contents.items():
            self.store.verify(version)
            assert self.store.read(version).content_sha256 == content


def _is_in_view(path: str) -> bool:
    return path.startswith("releases/") and path.count("/") > 1


History.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
test_a_store_holds_what_was_written_and_not_pruned = History.TestCase


# --- several processes --------------------------------------------------------------------------

WORK = """
import json, sys
from pathlib import Path
from tests.releases.test_histories import work
print(json.dumps(work(Path(sys.argv[1]), int(sys.argv[2]))))
"""


def work(artifacts: Path, seed: int) -> list[int]:
    """Do random operations on a store that others change too; return the versions written."""
    draw, store, written = random.Random(seed), ReleaseStore(artifacts), []
    for _ in range(40):
        try:
            match draw.randrange(4):
                case 0:
                    with store.adding() as put:
                        written.append(store.write(draft(put, f"mark {draw.randrange(5)}")).version)
                case 1:
                    store.switch(draw.choice(store.versions()))
                case 2:
                    store.folder(draw.choice(store.versions()))
                case _:
                    store.prune(keep=2)
        except ArtifactError as error:
            # Another process pruned what was chosen, or adds while this one would prune.
            if not any(told in str(error) for told in ("there is no release", "another process")):
                raise
    return written


@pytest.fixture
def artifacts() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        yield Path(folder) / "artifacts"


@pytest.mark.slow
def test_processes_that_change_a_store_at_once_leave_it_whole(artifacts: Path) -> None:
    store = ReleaseStore(artifacts)
    write(store)
    store.switch(1)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WORK, str(artifacts), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for seed in range(4)
    ]
    told = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    versions = [version for each in told for version in json.loads(each)]
    assert sorted(versions) == list(range(2, 2 + len(versions))), "each version has one writer"
    current = store.current()
    assert current in store.versions()
    for version in store.versions():
        check_whole(store, version)
    store.prune(keep=1)
    for version in store.versions():
        shutil.rmtree(store.folder(version))
    assert files_in(artifacts) == expected_files(store, *store.versions())
