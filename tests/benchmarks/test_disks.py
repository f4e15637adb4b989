"""The disks benchmark does what it says to folders, and sees what is not true."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.chaos_traffic import Tally
from benchmarks.disks import Plan, Round, _report, draw
from benchmarks.disks_disturbances import KINDS, PLACES, Disks, disks
from benchmarks.disks_truth import contradictions, false_claims
from constellation.client import ConstellationStatus
from constellation.client.replies import KernelStatus


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Disks]:
    with disks(tmp_path) as found:
        yield found
    assert not any(os.path.ismount(tmp_path / place[:3]) for place in PLACES)


@pytest.fixture
def small(made: Disks) -> Disks:
    if not made.has_disks:
        pytest.skip("only the superuser may make disks")
    return made


def test_every_place_is_disturbed_in_every_way_about_as_often(made: Disks) -> None:
    cases = [(place, kind) for place in PLACES for kind in made.kinds()]
    plans = draw(made, 2 * len(cases), seed=5)
    assert Counter((plan.place, plan.kind) for plan in plans) == dict.fromkeys(cases, 2)
    assert plans == draw(made, 2 * len(cases), seed=5)
    assert plans != draw(made, 2 * len(cases), seed=6)


def test_a_full_disk_takes_nothing_and_has_room_again(small: Disks) -> None:
    path = small.folder("run") / "file"
    with small.disturbed("run", "full"), pytest.raises(OSError, match="No space left"):
        path.write_bytes(b"x")
    path.write_bytes(b"x")


def test_a_disk_is_read_only_and_writable_again(small: Disks) -> None:
    path = small.folder("artifacts") / "file"
    path.write_bytes(b"before")
    with small.disturbed("artifacts", "read-only"):
        assert path.read_bytes() == b"before"
        with pytest.raises(OSError, match="Read-only"):
            path.write_bytes(b"x")
    path.write_bytes(b"after")


def test_artifacts_come_back_and_what_others_left_does_not(made: Disks) -> None:
    for place in PLACES:
        (made.folder(place) / "file").write_text(place)
        with made.disturbed(place, "removed"):
            assert not made.folder(place).exists()
    assert (made.folder("artifacts") / "file").read_text() == "artifacts"
    assert not made.folder("run").exists()
    assert not made.folder("temporary").exists()
    assert set(made.kinds()) <= set(KINDS)


def status(*, pid: int, up: bool = True, registry_pid: int = 1) -> ConstellationStatus:
    kernel = KernelStatus(
        name="k",
        seat=None,
        endpoint="",
        up=up,
        pid=pid,
        num_restarts=1,
        num_routed=0,
        phi_gauge=None,
        basin_K=(),
        queue_depth=0,
        num_running=0,
        basins_BK=(),
        arrived=None,
        num_held_out=0,
        family=None,
    )
    return ConstellationStatus(
        table_version=1,
        coordizer_hash="",
        kernels=(kernel,),
        router_pid=1,
        uptime_s=1.0,
        load_entropy_ratio=0.0,
        num_unexpected_errors=0,
        registry_pid=registry_pid,
    )


def test_a_dead_process_that_is_said_to_be_up_is_a_false_claim() -> None:
    assert false_claims(status(pid=os.getpid())) == []
    assert len(false_claims(status(pid=2**22 + 1))) == 1
    assert false_claims(status(pid=0, up=False)) == []
    assert false_claims(status(pid=2**22 + 1, registry_pid=0)) == []


def test_metrics_that_say_something_else_than_the_status_are_found() -> None:
    def metrics(up: float, restarts: float) -> dict[str, dict[str, float]]:
        return {
            "constellation_kernel_up": {"k": up},
            "constellation_kernel_restarts_total": {"k": restarts},
        }

    assert contradictions(status(pid=1), metrics(1, 1)) == []
    assert len(contradictions(status(pid=1), metrics(0, 1))) == 1
    assert len(contradictions(status(pid=1), metrics(1, 0))) == 1
    assert contradictions(status(pid=1), {}) != []


def test_what_counts_is_counted() -> None:
    plan = Plan("run", "full", "kernel")
    done = [
        Round(plan, whole_s=1.0),
        Round(plan, whole_s=2.0, untrue=["x"]),
        Round(plan, lacking=["x"]),
        Round(plan, ended=True),
        Round(plan, silent=True),
    ]
    report = _report(done, Tally(), [])
    counts = ("rounds", "not_whole", "untrue", "silent_ends", "ends", "whole_seconds_max")
    assert [report[name] for name in counts] == [5, 1, 1, 1, 1, 2.0]
