"""The release and the table that a registry begins with."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from actors.placement_file import Placed, pack_placement
from actors.registry.initial_table import NO_TABLE, HeldTable, first_table, newest_held
from actors.registry.release_access import current_release, served_release, steps_to
from actors.spec import Announcement, DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.releases.store import ReleaseStore
from constellation.runtime.placement import Placement
from constellation.wire.table_file import pack_table, save_table
from tests.releases.drafts import draft
from tests.wire.fakes import make_table


@pytest.fixture
def spec(tmp_path: Path) -> DeploymentSpec:
    return DeploymentSpec(
        namespace="here",
        artifacts=tmp_path / "artifacts",
        run_dir=tmp_path / "run",
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(),
    )


def write(spec: DeploymentSpec, mark: str) -> int:
    """Make a release with a table of version 3 the current one; return its number."""
    store = ReleaseStore(spec.artifacts)
    with store.adding() as put:
        table = put.put_bytes(pack_table(replace(make_table(), version=3)))
        version = store.write(replace(draft(put, mark), table=table)).version
    store.switch(version)
    return version


def place(spec: DeploymentSpec, release: int) -> None:
    placed = Placed(placement=Placement(1, {}), release=release)
    write_whole(spec.run_folder.placement_path, pack_placement(placed))


def names(made: Table) -> list[str]:
    return [site.name for site in made.sites]


def test_versions_only_ever_rise(spec: DeploymentSpec) -> None:
    write(spec, "first")
    assert first_table(spec, restarts=False).version == 4
    save_table(spec.run_folder.table_path, replace(make_table(), version=9))
    assert first_table(spec, restarts=False).version == 10
    assert first_table(spec, restarts=True).version == 10


def test_a_table_of_another_deployment_counts_as_absent(spec: DeploymentSpec) -> None:
    write(spec, "first")
    other = replace(spec, id="d2")
    write_whole(spec.run_folder.table_path, pack_table(replace(make_table(), version=9)))
    assert first_table(other, restarts=False).version == 4
    of_its_own = pack_table(replace(make_table(), version=9), deployment="d2")
    write_whole(spec.run_folder.table_path, of_its_own)
    assert first_table(other, restarts=False).version == 10
    assert first_table(spec, restarts=False).version == 4


def test_the_table_is_that_of_the_release_and_says_so(spec: DeploymentSpec) -> None:
    """Whatever the last table was: its kernels may listen elsewhere now."""
    version = write(spec, "first")
    save_table(
        spec.run_folder.table_path, replace(make_table(), version=9, sites=make_table().sites[:1])
    )
    found = first_table(spec, restarts=True)
    assert (found.release, names(found)) == (version, names(make_table()))
    assert {site.endpoint for site in found.sites} == {None}


def test_a_registry_that_restarts_begins_with_what_is_served(spec: DeploymentSpec) -> None:
    first = write(spec, "first")
    assert served_release(spec).version == first, "where nobody wrote what is served"
    place(spec, first)
    second = write(spec, "second")
    assert current_release(spec).version == second
    assert served_release(spec).version == first
    assert first_table(spec, restarts=True).release == first
    assert first_table(spec, restarts=False).release == second, "nobody serves the first any more"


def test_what_is_served_and_cannot_be_read_gives_way_to_the_current_release(
    spec: DeploymentSpec,
) -> None:
    first = write(spec, "first")
    place(spec, first)
    second = write(spec, "second")
    (spec.artifacts / "releases" / f"{first}.msgpack").write_bytes(b"half of")
    assert served_release(spec).version == second
    place(spec, 99)
    assert served_release(spec).version == second


def test_a_registry_that_restarts_without_artifacts_goes_on_with_the_last_table(
    spec: DeploymentSpec,
) -> None:
    for restarts in (False, True):
        with pytest.raises(ArtifactError, match="holds no release; train first"):
            first_table(spec, restarts=restarts)
    save_table(spec.run_folder.table_path, replace(make_table(), version=9, release=5))
    found = first_table(spec, restarts=True)
    assert (found.version, found.release, names(found)) == (10, 5, names(make_table()))
    assert {site.endpoint for site in found.sites} == {None}
    with pytest.raises(ArtifactError):
        first_table(spec, restarts=False)


def test_what_has_to_be_done_is_known_without_the_release_that_is_served(
    spec: DeploymentSpec,
) -> None:
    version = write(spec, "first")
    release = current_release(spec)
    served = replace(make_table(), release=version)
    assert steps_to(spec, served, release).reloaded == ()
    law = served.sites[0]
    lost = replace(served, release=99, sites=(replace(law, name="law"), replace(law, name="gone")))
    steps = steps_to(spec, lost, release)
    assert (steps.joined, steps.left, steps.reloaded) == (("talk", "verse"), ("gone",), ("law",))


def test_a_damaged_last_table_is_passed_over(spec: DeploymentSpec) -> None:
    write(spec, "first")
    spec.run_folder.table_path.parent.mkdir()
    spec.run_folder.table_path.write_bytes(b"half of")
    assert first_table(spec, restarts=True).version == 4


def test_versions_rise_above_those_of_the_routers_when_the_run_folder_is_lost_or_old(
    spec: DeploymentSpec,
) -> None:
    """The registry was moved to another node, or its disk was full: routers know better."""
    first = write(spec, "first")
    place(spec, first)
    second = write(spec, "second")
    third = write(spec, "third")
    held = HeldTable(version=40, release=second)
    save_table(spec.run_folder.table_path, replace(make_table(), version=9))
    found = first_table(spec, restarts=True, held=held)
    assert (found.version, found.release) == (41, second)
    spec.run_folder.table_path.unlink()
    spec.run_folder.placement_path.unlink()
    assert first_table(spec, restarts=True, held=held).release == second
    assert first_table(spec, restarts=True).release == third, "no router answered"


def test_a_run_folder_that_is_as_new_as_the_routers_says_what_is_served(
    spec: DeploymentSpec,
) -> None:
    """All processes have taken the release; its table was about to be published."""
    first = write(spec, "first")
    second = write(spec, "second")
    place(spec, second)
    save_table(spec.run_folder.table_path, replace(make_table(), version=9, release=first))
    found = first_table(spec, restarts=True, held=HeldTable(version=9, release=first))
    assert (found.version, found.release) == (10, second)


class Router:
    """A router as the registry calls it."""

    def __init__(self, version: int, *, answers: bool = True) -> None:
        self._version = version
        self._answers = answers

    async def where(self) -> Announcement:
        if not self._answers:
            await asyncio.Event().wait()
        return Announcement(
            member="router",
            endpoint="127.0.0.1:1",
            metrics_endpoint="127.0.0.1:2",
            pid=1,
            node="here",
            table_version=self._version,
            table_release=self._version // 10,
        )


def test_the_newest_table_counts_of_the_routers_that_answer() -> None:
    routers = [Router(31), Router(45), Router(99, answers=False), Router(12)]
    found = asyncio.run(newest_held(routers))  # type: ignore[arg-type]
    assert found == HeldTable(version=45, release=4)
    assert asyncio.run(newest_held([])) == NO_TABLE
