"""Several workers on one kernel: the loss curve of one worker with the same global batch."""

from pathlib import Path

import numpy as np
import pytest

from tests.training import tiny
from tests.training.peers import run_together
from training.batches import Windows
from training.loop.job import Job
from training.loop.step import Alone, Peers, StepConfig
from training.loop.train_loop import run_job
from training.progress.events import Event, KernelProgress

STEPS = 50


def losses(folder: Path, seed: int, world: int) -> list[float]:
    """Return the loss of every step, bits per token."""
    told: list[Event] = []
    step = StepConfig(
        steps=STEPS, batch_size=6, learning_rate=1e-2, precision="float32", device="cpu"
    )
    job = Job(kernel="k", stage="seed", step=step, bytes_per_token=3.0, dev_windows=4)

    def work(peers: Peers) -> bool:
        windows = Windows.of(tiny.stream(seed), context=tiny.CONFIG.context, seed=seed)
        seconds = iter(range(10_000))  # runs ahead, so that every step is told
        return run_job(
            job,
            tiny.decoder(seed),
            windows,
            tiny.dev_windows(),
            folder,
            peers=peers,
            on_progress=told.append,
            clock=lambda: float(next(seconds)),
        ).finished

    finished = [work(Alone())] if world == 1 else run_together(world, work)
    assert all(finished)
    return [event.loss_bits for event in told if isinstance(event, KernelProgress)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_workers_have_the_loss_curve_of_one(tmp_path: Path, seed: int) -> None:
    one = losses(tmp_path / "one", seed, 1)
    two = losses(tmp_path / "two", seed, 2)
    assert len(one) == len(two) == STEPS
    assert one[-1] < one[0] - 0.5, "a curve that does not fall would prove little"
    np.testing.assert_allclose(two, one, rtol=0, atol=1e-4)
