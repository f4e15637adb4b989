"""Branch-train under Ray Train: two workers, one of them killed on the way."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from cluster.bootstrap import local_ray
from constellation.errors import TrainingError
from constellation.kernel.checkpoint import load_kernel
from tests.training import tiny
from tests.training.peers import run_together
from training.branch import SEED, BranchPlan, train_share
from training.checkpoints import CheckpointFolder
from training.data import join_documents
from training.events import Event, KernelProgress
from training.loop import Job
from training.step import StepConfig

KERNELS = ("a", "b", "c")
SEED_STEPS = 1000
BRANCH_STEPS = 40

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


def plan(out: Path) -> BranchPlan:
    (out / "tokens").mkdir(parents=True)
    for number, name in enumerate((SEED, *KERNELS)):
        for split, seed in (("train", number), ("dev", 100 + number)):
            stream = join_documents([tiny.stream(seed, 900)], end_id=0)
            np.save(out / "tokens" / f"{name}.{split}.npy", stream)

    def job(kernel: str, stage: str, steps: int) -> Job:
        step = StepConfig(steps=steps, batch_size=4, learning_rate=3e-3, precision="float32")
        return Job(kernel=kernel, stage=stage, step=step, bytes_per_token=3.0, checkpoint_every=100)

    return BranchPlan(
        out=str(out),
        key="0" * 64,
        kernels=KERNELS,
        kernel_config=tiny.CONFIG.to_dict(),
        tokenizer_hash="1" * 64,
        seed=0,
        seed_job=job(SEED, "seed", SEED_STEPS),
        branch_jobs=tuple(job(name, "branch", BRANCH_STEPS) for name in KERNELS),
        threads=1,
    )


def kill_a_worker() -> int:
    """Kill one Ray Train worker of this process with SIGKILL and return its process id."""
    for process in psutil.Process().children(recursive=True):
        if "RayTrainWorker" in " ".join(process.cmdline()):
            process.send_signal(signal.SIGKILL)
            return process.pid
    raise AssertionError("no Ray Train worker runs")


def test_ctrl_c_and_a_killed_worker_leave_the_result_the_same_to_the_bit(
    ray_session: None, tmp_path: Path
) -> None:
    from training.ray_trainer import train_branches

    run = plan(tmp_path / "ray")
    seed_steps: list[int] = []
    disturbed: list[str] = []
    stopped_at: list[int] = []

    def on_event(event: Event) -> None:
        assert isinstance(event, KernelProgress)
        if event.kernel == SEED:
            seed_steps.append(event.step)
        if not disturbed and event.step >= 150:
            disturbed.append("ctrl-c")
            signal.raise_signal(signal.SIGINT)
        elif disturbed == ["ctrl-c"] and stopped_at:
            disturbed.append("kill")
            kill_a_worker()

    with pytest.raises(KeyboardInterrupt):
        train_branches(run, num_workers=2, max_failures=0, on_event=on_event)
    stopped_at.append(CheckpointFolder(run.checkpoints / SEED).all()[-1].step)
    assert 150 <= stopped_at[0] < SEED_STEPS
    seed_steps.clear()
    train_branches(run, num_workers=2, max_failures=2, on_event=on_event)
    assert disturbed == ["ctrl-c", "kill"]
    assert min(seed_steps) > stopped_at[0], "it must resume, not start over"

    straight = plan(tmp_path / "threads")
    assert run_together(2, lambda peers: train_share(straight, peers)) == [True, True]
    for name in (SEED, *KERNELS):
        one, two = (load_kernel(folder) for folder in _folders(tmp_path, name))
        assert one.facts == two.facts
        for a, b in zip(one.decoder.parameters(), two.decoder.parameters(), strict=True):
            assert torch.equal(a, b)


def test_a_run_that_cannot_go_on_is_a_training_error(ray_session: None, tmp_path: Path) -> None:
    from training.ray_trainer import train_branches

    broken = plan(tmp_path)
    (tmp_path / "tokens" / "seed.train.npy").write_bytes(b"no tokens")
    with pytest.raises(TrainingError, match="Ray Train gave up"):
        train_branches(broken, num_workers=2, max_failures=0, on_event=lambda _: None)


def _folders(root: Path, name: str) -> list[Path]:
    inner = SEED if name == SEED else f"kernels/{name}"
    return [root / "ray" / inner, root / "threads" / inner]
