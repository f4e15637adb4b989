"""A recursive kernel trains like any other, and its progress tells the depth it uses."""

from dataclasses import replace
from pathlib import Path

import pytest

from constellation.kernel.network.decoder import Decoder
from tests.training import tiny
from training.loop.train_loop import run_job
from training.progress.events import Event, KernelProgress


def depths_of_a_run(folder: Path, **changes: object) -> list[float | None]:
    """Train for 12 steps and return the depth of every report."""
    decoder = Decoder(replace(tiny.CONFIG, **changes), seed=0)  # type: ignore[arg-type]
    events: list[Event] = []
    job = tiny.job(steps=12, checkpoint_every=6)
    # A clock that runs ahead, so that no report comes too soon.
    seconds = iter(range(1000))
    result = run_job(
        job,
        decoder,
        tiny.windows(),
        tiny.dev_windows(),
        folder,
        on_progress=events.append,
        clock=lambda: float(next(seconds)),
    )
    assert result.finished
    return [event.depth for event in events if isinstance(event, KernelProgress)]


def test_a_fixed_depth_is_reported_as_it_is(tmp_path: Path) -> None:
    assert depths_of_a_run(tmp_path, recurrent_layers=(0,), loops_max=4)[-1] == 4


def test_an_adaptive_depth_is_reported_as_measured(tmp_path: Path) -> None:
    changes = {"recurrent_layers": (0,), "loops_max": 6, "depth_threshold": 0.02}
    depth = depths_of_a_run(tmp_path, **changes)[-1]
    assert depth is not None
    assert 3 <= depth <= 6
    assert depth != pytest.approx(round(depth))


def test_a_kernel_without_recursion_reports_no_depth(tmp_path: Path) -> None:
    assert set(depths_of_a_run(tmp_path)) == {None}
