"""The placement on disk: also one that was written before there were nodes."""

import json
from dataclasses import replace
from pathlib import Path

from actors.placement_file import Placed, pack_placement, read_placement
from actors.spec import DeploymentSpec, KernelOptions, RouterDoors, RouterOptions
from constellation.records import Location
from constellation.runtime.placement import Placement


def spec(run_dir: Path) -> DeploymentSpec:
    return DeploymentSpec(
        namespace="here",
        artifacts=run_dir / "artifacts",
        run_dir=run_dir,
        routers=(RouterDoors(member="router", listen=("127.0.0.1", 0)),),
        router=RouterOptions(),
        kernel=KernelOptions(per_actor=2),
    )


def test_a_placement_over_nodes_is_read_as_it_was_written(tmp_path: Path) -> None:
    elsewhere = Location(node="n1", device="cuda:1")
    placement = Placement(2, {"kernels-1": ("a", "b"), "kernels-2": ("c",)})
    for locations in ({}, {"kernels-2": elsewhere}):
        placed = Placed(
            placement=Placement(2, placement.processes, locations),
            release=3,
            since_s=1790000000.25,
            ahead={"x": 4},
        )
        spec(tmp_path).run_folder.placement_path.write_bytes(pack_placement(placed))
        assert read_placement(spec(tmp_path)) == placed
    assert placed.placement.location_of("kernels-2") == elsewhere
    assert placed.placement.location_of("kernels-1") == Location()


def test_on_one_machine_the_file_holds_what_it_held_before_there_were_nodes(
    tmp_path: Path,
) -> None:
    placed = Placed(placement=Placement(2, {"kernels-1": ("a",)}), release=3)
    content = json.loads(pack_placement(placed))
    assert content == {"release": 3, "processes": {"kernels-1": ["a"]}, "ahead": {}}
    spec(tmp_path).run_folder.placement_path.write_text(json.dumps(content), encoding="utf-8")
    assert read_placement(spec(tmp_path)) == placed


def test_a_placement_of_another_deployment_counts_as_absent(tmp_path: Path) -> None:
    placed = Placed(placement=Placement(2, {"kernels-1": ("a",)}), release=3)
    path = spec(tmp_path).run_folder.placement_path
    path.write_bytes(pack_placement(placed, "d1"))
    assert read_placement(replace(spec(tmp_path), id="d1")) == placed
    assert read_placement(replace(spec(tmp_path), id="d2")).release is None
    assert read_placement(spec(tmp_path)).release is None
    path.write_bytes(pack_placement(placed))
    assert read_placement(replace(spec(tmp_path), id="d1")).release is None


def test_a_placement_with_a_damaged_location_is_not_used(tmp_path: Path) -> None:
    content = {"release": 3, "processes": {"m": ["a"]}, "ahead": {}, "locations": {"m": {"no": 1}}}
    spec(tmp_path).run_folder.placement_path.write_text(json.dumps(content), encoding="utf-8")
    assert read_placement(spec(tmp_path)).placement.processes == {}
