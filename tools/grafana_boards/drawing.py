"""Draw what a panel's queries return with matplotlib, since Grafana cannot run everywhere.

The pictures show the data of a real Prometheus; colours and layout are not those of Grafana.
"""

import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from PIL import Image

Labelled = tuple[str, Sequence[tuple[float, float]]]
"""Name of a series, and its pairs (unix seconds, value)."""
_COLORS: Final = 64
"""Colours of a picture's palette, which makes the file small."""
_UNITS: Final = {"s": "seconds", "reqps": "requests/s", "radian": "radians", "bytes": "bytes"}


def legend_of(legend: str, labels: Mapping[str, str]) -> str:
    """Return the name of a series: `{{label}}` of the legend replaced by the label's value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), legend).strip()


def draw_panel(
    panel: Mapping[str, Any],
    series: Sequence[Labelled],
    marks: Sequence[tuple[str, float]],
    path: Path,
) -> None:
    """Draw the result of a panel's queries into a PNG file.

    Args:
        panel: A panel of a dashboard's JSON: `timeseries`, `bargauge` or `state-timeline`.
        series: Results; of a bar only the latest value counts.
        marks: Events: (text, unix seconds); drawn as vertical lines, not in bars.
        path: The file to write.

    Raises:
        ValueError: The panel is of another type.
    """
    mpl.rcParams.update({"font.size": 8, "font.family": "DejaVu Sans"})
    figure = Figure(figsize=(7, 2.6), layout="constrained")
    axes = figure.add_subplot()
    draw = {"timeseries": _lines, "bargauge": _bars, "state-timeline": _bands}.get(panel["type"])
    if draw is None:
        raise ValueError(f"panel {panel['title']!r} is a {panel['type']}, which is not drawn")
    draw(axes, panel, series)
    if panel["type"] != "bargauge":
        start_s = min(values[0][0] for _, values in series)
        _marks(axes, [(text, at - start_s) for text, at in marks if at > start_s])
        axes.set_xlabel("seconds")
    axes.set_title(panel["title"], loc="left", fontsize=9, fontweight="bold")
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100)
    Image.open(drawn).convert("RGB").quantize(_COLORS).save(path, optimize=True)


def _lines(axes: Axes, panel: Mapping[str, Any], series: Sequence[Labelled]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    start_s = min(values[0][0] for _, values in series)
    if defaults["custom"].get("stacking", {}).get("mode") == "normal":
        times = sorted({at for _, values in series for at, _ in values})
        rows = [[dict(values).get(at, 0.0) for at in times] for _, values in series]
        names = [name for name, _ in series]
        axes.stackplot([at - start_s for at in times], rows, labels=names, alpha=0.7)
    else:
        for name, values in series:
            at_s, heights = zip(*values, strict=True)
            axes.plot([at - start_s for at in at_s], heights, label=name, linewidth=1.2)
    if "thresholdsStyle" in defaults["custom"]:
        axes.axhline(defaults["thresholds"]["steps"][-1]["value"], color="red", linestyle="--")
    axes.set_ylim(bottom=0)
    _unit(axes, defaults["unit"], "y")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, ncols=1)


def _bars(axes: Axes, panel: Mapping[str, Any], series: Sequence[Labelled]) -> None:
    names = [name for name, _ in series]
    heights = [values[-1][1] for _, values in series]
    drawn = axes.barh(names, heights, color="tab:blue", height=0.7)
    percent = panel["fieldConfig"]["defaults"]["unit"] == "percentunit"
    axes.bar_label(drawn, [f"{x:.1%}" if percent else f"{x:.3g}" for x in heights], padding=2)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    _unit(axes, panel["fieldConfig"]["defaults"]["unit"], "x")


def _bands(axes: Axes, panel: Mapping[str, Any], series: Sequence[Labelled]) -> None:
    options = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]
    start_s = min(values[0][0] for _, values in series)
    for row, (_, values) in enumerate(series):
        step_s = min(after - at for (at, _), (after, _) in pairwise(values))
        for at_s, value in values:
            color = options[f"{value:g}"]["color"]
            axes.barh(row, step_s, left=at_s - start_s, height=0.7, color=color)
    axes.set_yticks(range(len(series)), [name for name, _ in series])
    axes.invert_yaxis()


def _marks(axes: Axes, marks: Sequence[tuple[str, float]]) -> None:
    width, before_s = axes.get_xlim()[1] / 20, float("-inf")
    for text, at_s in marks:
        axes.axvline(at_s, color="tab:purple", linewidth=0.8, linestyle=":")
        is_high = at_s - before_s > width  # a mark close to the one before has its text below
        before_s = at_s if is_high else float("-inf")
        place = {"y": 0.98 if is_high else 0.02, "va": "top" if is_high else "bottom"}
        axes.text(
            at_s,
            s=f"{text} ",
            rotation=90,
            ha="right",
            fontsize=6,
            color="purple",
            transform=axes.get_xaxis_transform(),
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5},
            **place,
        )


def _unit(axes: Axes, unit: str, axis: str) -> None:
    drawn = axes.yaxis if axis == "y" else axes.xaxis
    if unit == "percentunit":
        drawn.set_major_formatter(PercentFormatter(1, decimals=0))
    else:
        drawn.set_label_text(_UNITS.get(unit, unit.removeprefix("suffix:").replace("short", "")))
