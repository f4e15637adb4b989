"""Progress is told seldom, and every held-out figure at the step where it was measured."""

from pathlib import Path

from tests.training import tiny
from training.loop.train_loop import run_job
from training.progress.events import Event
from training.report.curve_plots import loss_plot
from training.report.history import Curve, fold


def told(folder: Path, *, steps: int = 30) -> Curve:
    """Train with a clock that stands still, so that nothing is told for the time it took."""
    events: list[Event] = []
    run_job(
        tiny.job(steps=steps, checkpoint_every=7),
        tiny.decoder(),
        tiny.windows(),
        tiny.dev_windows(),
        folder,
        on_progress=events.append,
        clock=lambda: 0.0,
    )
    return fold(events).curves["k"]


def test_every_checkpoint_has_its_held_out_figure_at_its_own_step(tmp_path: Path) -> None:
    curve = told(tmp_path)
    assert [step for step, _ in curve.held_out()] == [7, 14, 21, 28, 30]
    assert [report.step for report in curve.reports] == [1, 7, 14, 21, 28, 30]


def test_a_picture_counts_the_trainings_that_were_measured_once_apart(tmp_path: Path) -> None:
    long, short = told(tmp_path / "long"), told(tmp_path / "short", steps=3)
    figure = loss_plot({"seed": long, "a": short})
    assert figure is not None
    assert figure.get_suptitle() == "Held-out loss fell in 1 of 1 trainings (1 more measured once)"
    alone = loss_plot({"a": short})
    assert alone is not None
    assert alone.get_suptitle() == "Held-out loss, measured once in each of 1 trainings"
