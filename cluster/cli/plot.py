"""Draw a route as a PNG picture: kernels' distances and radii, and the basins behind them.

Shapes: K outcomes of the simplex.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from constellation.errors import ArtifactError
from constellation.geometry import to_root
from constellation.records import Choice, FloatArray, Route

_KERNELS_MAX = 12
"""Number of nearest kernels that are drawn; more would not be readable."""
_TITLE_MAX = 72
_ALIKE = 0.003
"""Square roots of probabilities closer than this have the same colour."""
_CHOSEN, _OTHER, _RADIUS = "#2a6f97", "#b9c6d1", "#d1495b"


def save_route_plot(
    path: Path,
    route: Route,
    text: str,
    query_K: FloatArray,
    basins: Mapping[str, FloatArray],
) -> None:
    """Draw a route into a PNG file, which is replaced if it exists.

    Raises:
        ArtifactError: The file cannot be written.
    """
    choices = [choice for choice in route.choices if choice.kernel in basins][:_KERNELS_MAX]
    figure = Figure(figsize=(11, 1.9 + 0.42 * len(choices)), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(_title(text, route), fontsize=11, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=(2, 3))
    _draw_distances(left, route, choices)
    _draw_basins(right, query_K, [(choice.kernel, basins[choice.kernel]) for choice in choices])
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise ArtifactError(path, f"cannot be written: {error.strerror}") from error


def _title(text: str, route: Route) -> str:
    line = " ".join(text.split())
    shown = line if len(line) <= _TITLE_MAX else line[: _TITLE_MAX - 1] + "…"
    # A dollar sign would begin a formula.
    shown = shown.replace("$", r"\$")
    outside = ", out of every domain" if route.out_of_domain else ""
    return f"“{shown}” → {route.kernel} ({route.reason}, margin {route.margin:.2f} rad{outside})"


def _draw_distances(axes: Axes, route: Route, choices: list[Choice]) -> None:
    rows = np.arange(len(choices))
    colours = [_CHOSEN if choice.kernel == route.kernel else _OTHER for choice in choices]
    axes.barh(rows, [choice.distance for choice in choices], color=colours, height=0.6)
    for row, choice in zip(rows, choices, strict=True):
        axes.plot([choice.radius] * 2, [row - 0.42, row + 0.42], color=_RADIUS, linewidth=2)
        share = f"  {choice.weight:.0%}" if choice.weight >= 0.005 else ""
        axes.annotate(
            f"{choice.distance:.2f}{share}",
            (max(choice.distance, choice.radius), row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.plot([], [], color=_RADIUS, linewidth=2, label="radius for a text of this length")
    axes.set_yticks(rows, [choice.kernel for choice in choices])
    for choice, label in zip(choices, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if choice.kernel == route.kernel else "normal")
    axes.invert_yaxis()
    axes.set_xlim(0, np.pi * 1.12)
    axes.set_xlabel(f"{route.rule} distance in radians, weight in %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False, fontsize=8)


def _draw_basins(axes: Axes, query_K: FloatArray, kernels: list[tuple[str, FloatArray]]) -> None:
    # Square roots are the coordinates in which Fisher-Rao distances are measured; they also keep
    # small outcomes visible beside large ones.
    roots_NK = to_root(np.stack([query_K, *(basin_K for _, basin_K in kernels)]))
    num_outcomes = roots_NK.shape[1]
    num_shown = num_distinct_outcomes(roots_NK)
    roots_NK = roots_NK[:, :num_shown]
    image = axes.imshow(roots_NK, aspect="auto", cmap="magma_r", vmin=0, interpolation="nearest")
    axes.axhline(0.5, color="white", linewidth=4)
    axes.set_yticks(range(len(roots_NK)), ["query", *(name for name, _ in kernels)])
    axes.get_yticklabels()[0].set_fontweight("bold")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    alike = f" ({num_shown} to {num_outcomes - 1}, alike, left out)"
    axes.set_xlabel("outcome of the simplex" + (alike if num_shown < num_outcomes else ""))
    axes.set_title("basins, as square roots of probabilities", fontsize=9)
    axes.figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02)


def num_distinct_outcomes(roots_NK: FloatArray) -> int:
    """Return the number of first outcomes that differ from the last outcome in some row.

    Anchored coordinates spread the probability that belongs to no domain evenly over the outcomes
    at the end, which therefore carry no information.
    """
    differs_K = (np.abs(roots_NK - roots_NK[:, -1:]) > _ALIKE).any(axis=0)
    distinct = np.flatnonzero(differs_K)
    return int(distinct[-1]) + 1 if len(distinct) else roots_NK.shape[1]
