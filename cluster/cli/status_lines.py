"""The state of a constellation as lines of at most 80 columns, for people who run one. Pure."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rich.text import Text

from cluster.cli.output_format import size
from cluster.cli.router_sums import Sums
from constellation.client import ConstellationStatus, KernelStatus
from constellation.records import WINDOW_S, Durations, KernelTraining, NodeState, TrainingStatus

WIDTH: Final = 80
"""Most columns of a line."""
ROWS: Final = 20
"""Most kernels that are shown, unless all are asked for."""
_NAME = 24
_NAMED = 3
_STYLES = {"serving": "bold green", "degraded": "bold yellow", "down": "bold red"}
_LABEL = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """What is shown of a constellation, and when."""

    sums: Sums
    endpoint: str
    """host:port that was asked."""
    http: str | None = None
    launcher_pid: int | None = None
    memory_bytes: int | None = None
    """Memory of all processes; None where it cannot be measured."""
    now_s: float = 0.0
    """Seconds since the epoch."""


def problems(sums: Sums) -> list[str]:
    """Return what is wrong with a constellation in words, the worst first."""
    status, found = sums.status, []
    lost = [kernel.name for kernel in status.kernels if not kernel.up]
    if lost:
        found.append(f"{_names('kernel', lost)} down")
    fewer = [each.name for each in status.kernels if each.up and _num_up(each) < _num_wanted(each)]
    if fewer:
        found.append(f"{_names('kernel', fewer)} served by too few processes")
    found += sorted({kernel.problem for kernel in status.kernels if kernel.problem})[:_NAMED]
    silent = {each.name for each in status.routers if not each.up} | set(sums.unanswered)
    if silent:
        found.append(f"{_names('router', sorted(silent))} down or not answering")
    if not status.registry_pid:
        found.append("the registry is restarting: nothing that dies now is noticed")
    if status.start_problem:
        found.append(status.start_problem)
    return found


def state_word(sums: Sums) -> str:
    """Return "serving", "degraded" (something is wrong), or "down" (no kernel answers)."""
    if not any(kernel.up for kernel in sums.status.kernels):
        return "down"
    return "degraded" if problems(sums) else "serving"


def all_lines(shown: Shown, *, rows: int | None = ROWS) -> list[Text]:
    """Return everything: state, traffic, kernels, routers, nodes and training.

    Args:
        shown: The state.
        rows: Most kernels to show, the busiest and the troubled ones; None means all.
    """
    return [
        *head_lines(shown),
        Text(),
        *kernel_lines(shown.sums.status.kernels, rows),
        Text(),
        *foot_lines(shown),
    ]


def head_lines(shown: Shown) -> list[Text]:
    """Return the state in a word with what is wrong, the release, and the traffic of a minute."""
    status, word = shown.sums.status, state_word(shown.sums)
    first = Text(word, style=_STYLES[word])
    rest = f" · {_release(status, shown.now_s)} · up {_age(status.uptime_s)}"
    first.append(_cut(rest, WIDTH - len(word)), style="not bold default")
    lines = [first]
    for each in problems(shown.sums):
        lines += [Text(part, style="yellow") for part in _wrapped(each, "  ")]
    if status.num_unexpected_errors:
        count = _plural(status.num_unexpected_errors, "unexpected error")
        lines.append(Text(f"  {count} since the start: see the logs", "yellow"))
    return [*lines, *_traffic(status)]


def one_line(shown: Shown) -> str:
    """Return the state as one line of at most 80 columns, for a log."""
    status = shown.sums.status
    traffic, found = status.traffic, problems(shown.sums)
    clock = datetime.fromtimestamp(shown.now_s).strftime("%H:%M:%S")
    state = f"{clock} {state_word(shown.sums)}"
    rates = (
        f"{_rate(traffic.requests)} requests/s, {_rate(traffic.failed)} failed/s, "
        f"p99 {_quantile(traffic.latency, 'p99')}"
    )
    room = max(1, WIDTH - len(f"{state}: , {rates}"))
    said = f"{state}: {_cut(found[0], room)}, {rates}" if found else f"{state}: {rates}"
    return _cut(said, WIDTH)


def kernel_lines(kernels: Sequence[KernelStatus], rows: int | None) -> list[Text]:
    """Return a row for each kernel, the troubled and the busiest first, and count the others."""
    total = sum(kernel.num_routed for kernel in kernels)
    ordered = sorted(kernels, key=_urgency)
    listed = ordered if rows is None or len(ordered) <= rows else ordered[:rows]
    lines = [Text(_HEADER, style="bold")]
    lines += [_kernel(kernel, total) for kernel in listed]
    if others := ordered[len(listed) :]:
        num_up = sum(kernel.up for kernel in others)
        routed = sum(kernel.num_routed for kernel in others)
        lines.append(
            Text(
                f"{len(others)} more kernels: {num_up} up, {_count(routed)} requests "
                f"({_share(routed, total)}); --all shows them",
                style="dim",
            )
        )
    return lines


def foot_lines(shown: Shown) -> list[Text]:
    """Return routers, nodes, and a training in progress."""
    status = shown.sums.status
    lines = [_labelled("at", shown.endpoint)]
    if shown.http is not None:
        lines.append(_labelled("http", shown.http))
    lines += _routers(shown.sums)
    lines += [line for node in status.overview.nodes for line in _node(node)]
    if shown.memory_bytes is not None:
        said = f"{size(shown.memory_bytes)} of all processes (PSS, Ray's daemons included)"
        lines.append(_labelled("memory", said))
    training = status.overview.training
    if training is not None and training.state in ("RUNNING", "FAILED"):
        lines += _training(training)
    return lines


_HEADER = (
    f"{'kernel':<{_NAME}} {'state':<5} {'running':>7} {'queue':>5} {'requests':>10} "
    f"{'share':>6} {'arrived':>7} {'restarts':>8}"
)


def _kernel(kernel: KernelStatus, total: int) -> Text:
    line = Text(f"{_cut(kernel.name, _NAME):<{_NAME}} ", style="bold")
    line.append(f"{_state(kernel):<5}", style=_state_style(kernel))
    arrived = "-" if kernel.arrived is None else f"{100 * kernel.arrived:.0f} %"
    line.append(
        f" {kernel.num_running:>7} {kernel.queue_depth:>5} {_count(kernel.num_routed):>10} "
        f"{_share(kernel.num_routed, total):>6} {arrived:>7} ",
        style="not bold",
    )
    restarts = "yellow" if kernel.num_restarts else "not bold"
    line.append(f"{kernel.num_restarts:>8}", style=restarts)
    return line


def _state(kernel: KernelStatus) -> str:
    """Return "up" or "down"; of a kernel of several processes, how many of them are up."""
    if not kernel.replicas:
        return "up" if kernel.up else "down"
    return f"{_num_up(kernel)}/{_num_wanted(kernel)}"


def _state_style(kernel: KernelStatus) -> str:
    if not kernel.up:
        return "bold red"
    return "not bold green" if _num_up(kernel) == _num_wanted(kernel) else "not bold yellow"


def _num_up(kernel: KernelStatus) -> int:
    return sum(each.up for each in kernel.replicas)


def _num_wanted(kernel: KernelStatus) -> int:
    return len(kernel.replicas)


def _urgency(kernel: KernelStatus) -> tuple[bool, int, bool, int, int, str]:
    """Return what kernels are sorted by: down, queueing, restarted, running, most requests."""
    waiting, busy = -kernel.queue_depth, -kernel.num_running
    return kernel.up, waiting, not kernel.num_restarts, busy, -kernel.num_routed, kernel.name


def _release(status: ConstellationStatus, now_s: float) -> str:
    if not status.release:
        return "no release"
    since_s = status.overview.release_since_s
    if since_s is None:
        return f"release {status.release}"
    date = datetime.fromtimestamp(since_s).strftime("%Y-%m-%d %H:%M")
    return f"release {status.release} since {date} ({_age(now_s - since_s)})"


def _traffic(status: ConstellationStatus) -> list[Text]:
    traffic = status.traffic
    rates = (
        f"{_rate(traffic.requests)} requests/s, {_rate(traffic.tokens)} tokens/s written, "
        f"{_rate(traffic.failed)} failed/s, {_rate(traffic.refused)} refused/s"
    )
    latency, first = traffic.latency, traffic.first_token
    times = (
        f"latency p50 {_quantile(latency, 'p50')}, p99 {_quantile(latency, 'p99')}; "
        f"first token p50 {_quantile(first, 'p50')}, p99 {_quantile(first, 'p99')}"
    )
    return [_labelled(f"last {WINDOW_S} s", rates), _labelled("", times)]


def _routers(sums: Sums) -> list[Text]:
    status = sums.status
    registry = f"registry process {status.registry_pid or '-'}"
    if len(status.routers) <= 1:
        restarts = _plural(sum(each.num_restarts for each in status.routers), "restart")
        one = f"process {status.router_pid}, {restarts} · {registry}"
        return [_labelled("router", one)]
    lines = [_labelled("routers", f"counts of {sums.num_routers} are added up · {registry}")]
    for each in status.routers:
        silent = each.up and each.name in sums.unanswered
        state = "does not answer" if silent else "up" if each.up else "down"
        restarts = _plural(each.num_restarts, "restart")
        said = f"{each.name} {state} at {each.endpoint}, {restarts}"
        lines.append(_labelled("", said, style="" if state == "up" else "yellow"))
    return lines


def _node(state: NodeState) -> list[Text]:
    processes = _plural(state.num_processes, "process", "processes")
    load = f"{processes}, load {state.load_ratio:.2f} per core"
    free, total = size(state.memory_free_bytes), size(state.node.memory_bytes)
    room = f"memory {free} free of {total}, disk {size(state.disk_free_bytes)} free"
    return [_labelled("node", f"{state.node.address}, {load}"), _labelled("", room)]


def _training(training: TrainingStatus) -> list[Text]:
    running = [each for each in training.kernels if each.state == "RUNNING"]
    failed = [each.kernel for each in training.kernels if each.state == "FAILED"]
    counts = f"{training.state.lower()}, {_plural(len(training.kernels), 'kernel')}"
    lines = [_labelled("training", counts)]
    lines += [_labelled("", _step(each)) for each in running[:_NAMED]]
    if len(running) > _NAMED:
        lines.append(_labelled("", f"{len(running) - _NAMED} more are being trained"))
    if failed:
        lines.append(_labelled("", f"{_names('kernel', failed)} failed", style="red"))
    return lines


def _step(kernel: KernelTraining) -> str:
    if kernel.step is None or kernel.num_steps is None:
        return f"{kernel.kernel} starts"
    said = f"{_cut(kernel.kernel, _NAME)} step {kernel.step:,} of {kernel.num_steps:,}"
    if kernel.bits_per_byte is not None:
        said += f", {kernel.bits_per_byte:.2f} bits/byte"
    return said if kernel.eta_s is None else f"{said}, {_age(kernel.eta_s)} left"


def _labelled(label: str, said: str, *, style: str = "") -> Text:
    line = Text(f"{label:<{_LABEL}}", style="dim")
    line.append(_cut(said, WIDTH - _LABEL), style=style or "not dim")
    return line


def _names(what: str, names: Sequence[str]) -> str:
    """Return names in words, such as "kernels a, b, c and 5 more"."""
    listed = ", ".join(_cut(name, _NAME) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    verb = "is" if len(names) == 1 else "are"
    return f"{what}{'' if len(names) == 1 else 's'} {listed}{more} {verb}"


def _plural(count: int, one: str, several: str = "") -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"


def _rate(count: int) -> str:
    """Return a count of the window as a rate."""
    rate = count / WINDOW_S
    if rate >= 100 or not count:
        return f"{rate:,.0f}"
    return f"{rate:.1f}" if rate >= 1 else f"{rate:.2f}"


def _quantile(durations: Durations, which: str) -> str:
    found = durations.quantiles()
    return "-" if found is None else _seconds(getattr(found, which))


def _seconds(seconds: float) -> str:
    if seconds < 0.01:
        return f"{1000 * seconds:.1f} ms"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:,.0f} s"


def _age(seconds: float) -> str:
    """Return a time span in its two largest units, such as "3 h 20 min"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def _count(number: int) -> str:
    """Return a number in ten characters at most."""
    return f"{number:,}" if number < 100_000_000 else f"{number:.2e}"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} %" if total else "-"


def _cut(text: str, width: int) -> str:
    """Return a text in so many characters, with a mark where it was cut."""
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)
