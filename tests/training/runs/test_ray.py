"""All modes under a real Ray Train, disturbed on the way: the same bits as without Ray."""

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cluster.bootstrap import local_ray
from constellation.errors import TrainingError
from constellation.kernel.files.checkpoint import load_kernel
from tests.training import ray_runs
from tests.training.peers import run_together
from training.loop.checkpoints import CheckpointFolder
from training.loop.step import Alone
from training.progress.events import Event, KernelProgress, KernelStateChanged
from training.runs.training_plan import SEED
from training.runs.worker import train_kernel, train_share

KERNELS = ("a", "b", "c")

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of Ray's own code
]


@pytest.fixture(scope="module")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        with local_ray(num_cpus=2, dashboard=True):
            yield


def test_branch_train_survives_ctrl_c_and_a_killed_worker(
    ray_session: None, tmp_path: Path
) -> None:
    from training.runs.ray_trainer import train_with_ray

    run = ray_runs.plan(tmp_path / "ray", "branch-train", KERNELS, steps=40, seed_steps=1000)
    seed_steps: list[int] = []
    disturbed: list[str] = []
    stopped_at: list[int] = []

    def on_event(event: Event) -> None:
        if not isinstance(event, KernelProgress):
            return
        if event.kernel == SEED:
            seed_steps.append(event.step)
        if not disturbed and event.step >= 150:
            disturbed.append("ctrl-c")
            signal.raise_signal(signal.SIGINT)
        elif disturbed == ["ctrl-c"] and stopped_at:
            disturbed.append("kill")
            ray_runs.kill_a_worker()

    with pytest.raises(KeyboardInterrupt):
        train_with_ray(run, ray_runs.workers(max_failures=0), on_event, own_ray=True)
    stopped_at.append(CheckpointFolder(run.checkpoints / SEED).all()[-1].step)
    assert 150 <= stopped_at[0] < 1000
    seed_steps.clear()
    train_with_ray(run, ray_runs.workers(max_failures=2), on_event, own_ray=True)
    assert disturbed == ["ctrl-c", "kill"]
    assert min(seed_steps) > stopped_at[0], "it must resume, not start over"

    straight = ray_runs.plan(tmp_path / "as", "branch-train", KERNELS, steps=40, seed_steps=1000)
    assert run_together(2, lambda peers: train_share(straight, peers)) == [True, True]
    ray_runs.assert_same_kernels(run, straight, (SEED, *KERNELS))


def test_per_actor_restarts_the_one_that_was_killed_and_goes_on_without_the_one_that_failed(
    ray_session: None, tmp_path: Path
) -> None:
    from training.runs.ray_trainer import train_with_ray

    run = ray_runs.plan(tmp_path / "ray", "per-actor", KERNELS, steps=1500)
    (tmp_path / "ray" / "tokens" / "b.train.npy").write_bytes(b"no tokens")
    states: list[tuple[str, str]] = []
    killed: list[int] = []
    kernels_after: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, KernelStateChanged):
            states.append((event.kernel, event.state))
        elif isinstance(event, KernelProgress):
            if event.kernel == "a" and event.step >= 200 and not killed:
                killed.append(ray_runs.kill_a_worker("events-a-0"))
            if killed:
                kernels_after.append(event.kernel)

    with pytest.raises(TrainingError, match=r"token file .*b\.train\.npy cannot be used"):
        train_with_ray(run, ray_runs.workers(max_failures=1), on_event, own_ray=True)
    assert killed
    of = {name: [state for kernel, state in states if kernel == name] for name in KERNELS}
    assert of["a"] == ["RUNNING", "STAGED", "RUNNING", "FINISHED"]
    assert of["b"] == ["RUNNING", "FAILED"], "its file is as bad the second time: no restart"
    assert of["c"] == ["STAGED", "RUNNING", "FINISHED"], "it had to wait for a free place"

    straight = ray_runs.plan(tmp_path / "straight", "per-actor", KERNELS, steps=1500)
    for name in ("a", "c"):
        assert train_kernel(straight, name, Alone())
    ray_runs.assert_same_kernels(run, straight, ("a", "c"))


def test_synchronized_workers_have_the_loss_curve_of_one(ray_session: None, tmp_path: Path) -> None:
    """Elastic: four workers are wanted, one is enough, and Ray has room for two."""
    from training.runs.ray_trainer import train_with_ray

    run = ray_runs.plan(tmp_path / "ray", "synchronized", ("one",), steps=50, batch_size=6)
    train_with_ray(
        run, ray_runs.workers(num_workers=4, elastic_min_workers=1), lambda _: None, own_ray=True
    )
    events = sorted(path.name for path in run.checkpoints.glob("events-*"))
    assert events == ["events-one-0.jsonl", "events-one-1.jsonl"]

    straight = replace(run, out=str(tmp_path / "threads"))
    (tmp_path / "ray" / "tokens").rename(tmp_path / "threads-tokens")
    (tmp_path / "threads").mkdir()
    (tmp_path / "threads-tokens").rename(tmp_path / "threads" / "tokens")
    run_together(2, lambda peers: train_kernel(straight, "one", peers))
    ray_runs.assert_same_kernels(run, straight, ("one",))
    assert load_kernel(run.kernel_folder("one")).facts["steps"] == 50
