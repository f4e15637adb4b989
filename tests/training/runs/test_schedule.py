"""Events in, decisions out: what runs when, and what becomes of what crashes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError, DoesNotFit
from training.runs.schedule import Demand, Ended, Measured, Room, Schedule, StopAsked


def schedule(
    sizes: dict[str, int], *, workers: int = 8, memory: int = 100, max_failures: int = 1
) -> Schedule:
    demands = [Demand(kernel=name, workers=1, memory_bytes=size) for name, size in sizes.items()]
    room = Room(workers=workers, memory_bytes=memory, max_failures=max_failures)
    return Schedule.of(demands, room)


def states(changes: list[object]) -> list[tuple[str, str]]:
    return [(change.kernel, change.state) for change in changes]  # type: ignore[attr-defined]


def test_what_fits_starts_and_the_rest_says_what_it_waits_for() -> None:
    plan = schedule({"a": 60, "b": 60, "c": 30})
    changes = plan.begin()
    assert states(changes) == [("a", "RUNNING"), ("c", "RUNNING"), ("b", "STAGED")]
    assert "GB" in changes[-1].reason
    places = schedule({"a": 1, "b": 1}, workers=1).begin()
    assert states(places) == [("a", "RUNNING"), ("b", "STAGED")]
    assert "1 free workers, 0 are" in places[-1].reason


def test_what_waits_starts_when_room_appears() -> None:
    plan = schedule({"a": 60, "b": 60})
    plan.begin()
    changes = plan.handle(Ended(kernel="a", outcome="FINISHED"))
    assert states(changes) == [("a", "FINISHED"), ("b", "RUNNING")]
    assert not plan.done
    plan.handle(Ended(kernel="b", outcome="FINISHED"))
    assert plan.done


def test_a_settled_measurement_takes_the_place_of_the_prediction() -> None:
    plan = schedule({"a": 60, "b": 60})
    plan.begin()
    early = Measured(kernel="a", worker_bytes=10, settled=False)
    assert plan.handle(early) == [], "before its first checkpoint it may still grow"
    settled = Measured(kernel="a", worker_bytes=40, settled=True)
    assert states(plan.handle(settled)) == [("b", "RUNNING")]


def test_more_than_predicted_counts_at_once_and_for_all_workers_of_the_kernel() -> None:
    demands = [
        Demand(kernel="a", workers=2, memory_bytes=20),
        Demand(kernel="b", workers=1, memory_bytes=60),
        Demand(kernel="c", workers=1, memory_bytes=30),
    ]
    plan = Schedule.of(demands, Room(workers=3, memory_bytes=100, max_failures=0))
    assert states(plan.begin())[:2] == [("a", "RUNNING"), ("b", "RUNNING")]
    plan.handle(Measured(kernel="a", worker_bytes=40, settled=False))
    assert states(plan.handle(Ended(kernel="b", outcome="FINISHED"))) == [("b", "FINISHED")], (
        "80 of 100 are taken, c needs 30"
    )


def test_what_can_never_fit_is_refused_with_the_way_out() -> None:
    with pytest.raises(DoesNotFit, match=r"'b' needs 5\.00 GB.*limit is 4\.00 GB.*memory_limit_gb"):
        schedule({"a": 1, "b": 5_000_000_000}, memory=4_000_000_000)
    with pytest.raises(ConfigError, match=r"wants 3 workers.*room for 2"):
        Schedule.of(
            [Demand(kernel="a", workers=3, memory_bytes=1)],
            Room(workers=2, memory_bytes=9, max_failures=0),
        )
    twice = [Demand(kernel="a", workers=1, memory_bytes=1)] * 2
    with pytest.raises(ConfigError, match="twice"):
        Schedule.of(twice, Room(workers=2, memory_bytes=9, max_failures=0))


def test_a_crash_restarts_that_kernel_alone_until_it_has_failed_too_often() -> None:
    plan = schedule({"a": 10, "b": 10}, max_failures=2)
    plan.begin()
    crash = Ended(kernel="a", outcome="CRASHED", reason="killed")
    for number in (2, 3):
        changes = plan.handle(crash)
        assert states(changes) == [("a", "STAGED"), ("a", "RUNNING")]
        assert changes[-1].reason == f"start {number} of 3"
    assert states(plan.handle(crash)) == [("a", "FAILED")]
    assert not plan.done, "b goes on"
    plan.handle(Ended(kernel="b", outcome="FINISHED"))
    assert plan.done


def test_what_would_fail_again_is_not_tried_again() -> None:
    plan = schedule({"a": 10}, max_failures=5)
    plan.begin()
    assert states(plan.handle(Ended(kernel="a", outcome="FAILED"))) == [("a", "FAILED")]
    assert plan.done


def test_a_kernel_that_took_more_than_there_was_returns_when_it_can_run_alone() -> None:
    plan = schedule({"a": 40, "b": 40})
    plan.begin()
    plan.handle(Measured(kernel="a", worker_bytes=120, settled=False))
    crash = Ended(kernel="a", outcome="CRASHED", reason="out of memory")
    assert states(plan.handle(crash)) == [("a", "STAGED")]
    changes = plan.handle(Ended(kernel="b", outcome="FINISHED"))
    assert states(changes) == [("b", "FINISHED"), ("a", "RUNNING")]


def test_a_stop_starts_nothing_more() -> None:
    plan = schedule({"a": 60, "b": 60, "c": 60})
    plan.begin()
    assert states(plan.handle(StopAsked(reason="budget"))) == [("b", "STOPPED"), ("c", "STOPPED")]
    crash = Ended(kernel="a", outcome="CRASHED", reason="killed while stopping")
    assert states(plan.handle(crash)) == [("a", "STOPPED")]
    assert plan.done


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4), st.integers(0, 2))
def test_any_order_of_events_stays_within_the_room_and_comes_to_an_end(
    seed: int, num_kernels: int, places: int, max_failures: int
) -> None:
    draw = random.Random(seed)
    sizes = {f"k{i}": draw.randint(1, 100) for i in range(num_kernels)}
    plan = schedule(sizes, workers=places, max_failures=max_failures)
    running: set[str] = set()
    ended: set[str] = set()

    def apply(changes: list[object]) -> None:
        for kernel, state in states(changes):
            if state == "RUNNING":
                running.add(kernel)
            elif state != "STAGED":
                ended.add(kernel)
        assert len(running) <= places
        assert sum(sizes[kernel] for kernel in running) <= 100

    apply(list(plan.begin()))
    for _ in range((max_failures + 1) * num_kernels + 1):
        if plan.done:
            break
        assert running, "with nothing running something must fit"
        kernel = draw.choice(sorted(running))
        running.remove(kernel)
        outcome = draw.choice(["FINISHED", "CRASHED", "FAILED"])
        apply(list(plan.handle(Ended(kernel=kernel, outcome=outcome))))  # type: ignore[arg-type]
    assert plan.done
    assert ended == set(sizes)
