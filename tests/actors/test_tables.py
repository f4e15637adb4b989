"""The table that a registry begins with."""

from dataclasses import replace
from pathlib import Path

import pytest

from actors.registry.tables import first_table
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.errors import ArtifactError
from constellation.records import Table
from constellation.wire.table_file import save_table
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


def names(made: Table) -> list[str]:
    return [site.name for site in made.sites]


def test_versions_only_ever_rise(spec: DeploymentSpec) -> None:
    save_table(spec.stored_table_path, replace(make_table(), version=3))
    assert first_table(spec).version == 4
    save_table(spec.table_path, replace(make_table(), version=9))
    assert first_table(spec).version == 10


def test_a_registry_that_restarts_without_artifacts_goes_on_with_the_last_table(
    spec: DeploymentSpec,
) -> None:
    with pytest.raises(ArtifactError):
        first_table(spec)
    save_table(spec.table_path, replace(make_table(), version=9))
    found = first_table(spec)
    assert (found.version, names(found)) == (10, names(make_table()))
    assert {site.endpoint for site in found.sites} == {None}


def test_a_damaged_last_table_is_passed_over(spec: DeploymentSpec) -> None:
    save_table(spec.stored_table_path, replace(make_table(), version=3))
    spec.table_path.parent.mkdir()
    spec.table_path.write_bytes(b"half of")
    assert first_table(spec).version == 4
