"""Trainings on several nodes without a shared disk, whose nodes are lost: the same bits."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from cluster.training_process import train_in_process
from tests.machines.raylets import Raylets, RayNode
from tests.training import ray_runs
from training.loop.step import Alone
from training.progress.events import Event, KernelProgress, KernelStateChanged, ignore
from training.runs.training_plan import TrainingPlan
from training.runs.worker import train_kernel

KERNELS = ("a", "b", "c")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.cluster,  # three raylets, four more that join, and minutes on two cores
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's own code
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raylets]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        with Raylets(3) as cluster:
            yield cluster


class LosesNodes:
    """Kills a node that trains, and lets another join, whenever the sum of all steps is due."""

    def __init__(self, cluster: Raylets, *steps: int) -> None:
        self._cluster = cluster
        self._due = list(steps)
        self._steps: dict[str, int] = {}
        self.num_lost = 0

    @property
    def all_lost(self) -> bool:
        """Whether all nodes were killed that should be."""
        return not self._due

    def __call__(self, event: Event) -> None:
        if isinstance(event, KernelStateChanged) and event.state == "STAGED" and self._steps:
            self.num_lost += 1
        if isinstance(event, KernelProgress):
            self._steps[event.kernel] = event.step
            if self._due and sum(self._steps.values()) >= self._due[0]:
                training = list(filter(trains, self._cluster.nodes[1:]))
                if not training:  # for now only the head trains, which drives the training too
                    return
                self._due.pop(0)
                self._cluster.kill(training[0])
                self._cluster.add()


def command_of(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess):  # it ended meanwhile
        return " ".join(process.cmdline())
    return ""


def trains(node: RayNode) -> bool:
    """Return whether a worker of Ray Train runs on a node."""
    return any("RayTrainWorker" in command_of(process) for process in node.processes())


def test_kernels_and_nodes_die_and_the_bits_are_those_of_one_machine(
    nodes: Raylets, tmp_path: Path
) -> None:
    run = ray_runs.plan(tmp_path / "ray", "per-actor", KERNELS, steps=1200)
    losing = LosesNodes(nodes, 600, 1800)
    workers = ray_runs.workers(max_failures=5, num_workers=3)
    train_in_process(run, workers, losing, address=nodes.address)
    assert losing.all_lost
    assert losing.num_lost >= 1
    straight = ray_runs.plan(tmp_path / "straight", "per-actor", KERNELS, steps=1200)
    for name in KERNELS:
        assert train_kernel(straight, name, Alone())
    ray_runs.assert_same_kernels(run, straight, KERNELS)
    assert not list((Path.home() / ".cache/constellation/training").iterdir())


def test_one_kernel_on_several_nodes_survives_their_loss_to_the_bit(
    nodes: Raylets, tmp_path: Path
) -> None:
    def plan(folder: str) -> TrainingPlan:
        return ray_runs.plan(tmp_path / folder, "synchronized", ("one",), steps=3000, batch_size=6)

    workers = ray_runs.workers(max_failures=4, num_workers=3)
    losing = LosesNodes(nodes, 150, 1000)
    train_in_process(disturbed := plan("disturbed"), workers, losing, address=nodes.address)
    assert losing.all_lost
    train_in_process(straight := plan("straight"), workers, ignore, address=nodes.address)
    ray_runs.assert_same_kernels(disturbed, straight, ("one",))
