"""Draw all pictures of a report into its `plots` folder."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from matplotlib.figure import Figure

from training.report.course_findings import phase_shares
from training.report.curve_plots import depth_plot, distance_plot, loss_plot
from training.report.facts import RunFacts
from training.report.figure_style import save
from training.report.history import Curve
from training.report.matrix_plots import across_plot, routing_plot
from training.report.share_plots import beta_plot, gains_plot, phase_plot

PLOTS: Final = "plots"


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture that was drawn: its file and title."""

    file: str
    """Path of the picture, relative to the report."""
    title: str
    """Title inside the picture, which says what it shows."""


def draw_plots(facts: RunFacts, folder: Path) -> list[Plot]:
    """Draw every picture whose data exist into `folder/plots`, and remove stale ones.

    Raises:
        ArtifactError: A file cannot be written.
    """
    drawn = []
    for name, draw in _DRAWN_BY.items():
        figure = draw(facts)
        path = folder / PLOTS / f"{name}.png"
        if figure is None:
            path.unlink(missing_ok=True)
            continue
        save(figure, path)
        drawn.append(Plot(f"{PLOTS}/{name}.png", figure.get_suptitle().replace(r"\$", "$")))
    return drawn


def _curves(facts: RunFacts) -> dict[str, Curve]:
    """Return the curves of the run's own kernels and seed; the log may hold other kernels."""
    curves = {} if facts.history is None else facts.history.curves
    wanted = {*facts.kernels, "seed"}
    return {name: curve for name, curve in curves.items() if name in wanted}


_DRAWN_BY: Final[dict[str, Callable[[RunFacts], Figure | None]]] = {
    "bits_per_byte": lambda facts: gains_plot(facts.held_out),
    "across": lambda facts: across_plot((facts.report or {}).get("across") or {}),
    "routing": lambda facts: routing_plot(facts.held_out),
    "loss": lambda facts: loss_plot(_curves(facts)),
    "basin_distance": lambda facts: distance_plot(_curves(facts)),
    "depth": lambda facts: depth_plot(_curves(facts)),
    "phases": lambda facts: phase_plot(phase_shares(facts)),
    "beta": lambda facts: None if facts.beta is None else beta_plot(facts.beta),
}
"""Name of a picture -> function that draws it, or returns None without data; in the report's
order."""
