"""Lanes: every kernel once, in no more processes than train at one time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from constellation.errors import TrainingError
from training.runs.worker_lanes import Lanes, orders


class Workers:
    """Lanes of threads: each worker of a lane notes what it was told to train."""

    def __init__(self, num_workers: int = 1) -> None:
        self.num_workers = num_workers
        self.trained: list[tuple[int, int, str]] = []
        self.stopping = threading.Event()
        self.at: Callable[[str], None] = lambda kernel: None

    def run(self, number: int, folder: Path) -> None:
        with ThreadPoolExecutor(self.num_workers) as pool:
            work = [pool.submit(self._work, number, folder, r) for r in range(self.num_workers)]
        for each in work:
            each.result()

    def _work(self, number: int, folder: Path, rank: int) -> None:
        for kernel in orders(folder, rank=rank, should_stop=self.stopping.is_set):
            self.at(kernel)
            self.trained.append((number, rank, kernel))


@pytest.mark.slow
def test_kernels_follow_one_another_in_one_lane(tmp_path: Path) -> None:
    workers = Workers(num_workers=3)
    lanes = Lanes(tmp_path, workers.run)
    for kernel in "abcd":
        lanes.train(kernel)
    lanes.close()
    for rank in range(3):
        assert [kernel for _, r, kernel in workers.trained if r == rank] == list("abcd")
    assert {number for number, _, _ in workers.trained} == {0}


def test_as_many_lanes_as_trainings_at_one_time(tmp_path: Path) -> None:
    workers = Workers()
    both = threading.Barrier(2)

    def meet(kernel: str) -> None:
        both.wait(20)

    workers.at = meet
    lanes = Lanes(tmp_path, workers.run)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lanes.train, "abcdef"))
    lanes.close()
    assert sorted(kernel for _, _, kernel in workers.trained) == list("abcdef")
    assert {number for number, _, _ in workers.trained} == {0, 1}


def test_who_loses_a_lane_is_told_and_the_next_takes_another(tmp_path: Path) -> None:
    workers = Workers()

    def lose(kernel: str) -> None:
        if kernel == "b":
            raise TrainingError("the workers were lost")

    workers.at = lose
    lanes = Lanes(tmp_path, workers.run)
    lanes.train("a")
    with pytest.raises(TrainingError, match="were lost"):
        lanes.train("b")
    lanes.train("c")
    lanes.close()
    assert workers.trained == [(0, 0, "a"), (1, 0, "c")]


def test_a_stop_ends_lanes_and_nobody_waits_for_what_was_not_begun(tmp_path: Path) -> None:
    workers = Workers(num_workers=2)
    lanes = Lanes(tmp_path, workers.run)
    lanes.train("a")
    workers.stopping.set()
    assert lanes._lanes[0].has_left(within_s=20)
    lanes.train("b")  # a new lane; it may see the stop or the order first
    lanes.close()
    assert [kernel for _, rank, kernel in workers.trained if rank == 0][:1] == ["a"]
    ranks = [[k for _, r, k in workers.trained if r == rank] for rank in range(2)]
    assert ranks[0] == ranks[1], "workers of a lane do the same, or they would wait for each other"


def test_a_lane_that_waits_too_long_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.runs.worker_lanes.IDLE_S", 0.01)
    workers = Workers()
    lanes = Lanes(tmp_path, workers.run)
    lanes.train("a")
    assert lanes._lanes[0].has_left(within_s=20)
    lanes.train("b")
    lanes.close()
    assert workers.trained == [(0, 0, "a"), (1, 0, "b")]


def test_what_nobody_expected_is_raised_where_the_kernel_is_waited_for(tmp_path: Path) -> None:
    workers = Workers()

    def fail(kernel: str) -> None:
        raise ZeroDivisionError(kernel)

    workers.at = fail
    with pytest.raises(ZeroDivisionError):
        Lanes(tmp_path, workers.run).train("a")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    workers = Workers()
    (tmp_path / "lanes").write_text("a file is in the way")
    with pytest.raises(TrainingError, match=r"cannot write in .*lanes"):
        Lanes(tmp_path / "lanes", workers.run).train("a")
