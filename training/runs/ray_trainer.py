"""Run trainings by Ray Train, in the order that the recipe's mode asks for.

branch-train is one `fit()` in which every worker does its share; synchronized is one for the one
kernel; per-actor is one for the seed, if there is one, and one for every lane, several at a time
in threads of the driver, each with a storage folder of its own. A lane trains one kernel after the
other, and a kernel whose lane is lost takes another.

Workers report to the driver by event files, because `ray.train.report` may block them for seconds.
"""

import logging
import shutil
import socket
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import ray
import ray.exceptions
import ray.train
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer

from constellation.errors import TrainingError
from constellation.machine_limits import usable_memory
from training.progress.events import OnEvent
from training.recipe_running import WorkersSection
from training.runs.driver import Launch, drive
from training.runs.ray_run_folder import nodes, served_folder
from training.runs.ray_worker import train_worker
from training.runs.schedule import Demand, Room
from training.runs.training_plan import SEED, SHARES, TrainingPlan
from training.runs.worker import is_finished
from training.runs.worker_lanes import Lanes
from training.runs.worker_memory import demand, on_gpu, workers_that_fit

logger = logging.getLogger(__name__)

HEAD_TRIES: Final = 12
"""Consecutive checks of Ray's head that may fail; there is one check every quarter of a second."""
HEAD_TIMEOUT_S: Final = 1.0

SPARED: Final = frozenset({"DatasetsCallback"})
"""Ray Train callbacks that are left out: workers read token files, never a Ray dataset."""
SPARED_IN_OWN_RAY: Final = SPARED | {"PlacementGroupCleanerCallback"}
"""Callbacks left out in a private Ray, where nobody needs to clean up after a dead controller."""


def train_with_ray(
    plan: TrainingPlan, workers: WorkersSection, on_event: OnEvent, *, own_ray: bool = False
) -> None:
    """Train all kernels of a plan under Ray Train; finished kernels are skipped.

    Ray must have been started by the caller. Workers on other nodes copy what they need of the
    folder `plan.out` from this node, and copy checkpoints and kernels back. When the plan's stop
    file appears, the trainings stop and this returns: not all is finished.

    Events of the workers are passed on in this thread.

    Args:
        plan: What to train.
        workers: How many workers train, and with which resources.
        on_event: Called in this thread with every event of the workers.
        own_ray: Whether Ray runs on this machine only and ends with this training: workers use
            `plan.out` itself, and nothing has to be cleaned up in Ray.

    Raises:
        DoesNotFit: A kernel's training takes more memory than there is.
        TrainingError: Training failed more than `workers.max_failures` times, cannot go on, or
            Ray itself is gone; checkpoints are intact.
        KeyboardInterrupt: Ctrl-C was pressed; checkpoints are written, run again to resume.
    """
    shutil.rmtree(_storage(plan), ignore_errors=True)  # or Ray Train takes up its own stale state
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    plan.stop_file.unlink(missing_ok=True)
    with nullcontext() if own_ray else served_folder(Path(plan.out)) as server:
        run = _RayRun(plan, workers, on_event, server=server)
        if plan.mode == "per-actor":
            if plan.seed_job is not None and not is_finished(plan, SEED):
                run.together(SEED)
            if not plan.stop_file.exists():
                run.apart()
        else:
            run.together(SHARES if plan.mode == "branch-train" else plan.kernels[0])
    shutil.rmtree(_storage(plan), ignore_errors=True)
    unfinished = [name for name in plan.kernels if not is_finished(plan, name)]
    if unfinished and not plan.stop_file.exists():
        raise TrainingError(f"training ended without the kernels {', '.join(unfinished)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Group:
    """The workers of one Ray Train `fit()`."""

    num_workers: int
    least: int | None = None
    """Fewest workers to continue with (elastic training); None always needs all."""
    max_failures: int = 0
    """Number of lost workers after which Ray Train itself restarts the group."""
    sharers: int = 1
    """Number of workers, over all runs, that share the machines' CPUs."""


class _RayRun:
    """State of one call of `train_with_ray`."""

    def __init__(
        self,
        plan: TrainingPlan,
        workers: WorkersSection,
        on_event: OnEvent,
        *,
        server: Any,
    ) -> None:
        self._plan = plan
        self._server = server
        self._workers = workers
        self._on_event = on_event
        self._gpu = on_gpu(plan)
        self._nodes = 1 if server is None else len(nodes())
        self._head = _HeadWatch(ray.get_runtime_context().gcs_address)
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        self._places = max(1, int(resources.get("GPU" if self._gpu else "CPU", 1)))
        there = usable_memory().available_bytes if server is None else int(resources["memory"])
        limit_gb = workers.memory_limit_gb
        self._memory_bytes = there if limit_gb is None else round(limit_gb * 1e9)

    def together(self, name: str) -> None:
        """Run one training with all workers; Ray Train itself restarts lost workers."""
        least = self._workers.elastic_min_workers
        wanted = self._workers.num_workers
        if least is None:
            wanted = min(wanted, self._places)
        num_workers = workers_that_fit(
            self._plan,
            self._plan.trained_by(name),
            wanted=wanted,
            limit_bytes=self._memory_bytes,
        )
        if num_workers < wanted:
            logger.warning(
                "fewer workers than wanted fit into the memory",
                extra={"run": name, "workers": num_workers, "wanted": wanted},
            )
        group = _Group(
            num_workers=num_workers,
            least=None if least is None else min(least, num_workers),
            max_failures=self._workers.max_failures,
        )
        # Nothing runs beside it, so what it takes was judged just now.
        needs = Demand(kernel=name, workers=num_workers, memory_bytes=0)
        room = Room(workers=num_workers, memory_bytes=self._memory_bytes, max_failures=0)
        self._drive([needs], room, lambda run: self._fit(run, group, {"run": run}))

    def apart(self) -> None:
        """Train every kernel by itself, in lanes; the schedule restarts lost ones."""
        each = self._workers.workers_per_kernel
        demands = [
            demand(self._plan, name, each)
            for name in self._plan.kernels
            if not is_finished(self._plan, name)
        ]
        places = min(self._workers.num_workers, self._places)
        room = Room(
            workers=places,
            memory_bytes=self._memory_bytes,
            max_failures=self._workers.max_failures,
        )
        group = _Group(num_workers=each, sharers=-(-places // self._nodes))
        lanes = Lanes(
            _storage(self._plan) / "orders",
            lambda number, folder: self._fit(f"lane {number}", group, {"orders": str(folder)}),
        )
        try:
            self._drive(demands, room, lanes.train)
        finally:
            lanes.close()

    def _drive(self, demands: list[Demand], room: Room, launch: Launch) -> None:
        drive(self._plan, demands, room, launch, self._on_event, check=self._head.check)

    def _fit(self, name: str, group: _Group, work: dict[str, str]) -> None:
        """Run one Ray Train `fit()` with its own folder; its workers read their task in `work`."""
        least, most = group.least, group.num_workers
        trainer = _SparingTrainer(
            train_worker,
            train_loop_config={
                "plan": self._plan.to_dict(),
                "sharers": group.sharers,
                "server": self._server,
                **work,
            },
            torch_config=TorchConfig(backend="nccl" if self._gpu else "gloo"),
            scaling_config=ScalingConfig(
                # Ray's annotation leaves out the pair that its documentation asks for.
                num_workers=most if least is None else (least, most),  # type: ignore[arg-type]
                use_gpu=self._gpu,
                placement_strategy="PACK" if self._server is None else "SPREAD",
            ),
            run_config=RunConfig(
                name=self._plan.key[:16],
                storage_path=str(_storage(self._plan) / name.replace(" ", "-")),
                failure_config=FailureConfig(max_failures=group.max_failures),
            ),
        )
        trainer.spared = SPARED_IN_OWN_RAY if self._server is None else SPARED
        try:
            trainer.fit()
        except (ray.train.TrainingFailedError, ray.exceptions.RayError) as error:
            raise TrainingError(f"Ray Train gave up on {name}: {error}") from error


class _SparingTrainer(TorchTrainer):
    """A TorchTrainer without helper processes that this project does not need.

    Each is an actor in a process of its own, and takes nearly two processor seconds to start.
    """

    spared: frozenset[str] = frozenset()
    """Class names of the Ray Train callbacks to leave out."""

    def _create_default_callbacks(self) -> list[Any]:
        # Ray's own hook; should it go, Ray starts its helpers again and nothing else changes.
        # mypy sees the class of Ray Train v1.
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [each for each in callbacks if type(each).__name__ not in self.spared]


class _HeadWatch:
    """Checks that Ray's head still answers: without it a `fit()` would never return."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._missed = 0

    def check(self) -> None:
        """Check Ray's head once.

        Raises:
            TrainingError: The head did not answer `HEAD_TRIES` times in a row.
        """
        try:
            socket.create_connection(self._address, timeout=HEAD_TIMEOUT_S).close()
        except OSError as error:
            self._missed += 1
            if self._missed < HEAD_TRIES:
                return
            raise TrainingError(
                f"Ray's head at {self._address[0]}:{self._address[1]} is gone ({error}); the last "
                "checkpoints are intact, run the same command to resume from them"
            ) from error
        self._missed = 0


def _storage(plan: TrainingPlan) -> Path:
    return Path(plan.out) / "ray"
