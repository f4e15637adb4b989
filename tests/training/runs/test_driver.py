"""The driver with trainings in threads instead of Ray: the schedule obeyed, events passed on."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from constellation.errors import ConstellationError, DoesNotFit, TrainingError
from tests.training import ray_runs
from training.loop.step import Alone
from training.progress.events import Event, KernelProgress, KernelStateChanged
from training.runs.driver import drive
from training.runs.event_files import Tail, event_writer
from training.runs.failures import read_failure, record_failure
from training.runs.schedule import Demand, Room
from training.runs.training_plan import SHARES, TrainingPlan
from training.runs.worker import is_finished, train_kernel
from training.runs.worker_memory import demand

KERNELS = ("a", "b", "c")


def room(**changes: int) -> Room:
    return Room(**{"workers": 2, "memory_bytes": 10**12, "max_failures": 0, **changes})


def trains(plan: TrainingPlan) -> Callable[[str], None]:
    """Return what trains a kernel as a worker does."""

    def launch(name: str) -> None:
        with event_writer(plan.checkpoints, f"{name}-0") as tell:
            try:
                train_kernel(
                    plan, name, Alone(), on_progress=tell, should_stop=plan.stop_file.exists
                )
            except ConstellationError as error:
                record_failure(plan.failure_file(name), error)
                raise

    return launch


def states(events: list[Event], kernel: str) -> list[str]:
    return [e.state for e in events if isinstance(e, KernelStateChanged) and e.kernel == kernel]


def test_all_kernels_are_trained_and_all_events_arrive_in_order(tmp_path: Path) -> None:
    plan = ray_runs.plan(tmp_path, "per-actor", KERNELS, steps=20)
    events: list[Event] = []
    demands = [demand(plan, name, 1) for name in KERNELS]
    drive(plan, demands, room(), trains(plan), events.append)
    assert all(is_finished(plan, name) for name in KERNELS)
    assert states(events, "c") == ["STAGED", "RUNNING", "FINISHED"]
    for name in KERNELS:
        mine = [event for event in events if getattr(event, "kernel", "") == name]
        assert isinstance(mine[-1], KernelStateChanged)
        assert isinstance(mine[-2], KernelProgress)
        assert mine[-2].step == 20


def test_a_crash_is_tried_again_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    plan = ray_runs.plan(tmp_path, "per-actor", ("a",), steps=30, checkpoint_every=10)
    events: list[Event] = []
    tries: list[int] = []

    def launch(name: str) -> None:
        tries.append(1)
        if len(tries) == 1:
            plan.checkpoints.joinpath(name).mkdir()
            train_kernel(plan, name, Alone(), should_stop=lambda: len(tries) == 1)
            raise TrainingError("the worker died")
        trains(plan)(name)

    drive(plan, [demand(plan, "a", 1)], room(max_failures=1), launch, events.append)
    assert states(events, "a") == ["RUNNING", "STAGED", "RUNNING", "FINISHED"]
    assert min(e.step for e in events if isinstance(e, KernelProgress)) > 1


def test_one_that_fails_too_often_is_named_and_the_others_are_finished(tmp_path: Path) -> None:
    plan = ray_runs.plan(tmp_path, "per-actor", KERNELS, steps=20)
    plan.tokens("b", "train").write_bytes(b"\x93NUMPY cut short")
    calls: list[str] = []

    def launch(name: str) -> None:
        calls.append(name)
        if name == "c":
            raise TrainingError("the worker died")
        trains(plan)(name)

    demands = [demand(plan, name, 1) for name in KERNELS]
    with pytest.raises(TrainingError, match=r"2 kernels failed: b: token file.*c: the worker died"):
        drive(plan, demands, room(max_failures=1), launch, lambda _: None)
    assert is_finished(plan, "a")
    assert sorted(calls) == ["a", "b", "c", "c"], "b would fail in the same way again"


def test_a_training_of_several_kernels_names_those_that_had_begun_when_it_fails(
    tmp_path: Path,
) -> None:
    plan = ray_runs.plan(tmp_path, "branch-train", KERNELS, steps=20)
    events: list[Event] = []

    def launch(name: str) -> None:
        trains(plan)("a")
        with event_writer(plan.checkpoints, "b-0") as tell:
            train_kernel(plan, "b", Alone(), on_progress=tell, should_stop=lambda: True)
        raise TrainingError("the guard gave up")

    shares = Demand(kernel=SHARES, workers=1, memory_bytes=0)
    with pytest.raises(TrainingError, match="the guard gave up"):
        drive(plan, [shares], room(), launch, events.append)
    assert states(events, "b") == ["FAILED"]
    assert not states(events, "a"), "finished"
    assert not states(events, "c"), "never begun"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["ctrl-c", "stop file"])
def test_a_stop_writes_checkpoints_and_the_same_call_goes_on(tmp_path: Path, how: str) -> None:
    plan = ray_runs.plan(tmp_path / "run", "per-actor", KERNELS, steps=100, checkpoint_every=20)
    demands = [demand(plan, name, 1) for name in KERNELS]
    events: list[Event] = []
    disturbed: list[str] = []

    def disturb(event: Event) -> None:
        events.append(event)
        if isinstance(event, KernelProgress) and not disturbed:
            disturbed.append(how)
            if how == "ctrl-c":
                signal.raise_signal(signal.SIGINT)
            else:
                plan.stop_file.touch()

    if how == "ctrl-c":
        with pytest.raises(KeyboardInterrupt):
            drive(plan, demands, room(), trains(plan), disturb)
    else:
        drive(plan, demands, room(), trains(plan), disturb)
    assert states(events, "a")[-1] == states(events, "c")[-1] == "STOPPED"
    assert not any(is_finished(plan, name) for name in KERNELS)
    plan.stop_file.unlink()
    drive(plan, demands, room(), trains(plan), events.append)

    straight = ray_runs.plan(
        tmp_path / "straight", "per-actor", KERNELS, steps=100, checkpoint_every=20
    )
    for name in KERNELS:
        assert train_kernel(straight, name, Alone())
    ray_runs.assert_same_kernels(plan, straight, KERNELS)


def test_memory_stages_what_does_not_fit_until_the_measured_peak_makes_room(
    tmp_path: Path,
) -> None:
    plan = ray_runs.plan(tmp_path, "per-actor", ("a", "b"), steps=20)
    events: list[Event] = []
    each = demand(plan, "a", 1).memory_bytes
    demands = [demand(plan, name, 1) for name in ("a", "b")]
    drive(plan, demands, room(memory_bytes=2 * each - 1), trains(plan), events.append)
    changes = [(e.kernel, e.state) for e in events if isinstance(e, KernelStateChanged)]
    assert changes[:2] == [("a", "RUNNING"), ("b", "STAGED")]
    assert changes.index(("b", "RUNNING")) > 1
    with pytest.raises(DoesNotFit, match="memory_limit_gb"):
        drive(plan, demands, room(memory_bytes=each - 1), trains(plan), events.append)


def test_what_ends_the_driver_also_stops_the_workers(tmp_path: Path) -> None:
    plan = ray_runs.plan(tmp_path, "per-actor", ("a",), steps=100_000)

    def gone() -> None:
        raise TrainingError("the head is gone")

    with pytest.raises(TrainingError, match="the head is gone"):
        drive(plan, [demand(plan, "a", 1)], room(), trains(plan), lambda _: None, check=gone)
    assert plan.stop_file.exists()


def test_a_tail_reads_whole_lines_once_and_only_new_ones(tmp_path: Path) -> None:
    with event_writer(tmp_path, "a-0") as tell:
        tell(KernelStateChanged(kernel="a", state="RUNNING"))
        tail = Tail(tmp_path)
        assert list(tail.read()) == []
        tell(KernelStateChanged(kernel="a", state="FINISHED"))
    with (tmp_path / "events-b-0.jsonl").open("w") as file:
        file.write('{"event": "KernelStateChanged", "kernel"')
        file.flush()
        assert [event.state for event in tail.read()] == ["FINISHED"]  # type: ignore[union-attr]
        file.write(': "b", "state": "FAILED", "reason": ""}\n')
        file.flush()
        assert [event.kernel for event in tail.read()] == ["b"]  # type: ignore[union-attr]


def test_a_failure_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "failed.json"
    assert read_failure(path) is None
    error = DoesNotFit("k", needed_bytes=9, limit_bytes=4)
    record_failure(path, error)
    back = read_failure(path)
    assert type(back) is DoesNotFit
    assert (str(back), vars(back)) == (str(error), vars(error))
    path.write_text(json.dumps({"kind": "NoSuchError", "message": "", "facts": {}}))
    assert read_failure(path) is None
