"""Format the results of commands for standard output: tables, one-line summaries and JSON."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from constellation.client import ConstellationStatus, KernelStatus
    from constellation.records import Finish, LengthRefusal, Route

_WIDTH = 120
"""Columns of an output that is not a terminal."""
_WIDTH_MAX = 1_000
"""Largest width of a table, in columns; a table is printed only as wide as it needs."""

_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def stdout() -> Console:
    """Return a console on standard output."""
    return _console(stderr=False)


def stderr() -> Console:
    """Return a console on standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    return _UncutConsole(
        file=stream, width=None if stream.isatty() else _WIDTH, highlight=False, markup=False
    )


class _UncutConsole(Console):
    """A console that never cuts a table off: on a narrow terminal its lines are wrapped instead."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print as rich does, but give a table whose cells do not wrap all the width it needs."""
        width = self.width
        if any(isinstance(each, Table) and _is_rigid(each) for each in objects):
            self.width = max(width, _WIDTH_MAX)
        try:
            super().print(*objects, **options)
        finally:
            self.width = width


def _is_rigid(table: Table) -> bool:
    return not table.expand and all(column.no_wrap for column in table.columns)


def print_json(value: Any) -> None:
    """Print a record, mapping or list as one JSON object on one line."""
    content = asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
    print(json.dumps(content, default=_plain, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON for {type(value).__name__}")


def print_answer(text: str) -> None:
    """Print a piece of a reply at once, without waiting for the end of the line.

    On a terminal, control characters other than newline and tab are shown as pictures and not sent:
    the text was written by a model and may hold any character.
    """
    sys.stdout.write(visible(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def visible(text: str) -> str:
    """Return `text` with control characters other than newline and tab as Unicode pictures."""
    return "".join(_picture(character) for character in text)


def _picture(character: str) -> str:
    code = ord(character)
    if code < 0x20 and character not in "\n\t":
        return chr(0x2400 + code)
    return "\N{REPLACEMENT CHARACTER}" if 0x7F <= code < 0xA0 else character


def size(num_bytes: float) -> str:
    """Return a number of bytes in readable form, such as "1.4 GiB"."""
    for unit_bytes, name in _UNITS:
        if num_bytes >= unit_bytes:
            return f"{num_bytes / unit_bytes:.1f} {name}"
    return f"{num_bytes:.0f} B"


def outcomes(basin_K: Sequence[float], top: int = 3) -> str:
    """Return the largest outcomes of a simplex point, such as "12:0.31 40:0.08 3:0.05"."""
    order = sorted(range(len(basin_K)), key=lambda index: -basin_K[index])[:top]
    return " ".join(f"{index}:{basin_K[index]:.2f}" for index in order)


def table(*columns: str, title: str | None = None, numbers: Sequence[str] = ()) -> Table:
    """Return an empty table; the columns in `numbers` are aligned to the right."""
    made = Table(title=title, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for name in columns:
        right = name in numbers
        made.add_column(name, justify="right" if right else "left", no_wrap=True)
    return made


def kernels_table(status: "ConstellationStatus") -> Table:
    """Return a table with one row per kernel; with vocabularies where not all have the same."""
    numbers = ("seat", "routed", "running", "queue", "phi_gauge", "arrived", "restarts", "pid")
    made = table(
        "kernel",
        "state",
        *numbers,
        "basin (largest outcomes)",
        numbers=numbers,
    )
    from constellation.records import COORDIZER_TOKENS  # numpy would slow down `--help`

    several = any(kernel.vocabulary != COORDIZER_TOKENS for kernel in status.kernels)
    if several:
        made.add_column("vocabulary", no_wrap=True)
    for kernel in status.kernels:
        row = _kernel_row(kernel)
        made.add_row(*row, *((kernel.vocabulary,) if several else ()))
    return made


def _kernel_row(kernel: "KernelStatus") -> list[Text | str]:
    state = Text("up", style="green") if kernel.up else Text("down", style="bold red")
    return [
        Text(kernel.name, style="bold"),
        state,
        "-" if kernel.seat is None else str(kernel.seat),
        str(kernel.num_routed),
        str(kernel.num_running),
        str(kernel.queue_depth),
        "-" if kernel.phi_gauge is None else f"{kernel.phi_gauge:.2f}",
        "-" if kernel.arrived is None else f"{kernel.arrived:.2f}",
        str(kernel.num_restarts),
        str(kernel.pid or "-"),
        _basins(kernel),
    ]


def _basins(kernel: "KernelStatus") -> str:
    """Return the largest outcomes of a kernel's mean basin, and how many basins it has."""
    largest_outcomes = outcomes(kernel.basin_K.tolist())
    count = len(kernel.basins_BK)
    return largest_outcomes if count <= 1 else f"{largest_outcomes} (mean of {count} basins)"


def route_table(route: "Route") -> Table:
    """Return a table of the kernels considered, nearest first."""
    several = any(choice.basin is not None for choice in route.choices)
    made = table(
        "",
        "kernel",
        "seat",
        "distance",
        *(("basin",) if several else ()),
        "radius",
        "inside",
        "weight",
        numbers=("seat", "distance", "basin", "radius", "weight"),
    )
    for choice in route.choices:
        chosen = choice.kernel == route.kernel
        made.add_row(
            "→" if chosen else "",
            Text(choice.kernel, style="bold" if chosen else ""),
            "-" if choice.seat is None else str(choice.seat),
            f"{choice.distance:.4f}",
            *(("-" if choice.basin is None else str(choice.basin),) if several else ()),
            f"{choice.radius:.4f}",
            "yes" if choice.distance <= choice.radius else "no",
            f"{choice.weight:.3f}",
        )
    return made


def _beyond(route: "Route") -> str:
    """Return a sentence on the share of in-domain and foreign texts as far out as the query."""
    assert route.beyond_own is not None
    text = (
        f"as far out at {route.num_tokens} tokens: {_at_ends(route.beyond_own)} of in-domain texts"
    )
    if route.beyond_foreign is None:
        return text
    return f"{text}, {100 * route.beyond_foreign:.0f} % of texts of a domain left out"


def _at_ends(share: float) -> str:
    words = {0.002: "at most ", 0.5: "at least "}.get(share, "")
    return f"{words}{100 * share:.1f} %"


def refusal_table(rows: "Sequence[LengthRefusal]") -> Table:
    """Return a table, by length, of the shares of in-domain and foreign texts that are refused."""
    share = f"{100 * rows[0].share:g} %" if rows else ""
    made = table(
        "tokens",
        "in-domain refused",
        "foreign caught",
        "documents",
        numbers=("tokens", "documents"),
        title=f"refusing at {share} of in-domain texts, as measured on held-out text",
    )
    for row in rows:
        made.add_row(
            str(row.num_tokens),
            _share_with_interval(row.refused, row.num_documents),
            _share_with_interval(row.caught, row.num_documents),
            str(row.num_documents),
        )
    return made


def _share_with_interval(share: float | None, num_documents: int) -> str:
    if share is None:
        return "-"
    from constellation.routing.refusal_rule import wilson_interval

    low, high = wilson_interval(share, num_documents)
    return f"{100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def influence_table(route: "Route") -> Table:
    """Return a table of the tokens that moved the text's basin most."""
    made = table("token", "position", "shift (rad)", numbers=("position", "shift (rad)"))
    for influence in route.influences:
        made.add_row(
            visible(repr(influence.text)), str(influence.position), f"{influence.shift:.4f}"
        )
    return made


def route_line(route: "Route", finish: "Finish | None" = None) -> Text:
    """Return one line with the kernel that answers, the reason, the distance and the warnings."""
    distances = dict(zip(route.kernels, route.distances, strict=True))
    line = Text("→ ", style="dim")
    line.append(route.kernel, style="bold cyan")
    line.append(f" ({route.reason}, {route.rule} {distances[route.kernel]:.3f} rad")
    if len(route.choices) > 1:
        line.append(f", margin {route.margin:.3f}")
    line.append(")")
    if route.mode != "nearest":
        shares = {each.kernel: each.weight for each in route.choices if each.weight}
        line.append(f" {route.mode} of {_shares(shares)}")
    for note in warnings(route):
        line.append(f" {note}", style="yellow")
    if finish is not None:
        seconds = f"{finish.elapsed_s:.2f} s"
        line.append(f" {finish.num_tokens} tokens in {seconds}, {finish.reason}", style="dim")
        if finish.weights:
            line.append(f", in the end {_shares(finish.weights)}", style="dim")
        if finish.lost:
            line.append(f", lost: {', '.join(finish.lost)}", style="yellow")
    return line


def _shares(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:.2f}" for name, weight in weights.items())


def warnings(route: "Route") -> list[str]:
    """Return sentences on what makes a route uncertain, such as a text outside every domain."""
    notes = []
    if route.no_evidence:
        notes.append("no token of the text points to any domain")
    if route.out_of_domain:
        notes.append("outside every kernel's radius")
    if route.reason == "failover":
        notes.append("a nearer kernel is down")
    if route.reason == "spill":
        notes.append("a nearer kernel has its full number of requests")
    return notes


def explain(console: Console, route: "Route") -> None:
    """Print a route with its reasons: distances, weights, margin and most influential tokens."""
    console.print(route_table(route))
    console.print(
        f"rule {route.rule} · mode {route.mode} · reason {route.reason} · "
        f"margin {route.margin:.4f} rad · {route.num_tokens} tokens · "
        f"table version {route.table_version}"
    )
    if route.beyond_own is not None:
        console.print(_beyond(route))
    for note in warnings(route):
        console.print(f"note: {note}", style="yellow")
    if route.influences:
        console.print("\nTokens that moved the basin most:")
        console.print(influence_table(route))
