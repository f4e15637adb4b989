"""Pictures: drawn where there are data, with labelled axes and a title that says the finding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from constellation.errors import ArtifactError
from tests.training.report import invented
from training.progress.events import KernelProgress
from training.report.course_findings import phase_shares
from training.report.curve_plots import depth_plot, distance_plot, loss_plot
from training.report.figure_style import spread
from training.report.history import fold
from training.report.matrix_plots import across_plot, routing_plot
from training.report.plots import draw_plots
from training.report.share_plots import beta_plot, gains_plot, phase_plot

ALL = {
    "bits_per_byte": "On held-out text 2 of 2 kernels are below the seed at home",
    "across": "The kernel of a domain is the best of all kernels there in 2 of 2",
    "routing": "18 of 20 held-out documents are routed to their own kernel",
    "loss": "Held-out loss fell in 3 of 3 trainings",
    "basin_distance": "Basin distance fell in 3 of 3 trainings: 0.38 rad at the end",
    "depth": "Depth of integration: 4.5 passes at the end",
    "phases": "Kernels spent 50% of their steps in FOAM",
    "beta": "Coupling grows with length: beta +0.312 (+0.250 to +0.375)",
}


def figures(tmp_path: Path) -> list[Figure]:
    facts = invented.facts(tmp_path)
    assert facts.history is not None
    assert facts.report is not None
    curves = facts.history.curves
    drawn = [
        gains_plot(facts.held_out),
        across_plot(facts.report["across"]),
        routing_plot(facts.held_out),
        loss_plot(curves),
        distance_plot(curves),
        depth_plot(curves),
        phase_plot(phase_shares(facts)),
        beta_plot(invented.BETA),
    ]
    return [figure for figure in drawn if figure is not None]


@pytest.mark.slow
def test_everything_that_was_measured_is_drawn_and_says_what_it_shows(tmp_path: Path) -> None:
    plots = draw_plots(invented.facts(tmp_path), tmp_path)
    assert {Path(plot.file).stem: plot.title for plot in plots} == ALL
    for plot in plots:
        pixels = imread(tmp_path / plot.file)
        assert pixels.shape[1] == 1600
        # Something is drawn in more than one colour, on a light ground.
        assert len(np.unique(pixels.reshape(-1, pixels.shape[-1])[::97], axis=0)) > 5
        assert pixels[0, 0, :3].min() > 0.95


def test_the_axes_of_every_picture_are_named(tmp_path: Path) -> None:
    drawn = figures(tmp_path)
    assert len(drawn) == len(ALL)
    for figure in drawn:
        shown = [axes for axes in figure.axes if axes.get_visible() and not _is_bar(axes)]
        # Panels that share an axis name it once.
        assert any(axes.get_xlabel() for axes in shown), figure.get_suptitle()
        assert any(axes.get_ylabel() for axes in shown), figure.get_suptitle()


def _is_bar(axes: Axes) -> bool:
    return axes.get_label() == "<colorbar>"


def test_nothing_is_drawn_of_what_was_not_measured(tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "beta.png").write_bytes(b"of an earlier report")
    nothing = invented.facts(tmp_path, report=None, beta=None, history=fold([]))
    assert draw_plots(nothing, tmp_path) == []
    assert list((tmp_path / "plots").iterdir()) == []


def test_a_title_says_a_null(tmp_path: Path) -> None:
    undefined = {**invented.BETA, "beta_fit": {"value": None, "ci95": None}}
    assert beta_plot(undefined).get_suptitle().startswith("beta is undefined")
    once = distance_plot(fold(invented.EVENTS[:1]).curves)
    assert once is not None
    assert once.get_suptitle() == "Basin distance: 0.75 rad at the end"
    flat = {**invented.BETA, "beta_fit": {"value": 0.1, "ci95": [-0.1, 0.3]}}
    assert beta_plot(flat).get_suptitle().startswith("No running of the coupling is shown")


def test_many_kernels_stay_readable(tmp_path: Path) -> None:
    events = [
        replace(report, kernel=f"kernel-{index}")
        for index in range(30)
        for report in invented.EVENTS[:4]
        if isinstance(report, KernelProgress)
    ]
    curves = fold(events).curves
    for figure in (loss_plot(curves), distance_plot(curves)):
        assert figure is not None
        assert figure.get_figheight() < 12
    names = {f"d{i}": {"routed_to": {f"d{i}": 1}} for i in range(40)}
    assert routing_plot({"domains": names, "prefix_tokens": 32}) is None


@pytest.mark.parametrize("seed", range(3))
def test_labels_keep_their_distance_and_their_order(seed: int) -> None:
    values = np.random.default_rng(seed).random(12).tolist()
    places = spread(values, 0.05)
    order = np.argsort(values)
    assert (np.diff(np.array(places)[order]) >= 0.05 - 1e-12).all()
    assert np.mean(places) == pytest.approx(np.mean(values))
    assert spread([0.0, 1.0], 0.1) == [0.0, 1.0]


def test_a_picture_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file")
    with pytest.raises(ArtifactError, match="cannot be written"):
        draw_plots(invented.facts(tmp_path), tmp_path)
