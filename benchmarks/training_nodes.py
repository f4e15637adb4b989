"""What training on three nodes without a shared disk costs, and what it gives when nodes are lost.

    python -m benchmarks.training_nodes --rounds 3

Eight kernels are trained per-actor, and one kernel is trained synchronized by two workers, each on
one node (a private Ray, as `constellation train` starts it) and on a cluster of three nodes on
loopback, of which every node has a copy of its own of the run's files, as `constellation train
--address` does. The same number of workers, two, trains on both sides; the order alternates from
round to round. A third run of each kind loses a node that trains, twice, while another node joins.

* `overhead_per_actor`, `overhead_synchronized`: seconds per trained token on three nodes over those
  on one node, minus 1, from the first step to the last; lower is better. Medians over the rounds.
* `equal`: whether all weights of all runs of a kind are the same to the bit. (One node and three
  nodes, disturbed or not.)
* `nodes_killed`: nodes that were killed while they trained.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks import ray_overhead
from cluster.training_process import train_in_process
from constellation.kernel.files.checkpoint import load_kernel
from tests.machines.raylets import Raylets, RayNode
from training.progress.events import Event, KernelProgress, OnEvent
from training.recipe_running import WorkersSection
from training.runs.training_plan import TrainingPlan

NUM_WORKERS = 2
KILLED = 2
KINDS = ("per-actor", "synchronized")
Train = Callable[[TrainingPlan, OnEvent], None]


def main() -> None:
    """Run both kinds of training on one node and on three; print figures and one JSON object."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder, Raylets(3) as cluster:
        bench = _Bench(Path(folder), cluster, arguments.steps)
        for number in range(arguments.rounds):
            for kind in KINDS:
                bench.compare(kind, number)
        for kind in KINDS:
            bench.lose_nodes(kind)
    sys.stdout.write(json.dumps(bench.report()) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400, help="steps of every kernel")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


class _Bench:
    """Runs trainings and keeps their figures."""

    def __init__(self, folder: Path, cluster: Raylets, steps: int) -> None:
        self._folder = folder
        self._cluster = cluster
        self._steps = steps
        self._ratios: dict[str, list[float]] = {kind: [] for kind in KINDS}
        self._hashes: dict[str, set[tuple[str, ...]]] = {kind: set() for kind in KINDS}
        self._num_runs = 0
        self._num_killed = 0

    def compare(self, kind: str, number: int) -> None:
        """Train on one node and on three; the order alternates with `number`."""
        sides: dict[str, Train] = {"one": self._on_one, "three": self._on_three}
        order = list(sides) if number % 2 == 0 else list(reversed(sides))
        seconds = {side: self._seconds(kind, sides[side]) for side in order}
        self._ratios[kind].append(seconds["three"] / seconds["one"] - 1)
        _say(f"round {number + 1}, {kind}: {seconds}")

    def lose_nodes(self, kind: str) -> None:
        """Train on three nodes, two of which are killed."""
        total = self._steps * (8 if kind == "per-actor" else 1)
        losing = _LosesNodes(self._cluster, [total // 4, total // 2])
        plan = self._plan(kind)
        self._on_three(plan, losing)
        self._note(kind, plan)
        self._num_killed += losing.num_killed

    def report(self) -> dict[str, object]:
        """Return the figures as plain values."""
        return {
            **{
                f"overhead_{kind.replace('-', '_')}": round(statistics.median(ratios), 4)
                for kind, ratios in self._ratios.items()
            },
            "overheads": {kind: [round(each, 4) for each in r] for kind, r in self._ratios.items()},
            "equal": {kind: len(hashes) == 1 for kind, hashes in self._hashes.items()},
            "nodes_killed": self._num_killed,
            "steps": self._steps,
        }

    def _seconds(self, kind: str, train: Train) -> float:
        plan = self._plan(kind)
        watch = ray_overhead.Stopwatch()
        train(plan, watch)
        self._note(kind, plan)
        return watch.measured(plan).window_s

    def _plan(self, kind: str) -> TrainingPlan:
        self._num_runs += 1
        plan = ray_overhead.plan_of(self._folder / str(self._num_runs), self._steps)
        if kind == "per-actor":
            return plan
        for split in ("train", "dev"):
            source = plan.tokens(plan.kernels[0], split)
            source.rename(source.with_name(f"seed.{split}.npy"))
        return replace(
            plan,
            mode="synchronized",
            kernels=plan.kernels[:1],
            branch_jobs=(replace(plan.branch_jobs[0], stage="seed"),),
        )

    def _note(self, kind: str, plan: TrainingPlan) -> None:
        kernels = [load_kernel(plan.kernel_folder(name)) for name in plan.kernels]
        self._hashes[kind].add(tuple(kernel.weights_hash for kernel in kernels))

    def _on_one(self, plan: TrainingPlan, on_event: OnEvent) -> None:
        train_in_process(plan, _workers(), on_event)

    def _on_three(self, plan: TrainingPlan, on_event: OnEvent) -> None:
        train_in_process(plan, _workers(), on_event, address=self._cluster.address)


def _workers() -> WorkersSection:
    return WorkersSection(
        num_workers=NUM_WORKERS, threads=1, memory_limit_gb=1000, max_failures=2 * KILLED
    )


class _LosesNodes:
    """Kills a node that trains when the sum of all steps is due, and lets another node join."""

    def __init__(self, cluster: Raylets, due: list[int]) -> None:
        self._cluster = cluster
        self._due = due
        self._steps: dict[str, int] = {}
        self.num_killed = 0

    def __call__(self, event: Event) -> None:
        if not isinstance(event, KernelProgress):
            return
        self._steps[event.kernel] = event.step
        training = [node for node in self._cluster.nodes[1:] if _trains(node)]
        if self._due and sum(self._steps.values()) >= self._due[0] and training:
            self._due.pop(0)
            self._cluster.kill(training[0])
            self._cluster.add()
            self.num_killed += 1


def _trains(node: RayNode) -> bool:
    """Return whether a worker of Ray Train runs on a node."""
    for process in node.processes():
        with suppress(psutil.NoSuchProcess):
            if "RayTrainWorker" in " ".join(process.cmdline()):
                return True
    return False


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
