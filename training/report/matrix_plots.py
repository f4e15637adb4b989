"""Draw kernels against domains: bits per byte of each pair, and where documents are routed.

Shapes: M models, D domains.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from constellation.records import FloatArray
from training.report.facts import Json
from training.report.figure_style import BLUE, INK, SMALL, VERMILION, new_figure

SIZE_MAX = 16
"""Largest number of kernels and domains for which cells are drawn; more would not be readable."""
CHEAPER_DEARER = LinearSegmentedColormap.from_list(
    "cheaper_dearer", [BLUE, "#8fc1de", "#f7f7f7", "#f0b183", VERMILION]
)
"""Colours from fewer bits (better) over equal to more bits (worse)."""
_LUMINANCE = (0.2126, 0.7152, 0.0722)
_DARK = 0.5


def across_plot(across: Json) -> Figure | None:
    """Draw every model's bits per byte on every domain, coloured by the difference to the seed."""
    bits: Json = across.get("bits_per_byte") or {}
    kernels = sorted(name for name in bits if name != "seed")
    domains = sorted(across.get("num_documents") or {})
    if len(kernels) < 2 or not domains or max(len(kernels), len(domains)) > SIZE_MAX:
        return None
    models = [*kernels, *(["seed"] if "seed" in bits else [])]
    bits_MD = np.array([[bits[model][domain] for domain in domains] for model in models])
    shown_MD = bits_MD - (bits_MD[-1] if "seed" in bits else bits_MD.mean(axis=0))
    figure = _canvas(
        _across_title(bits_MD, kernels, domains),
        len(models),
        note=_across_note(across),
    )
    axes = figure.subplots()
    reach = float(np.abs(shown_MD).max()) or 1.0
    image = axes.imshow(shown_MD, cmap=CHEAPER_DEARER, vmin=-reach, vmax=reach, aspect="auto")
    _cells(axes, bits_MD, image, "{:.2f}")
    _frame_homes(axes, models, domains)
    _name_sides(axes, models, domains, x="domain of the text", y="model")
    bar = figure.colorbar(image, ax=axes, fraction=0.035, pad=0.02)
    baseline = "the seed" if "seed" in bits else "the mean of the kernels"
    bar.set_label(f"bits per byte minus {baseline}", fontsize=SMALL, color=INK)
    bar.ax.tick_params(labelsize=SMALL)
    bar.outline.set_visible(False)
    return figure


def _across_title(bits_MD: FloatArray, kernels: Sequence[str], domains: Sequence[str]) -> str:
    best = [kernels[row] for row in bits_MD[: len(kernels)].argmin(axis=0)]
    homes = [domain for domain in domains if domain in kernels]
    if not homes:
        return f"Bits per byte of {len(kernels)} kernels on {len(domains)} domains"
    right = sum(best[domains.index(domain)] == domain for domain in homes)
    return f"The kernel of a domain is the best of all kernels there in {right} of {len(homes)}"


def _across_note(across: Json) -> str:
    counts = across["num_documents"].values()
    few, many = min(counts), max(counts)
    shown_count = f"{few}" if few == many else f"{few} to {many}"
    noun = "document" if shown_count == "1" else "documents"
    return f"Bits per byte on {shown_count} held-out {noun} per domain. Framed: home of the kernel."


def routing_plot(held_out: Json) -> Figure | None:
    """Draw where the held-out documents of every domain were routed."""
    domains: Json = held_out.get("domains") or {}
    names = sorted(set(domains) | {to for row in domains.values() for to in row["routed_to"]})
    if len(domains) < 2 or len(names) > SIZE_MAX:
        return None
    rows = sorted(domains)
    counts_DM = np.array([[domains[row]["routed_to"].get(to, 0) for to in names] for row in rows])
    total, right = int(counts_DM.sum()), sum(domains[d]["routed_to"].get(d, 0) for d in rows)
    figure = _canvas(
        f"{right} of {total} held-out documents are routed to their own kernel",
        len(rows),
        note=f"Documents, routed by their first {held_out['prefix_tokens']} tokens.",
    )
    axes = figure.subplots()
    share_DM = counts_DM / np.maximum(1, counts_DM.sum(axis=1, keepdims=True))
    image = axes.imshow(share_DM, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    _cells(axes, counts_DM.astype(np.float64), image, "{:.0f}", hide_zero=True)
    _frame_homes(axes, rows, names)
    _name_sides(axes, rows, names, x="routed to", y="domain of the document")
    return figure


def _canvas(title: str, num_rows: int, *, note: str) -> Figure:
    return new_figure(title, height_in=max(3.0, 1.6 + 0.36 * num_rows), note=note)


def _cells(
    axes: Axes, values: FloatArray, image: AxesImage, form: str, *, hide_zero: bool = False
) -> None:
    """Write every value into its cell, in white where the cell is dark."""
    size = SMALL if values.shape[1] <= 10 else SMALL - 2
    colours = image.to_rgba(np.asarray(image.get_array()))
    _separate(axes, values.shape)
    for (row, column), value in np.ndenumerate(values):
        if hide_zero and value == 0:
            continue
        colour = "white" if colours[row, column, :3] @ _LUMINANCE < _DARK else INK
        axes.text(
            column, row, form.format(value), ha="center", va="center", fontsize=size, color=colour
        )


def _separate(axes: Axes, shape: tuple[int, ...]) -> None:
    """Draw white lines between cells."""
    for row in range(1, shape[0]):
        axes.axhline(row - 0.5, color="white", linewidth=1.5)
    for column in range(1, shape[1]):
        axes.axvline(column - 0.5, color="white", linewidth=1.5)


def _frame_homes(axes: Axes, rows: Sequence[str], columns: Sequence[str]) -> None:
    for row, name in enumerate(rows):
        if name in columns:
            corner = (columns.index(name) - 0.5, row - 0.5)
            frame = Rectangle(corner, 1, 1, fill=False, edgecolor=INK, linewidth=1.3, zorder=5)
            frame.set_clip_on(False)
            axes.add_patch(frame)


def _name_sides(axes: Axes, rows: Sequence[str], columns: Sequence[str], *, x: str, y: str) -> None:
    slanted = len(columns) * max(map(len, columns)) > 84
    axes.set_xticks(
        range(len(columns)),
        columns,
        rotation=35 if slanted else 0,
        ha="right" if slanted else "center",
        fontsize=SMALL,
    )
    axes.set_yticks(range(len(rows)), rows, fontsize=SMALL)
    axes.set_xlabel(x, fontsize=SMALL, color=INK)
    axes.set_ylabel(y, fontsize=SMALL, color=INK)
    axes.tick_params(length=0, labelcolor=INK)
    axes.spines[:].set_visible(False)
