"""Draw pictures of values over the training steps: loss, basin distance, depth."""

import math
from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.report.figure_style import (
    BLUE,
    GREY,
    INK,
    PALETTE,
    SMALL,
    label,
    name_ends,
    new_figure,
    quiet,
)
from training.report.history import Curve, Point

PANELS_MAX = 12
"""Largest number of kernels that get a panel; more would not be readable."""
LINES_MAX = 8
"""Largest number of kernels that get a line in a picture of all kernels."""
_COLUMNS = 3


def loss_plot(curves: Mapping[str, Curve]) -> Figure | None:
    """Draw training and held-out loss, one panel per kernel, the seed first."""
    drawn = [curve for curve in curves.values() if curve.held_out()]
    drawn.sort(key=lambda curve: (curve.kernel != "seed", curve.kernel))
    if not drawn:
        return None
    shown = drawn[:PANELS_MAX]
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    left_out = f"; {len(drawn) - len(shown)} more kernels not shown" if drawn[PANELS_MAX:] else ""
    figure = new_figure(
        _loss_title(drawn),
        height_in=0.9 + 1.75 * rows,
        note="Bits per byte over steps. Dots: held-out windows at checkpoints, which choose the "
        f"best one. Number: the lowest of them{left_out}.",
    )
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
    panels = list(grid.flat)
    for axes, curve in zip(panels, shown, strict=False):
        _loss_panel(axes, curve)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for index, axes in enumerate(panels[: len(shown)]):
        # Panels share the names of their axes: once to the left, once at the foot of a column.
        label(
            axes,
            x="step" if index + columns >= len(shown) else "",
            y="bits per byte" if index % columns == 0 else "",
        )
    _name_lines(panels[0], shown[0])
    return figure


def _loss_title(curves: Sequence[Curve]) -> str:
    measured = [points for curve in curves if (points := curve.held_out())]
    several = [points for points in measured if len(points) > 1]
    if not several:
        return f"Held-out loss, measured once in each of {len(curves)} trainings"
    fell = sum(points[-1][1] < points[0][1] for points in several)
    once = len(measured) - len(several)
    remark = f" ({once} more measured once)" if once else ""
    return f"Held-out loss fell in {fell} of {len(several)} trainings{remark}"


def _loss_panel(axes: Axes, curve: Curve) -> None:
    train, held_out = curve.train(), curve.held_out()
    axes.plot(*_columns(train), color=GREY, linewidth=0.9, alpha=0.75)
    axes.plot(*_columns(held_out), color=BLUE, linewidth=1.8, marker="o", markersize=3)
    best = min(value for _, value in held_out)
    axes.set_title(f"{best:.3f}", fontsize=SMALL, color=BLUE, loc="right", pad=3, fontweight="bold")
    axes.set_title(curve.kernel, fontsize=SMALL + 1, color=INK, loc="left", pad=3)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.margins(y=0.1)
    quiet(axes)


def _name_lines(axes: Axes, curve: Curve) -> None:
    """Label the two kinds of line at the upper right of the first panel."""
    for height, colour, name in ((0.95, GREY, "training"), (0.82, BLUE, "held out")):
        axes.text(
            0.98, height, name, transform=axes.transAxes, ha="right", va="top",
            fontsize=SMALL, color=colour, fontweight="bold",
        )  # fmt: skip


def distance_plot(curves: Mapping[str, Curve]) -> Figure | None:
    """Draw the distance of every kernel's basin head to its targets."""
    return _lines(
        curves,
        lambda curve: curve.basin_distance(),
        y="radians from head to target",
        title=_distance_title,
    )


def depth_plot(curves: Mapping[str, Curve]) -> Figure | None:
    """Draw the mean passes of the recursive integrator."""
    return _lines(
        curves,
        lambda curve: curve.depth(),
        y="passes",
        title=lambda drawn: (
            "Depth of integration: "
            + _range([points[-1][1] for points in drawn.values()], "passes at the end", digits=1)
        ),
    )


def _distance_title(drawn: Mapping[str, list[Point]]) -> str:
    end = _range([points[-1][1] for points in drawn.values()], "rad at the end")
    several = [points for points in drawn.values() if len(points) > 1]
    if not several:
        return f"Basin distance: {end}"
    fell = sum(points[-1][1] < points[0][1] for points in several)
    return f"Basin distance fell in {fell} of {len(several)} trainings: {end}"


def _range(values: Sequence[float], unit: str, *, digits: int = 2) -> str:
    low, high = f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def _lines(
    curves: Mapping[str, Curve],
    values: Callable[[Curve], list[Point]],
    *,
    y: str,
    title: Callable[[Mapping[str, list[Point]]], str],
) -> Figure | None:
    """Draw one line per kernel, labelled at its right end."""
    drawn = {name: points for name, curve in curves.items() if (points := values(curve))}
    if not drawn:
        return None
    figure = new_figure(title(drawn), height_in=4.2)
    axes = figure.subplots()
    shown = dict(list(drawn.items())[:LINES_MAX])
    for colour, points in zip(PALETTE, shown.values(), strict=False):
        axes.plot(*_columns(points), color=colour, linewidth=1.7, marker="o", markersize=3)
    for points in list(drawn.values())[LINES_MAX:]:
        axes.plot(*_columns(points), color=GREY, linewidth=0.7, alpha=0.6)
    ends = {f"{name} {points[-1][1]:.3g}": points[-1][1] for name, points in shown.items()}
    name_ends(axes, ends, PALETTE)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    label(axes, x="step", y=y)
    quiet(axes)
    return figure


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [float(step) for step, _ in points], [value for _, value in points]
