"""Draw pictures of single figures: bits per byte by domain, beta, phases."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.guards.phase import PHASES
from training.report.facts import Json
from training.report.figure_style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    SMALL,
    VERMILION,
    label,
    name_ends,
    new_figure,
    quiet,
)
from training.report.verdicts import side

DOMAINS_MAX = 24
_PHASE_COLOURS = dict(zip(PHASES, ("#9ecae1", ORANGE, GREEN, VERMILION), strict=True))


def gains_plot(held_out: Json) -> Figure | None:
    """Draw bits per byte of seed and kernel on every domain, joined by a line."""
    domains: Json = held_out.get("domains") or {}
    rows = {
        name: values["bits_per_byte"]
        for name, values in domains.items()
        if {"seed", "oracle_label"} <= set(values["bits_per_byte"])
    }
    if not rows:
        return None
    names = sorted(rows, key=lambda name: rows[name]["oracle_label"] - rows[name]["seed"])
    left_out = "" if len(names) <= DOMAINS_MAX else f" {len(names) - DOMAINS_MAX} not shown."
    names = names[:DOMAINS_MAX]
    lower = sum(rows[name]["oracle_label"] < rows[name]["seed"] for name in rows)
    figure = new_figure(
        f"On held-out text {lower} of {len(rows)} kernels are below the seed at home",
        height_in=1.5 + 0.34 * len(names),
        note="Bold: the interval of the difference excludes 0. Largest gain on top." + left_out,
    )
    axes = figure.subplots()
    for row, name in enumerate(names):
        is_significant = side(domains[name].get("seed_minus_own_ci95")) in ("above", "below")
        _gain_row(axes, row, rows[name]["seed"], rows[name]["oracle_label"], is_significant)
    for value, name, colour in (
        (rows[names[0]]["seed"], "seed", GREY),
        (rows[names[0]]["oracle_label"], "kernel", BLUE),
    ):
        axes.annotate(
            name, (value, 0), xytext=(0, 9), textcoords="offset points", ha="center",
            fontsize=SMALL, color=colour, fontweight="bold",
        )  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.9)
    axes.margins(x=0.12)
    label(axes, x="bits per byte on held-out text of the domain", y="domain")
    quiet(axes, grid="x")
    return figure


def _gain_row(axes: Axes, row: int, seed: float, kernel: float, is_significant: bool) -> None:
    axes.plot([seed, kernel], [row, row], color=PALE, linewidth=3, zorder=1, solid_capstyle="round")
    axes.scatter([seed], [row], s=34, color=GREY, zorder=2)
    axes.scatter([kernel], [row], s=44, color=BLUE, zorder=3)
    left = kernel <= seed
    axes.annotate(
        f"{kernel - seed:+.3f}",
        (kernel, row),
        xytext=(-9 if left else 9, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=SMALL,
        color=BLUE,
        fontweight="bold" if is_significant else "normal",
    )


def beta_plot(beta: Json) -> Figure:
    """Draw the coupling at every length, its null, and the fitted line."""
    lengths_L = np.array(beta["context_lengths"], dtype=np.float64)
    mean_L = np.array(beta["kappa_measured"], dtype=np.float64)
    figure = new_figure(_beta_title(beta), height_in=4.2, note=_beta_note(beta))
    axes = figure.subplots()
    axes.set_xscale("log", base=2)
    below_L, above_L = np.array(beta["kappa_ci95"]).T
    errors = np.maximum(0, np.stack([mean_L - below_L, above_L - mean_L]))
    axes.errorbar(
        lengths_L, mean_L, yerr=errors, fmt="o", color=BLUE, markersize=5, capsize=3, linewidth=1.2
    )
    start, slope = beta["kappa_0"]["value"], beta["raw_slope"]["value"]
    fine = np.geomspace(lengths_L[0], lengths_L[-1], 64)
    line = start + slope * np.log(fine / beta["reference_length"])
    axes.plot(fine, line, color=BLUE, linewidth=1.4, alpha=0.7)
    axes.plot(lengths_L, beta["kappa_shuffled"], "o--", color=GREY, markersize=4, linewidth=1)
    if any(beta["extrapolated"]):
        axes.axvspan(beta["trained_context"], lengths_L[-1] * 1.08, color=PALE, alpha=0.35, lw=0)
    axes.set_xlim(lengths_L[0] / 1.08, lengths_L[-1] * 1.08)
    named = {"text": float(mean_L[-1]), "shuffled tokens": float(beta["kappa_shuffled"][-1])}
    name_ends(axes, named, (BLUE, GREY))
    axes.set_xticks(lengths_L, [f"{int(length):,}" for length in lengths_L])
    axes.minorticks_off()
    label(axes, x="context length, tokens (log scale)", y="measured coupling, nats")
    quiet(axes)
    return figure


def _beta_title(beta: Json) -> str:
    fit = beta["beta_fit"]
    if fit["value"] is None:
        return "beta is undefined: the coupling cannot be distinguished from 0"
    low, high = fit["ci95"]
    found = {"above": "coupling grows with length", "below": "coupling falls with length"}
    words = found.get(side((low, high)), "no running of the coupling is shown")
    return f"{words.capitalize()}: beta {fit['value']:+.3f} ({low:+.3f} to {high:+.3f})"


def _beta_note(beta: Json) -> str:
    shaded = " Shaded: beyond the trained context." if any(beta["extrapolated"]) else ""
    return f"Points: mean and 95 % interval over {beta['n']} passages. Line: the fit.{shaded}"


def phase_plot(shares: Mapping[str, Mapping[str, float]]) -> Figure | None:
    """Draw which share of its steps every kernel spent in which phase."""
    if not shares:
        return None
    names = list(shares)[:DOMAINS_MAX]
    mean = {phase: sum(s.get(phase, 0) for s in shares.values()) / len(shares) for phase in PHASES}
    most = max(PHASES, key=lambda phase: mean[phase])
    figure = new_figure(
        f"Kernels spent {mean[most]:.0%} of their steps in {most}",
        height_in=1.5 + 0.34 * len(names),
        note="Phases are bands of the Phi gauge: " + ", ".join(PHASES) + ", from low to high.",
    )
    axes = figure.subplots()
    start = np.zeros(len(names))
    for phase in PHASES:
        width = np.array([shares[name].get(phase, 0.0) for name in names])
        axes.barh(
            range(len(names)), width, left=start, color=_PHASE_COLOURS[phase], height=0.62,
            edgecolor="white", linewidth=1,
        )  # fmt: skip
        for row, (left, share) in enumerate(zip(start, width, strict=True)):
            if share >= 0.12:
                axes.text(
                    left + share / 2, row, f"{phase} {share:.0%}", ha="center", va="center",
                    fontsize=SMALL, color=INK,
                )  # fmt: skip
        start = start + width
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    label(axes, x="share of the steps", y="kernel")
    quiet(axes, grid="x")
    return figure
