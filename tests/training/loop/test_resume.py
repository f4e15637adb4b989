"""N steps = k steps + kill + resume, bit for bit; checkpoints survive what happens to them."""

import random
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from constellation.errors import TrainingError
from tests.training import tiny
from training.loop.checkpoints import CheckpointFolder, restore
from training.loop.step import Alone, Stepper
from training.loop.train_loop import run_job

STEPS = 60


def train(folder: Path, *, data_seed: int = 0, steps: int = STEPS, stop_at: int | None = None):  # type: ignore[no-untyped-def]
    decoder = tiny.decoder()
    asked = iter(range(10_000))
    result = run_job(
        tiny.job(steps=steps, checkpoint_every=5),
        decoder,
        tiny.windows(data_seed),
        tiny.dev_windows(),
        folder,
        should_stop=lambda: next(asked) == stop_at,
    )
    return decoder, result


def last_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    return dict(load_file(CheckpointFolder(folder).all()[-1].path))


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def kill_counts(seed: int) -> list[int]:
    """Return after how many steps of its own each process of a run dies: thrice for seed 0."""
    draw = random.Random(seed)
    return [draw.randrange(6, 16) for _ in range(3 if seed == 0 else 1)]


def start(folder: Path, data_seed: int, hold_at: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.training.crash_run"]
    return subprocess.Popen(
        [*command, str(folder), *(str(number) for number in (data_seed, STEPS, hold_at))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )


def kill_after(process: "subprocess.Popen[str]", count: int) -> None:
    """Kill a run with SIGKILL once it has taken so many steps."""
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdin, process.stdout:
        for line in process.stdout:
            if int(line) >= count:
                process.send_signal(signal.SIGKILL)
                break
    assert process.wait(timeout=60) == -signal.SIGKILL


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_resumes_to_the_same_bits(tmp_path: Path) -> None:
    seeds = (0, 1, 2)
    counts = {seed: kill_counts(seed) for seed in seeds}
    reached = dict.fromkeys(seeds, 0)
    for life in range(3):
        alive = {
            seed: start(tmp_path / f"killed-{seed}", seed, counts[seed][life] + 3)
            for seed in seeds
            if life < len(counts[seed])
        }
        for seed, process in alive.items():
            kill_after(process, counts[seed][life])
            step = CheckpointFolder(tmp_path / f"killed-{seed}").all()[-1].step
            assert reached[seed] < step < STEPS, "every life gets further, none to the end"
            reached[seed] = step
    for seed in seeds:
        resumed, _ = train(tmp_path / f"killed-{seed}", data_seed=seed)
        straight, _ = train(tmp_path / f"straight-{seed}", data_seed=seed)
        assert equal(dict(resumed.state_dict()), dict(straight.state_dict()))
        assert equal(
            last_tensors(tmp_path / f"killed-{seed}"), last_tensors(tmp_path / f"straight-{seed}")
        )


@pytest.mark.slow
def test_a_stopped_run_has_a_checkpoint_of_its_last_step_and_goes_on(tmp_path: Path) -> None:
    _, result = train(tmp_path / "a", stop_at=12)
    assert (result.finished, result.steps) == (False, 13)
    assert CheckpointFolder(tmp_path / "a").all()[-1].step == 13
    resumed, result = train(tmp_path / "a")
    assert (result.finished, result.steps) == (True, STEPS)
    straight, _ = train(tmp_path / "b")
    assert equal(dict(resumed.state_dict()), dict(straight.state_dict()))


def test_where_a_run_was_stopped_does_not_decide_which_checkpoint_is_the_best(
    tmp_path: Path,
) -> None:
    _, result = train(tmp_path, stop_at=12)
    newest = CheckpointFolder(tmp_path).all()[-1]
    assert (newest.step, newest.dev_nats) == (13, None)
    assert result.best_step == 10
    train(tmp_path, stop_at=0)  # one more step
    folder = CheckpointFolder(tmp_path)
    assert [c.step for c in folder.all()] == [10, 13, 14], "the best stays, however many stops"


def test_a_finished_run_that_is_run_again_takes_no_step(tmp_path: Path) -> None:
    first, _ = train(tmp_path)
    second, result = train(tmp_path)
    assert result.steps == STEPS
    assert equal(dict(first.state_dict()), dict(second.state_dict()))


def test_training_learns_and_ends_with_the_best_weights(tmp_path: Path) -> None:
    decoder, result = train(tmp_path)
    best = CheckpointFolder(tmp_path).best()
    assert best is not None
    assert result.best_step == best.step
    assert result.dev_nats is not None
    assert result.dev_nats < 0.8 * torch.log(torch.tensor(64.0))
    other = tiny.decoder(seed=5)
    restore(best.path, other)
    assert equal(dict(decoder.state_dict()), dict(other.state_dict()))


def test_the_last_few_and_the_best_checkpoint_stay(tmp_path: Path) -> None:
    decoder = tiny.decoder()
    optimiser = Stepper(decoder, tiny.job().step, Alone()).optimiser
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step, dev_nats in enumerate([3.0, 1.0, 2.0, 2.5, 2.2], start=1):
        folder.save(decoder, optimiser, step=step, dev_nats=dev_nats)
    assert [c.step for c in folder.all()] == [2, 4, 5]
    best = folder.best()
    assert best is not None
    assert best.step == 2
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    tmp_path: Path, damage: str
) -> None:
    train(tmp_path / "a", stop_at=22)
    folder = CheckpointFolder(tmp_path / "a")
    newest = folder.all()[-1].path
    content = newest.read_bytes()
    newest.write_bytes(
        {"cut": content[: len(content) // 2], "empty": b"", "noise": b"\xff" * 999}[damage]
    )
    assert folder.all()[-1].step == 20
    resumed, _ = train(tmp_path / "a")
    straight, _ = train(tmp_path / "b")
    assert equal(dict(resumed.state_dict()), dict(straight.state_dict()))


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, stop_at=9)
    kept = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TrainingError, match=r"No space left.*before it is intact"):
        train(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_a_checkpoint_of_another_network_is_not_loaded(tmp_path: Path) -> None:
    train(tmp_path, stop_at=5)
    other = replace(tiny.CONFIG, num_layers=2)
    decoder = type(tiny.decoder())(other, seed=3)
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    optimiser = Stepper(decoder, tiny.job().step, Alone()).optimiser
    assert CheckpointFolder(tmp_path).resume(decoder, optimiser) is None
    assert equal(before, dict(decoder.state_dict()))
