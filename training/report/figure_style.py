"""Style shared by the report's pictures: palette, axes, titles, labels at line ends.

Figures are objects of their own; nothing of matplotlib's global state is touched. Colours are those
of Okabe and Ito (2008), which people with every kind of colour vision tell apart.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from constellation.errors import ArtifactError

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
GREEN: Final = "#009E73"
VERMILION: Final = "#D55E00"
SKY: Final = "#56B4E9"
PURPLE: Final = "#CC79A7"
GREY: Final = "#8a8f98"
PALE: Final = "#d5d9df"
INK: Final = "#22262b"

PALETTE: Final = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK, GREY)

WIDTH_IN: Final = 8.0
"""Width in inches; with `DPI` a picture is 1600 pixels wide and still readable at 800."""
DPI: Final = 200
SMALL: Final = 9
TITLE: Final = 12.5


def new_figure(title: str, *, height_in: float, note: str = "") -> Figure:
    """Return an empty figure with a title at the upper left and a small note below it."""
    figure = Figure(figsize=(WIDTH_IN, height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    figure.set_facecolor("white")
    # A dollar sign would begin a formula.
    figure.suptitle(
        title.replace("$", r"\$"), fontsize=TITLE, fontweight="bold", color=INK, x=0.012, ha="left"
    )
    if note:
        figure.supxlabel(note, fontsize=SMALL, color=GREY, x=0.012, ha="left")
    return figure


def quiet(axes: Axes, *, grid: str = "y") -> None:
    """Remove from the axes all that is not needed to read a value."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(color=PALE, labelcolor=INK, labelsize=SMALL, length=3)
    if grid in ("x", "y", "both"):
        axes.grid(True, axis=grid, color=PALE, linewidth=0.6, alpha=0.7)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


def label(axes: Axes, *, x: str, y: str) -> None:
    """Label the axes."""
    axes.set_xlabel(x, fontsize=SMALL, color=INK)
    axes.set_ylabel(y, fontsize=SMALL, color=INK)


def name_ends(axes: Axes, ends: Mapping[str, float], colours: Sequence[str]) -> None:
    """Write names to the right of the axes, each near the height at which its line ends."""
    low, high = axes.get_ylim()
    places = spread(list(ends.values()), (high - low) * 0.055)
    for name, colour, place in zip(ends, colours, places, strict=False):
        axes.annotate(
            name,
            (1, place),
            xytext=(1.012, place),
            xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"),
            va="center",
            fontsize=SMALL,
            color=colour,
            fontweight="bold",
            annotation_clip=False,
        )


def spread(values: Sequence[float], gap: float) -> list[float]:
    """Return positions near `values` that are at least `gap` apart, for labels; the order is kept.

    Labels that would touch form a block around the mean of their values.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    blocks: list[list[int]] = []
    for index in order:
        blocks.append([index])
        while len(blocks) > 1 and _low(blocks[-1], values, gap) < _high(blocks[-2], values, gap):
            last = blocks.pop()
            blocks[-1] += last
    placed = [0.0] * len(values)
    for block in blocks:
        for rank, index in enumerate(block):
            placed[index] = _low(block, values, gap) + gap * (rank + 0.5)
    return placed


def _middle(block: Sequence[int], values: Sequence[float]) -> float:
    return sum(values[index] for index in block) / len(block)


def _low(block: Sequence[int], values: Sequence[float], gap: float) -> float:
    return _middle(block, values) - gap * len(block) / 2


def _high(block: Sequence[int], values: Sequence[float], gap: float) -> float:
    return _middle(block, values) + gap * len(block) / 2


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG.

    Raises:
        ArtifactError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="png")
    except OSError as error:
        raise ArtifactError(path, f"cannot be written: {error.strerror}") from error
