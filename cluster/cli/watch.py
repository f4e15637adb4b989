"""The command `watch`: run Prometheus with the alerts of a constellation, and print the alerts."""

import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cluster.cli import options, output_format, progress_lines
from cluster.cli.connection import configuration

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cluster.prometheus_process import FiringAlert, Prometheus, PrometheusOptions

FOLLOW_S = 5.0
"""Seconds between two looks at the alerts and at the constellation's address."""
_STYLES = {"critical": "red", "warning": "yellow"}


def watch(
    port: Annotated[
        int,
        typer.Option(
            min=1,
            max=65_535,
            help="TCP port of Prometheus' web page on this machine's loopback address, 1 to 65535.",
        ),
    ] = 9090,
    run_dir: options.RunDir = None,
    keep: Annotated[
        int,
        typer.Option(
            min=1,
            max=3650,
            help="Days for which measured values are kept in the run folder, 1 to 3650. The "
            "slowest alert looks back 3 days.",
        ),
    ] = 15,
    alertmanager: Annotated[
        str | None,
        typer.Option(
            help="Address of a running Alertmanager, as host:port, which gets the alerts and "
            "notifies people. (default: alerts are shown here and on Prometheus' page only)",
            show_default=False,
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(
            help="Write the configuration and the rules into this folder, for a Prometheus of your "
            "own, and start nothing. (default: start Prometheus)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run Prometheus over the running constellation, and print each alert when it begins and ends.

    Needs the program `prometheus`. Prometheus collects the metrics of all processes, judges them by
    the constellation's alert rules, and keeps its data in the run folder. The command runs until
    Ctrl-C and then ends Prometheus; the constellation keeps running.

    Example: constellation watch --port 9090
    """
    from cluster.prometheus_configuration import write_configuration
    from cluster.prometheus_process import PrometheusOptions, find_prometheus
    from constellation.client.session import check_endpoint

    if alertmanager is not None:
        check_endpoint(alertmanager, "--alertmanager")
    program = None if write is not None else find_prometheus()
    folder = configuration(run_dir=run_dir).run_dir
    own = write or folder.resolve() / "prometheus"
    path = write_configuration(own, metrics_of(folder), alertmanager)
    if program is None:
        output_format.stdout().print(f"wrote {path}; run: prometheus --config.file={path}")
        return
    terms = PrometheusOptions(folder=own, port=port, keep_days=keep)
    _run(program, terms, folder, alertmanager)


def _run(program: str, terms: "PrometheusOptions", run_dir: Path, alertmanager: str | None) -> None:
    """Run Prometheus and print its alerts until Ctrl-C or SIGTERM."""
    from cluster.prometheus_process import running_prometheus

    console = output_format.stdout()
    with (
        _stopped_by_signals() as stop,
        running_prometheus(program, terms, stop) as prometheus,
        progress_lines.paused(),
    ):
        console.print(f"Prometheus: {prometheus.url} · alerts: {prometheus.url}/alerts")
        console.print(f"data: {terms.folder}, kept for {terms.keep_days} days")
        console.print("alerts appear below; Ctrl-C ends Prometheus")
        follow(prometheus, terms.folder, run_dir, alertmanager, stop)
    console.print("Prometheus has ended")


def metrics_of(run_dir: Path) -> str:
    """Return host:port of the metrics of the constellation that runs from a run folder.

    Raises:
        DeploymentError: Nothing runs from the run folder.
    """
    from cluster.state_file import require_running
    from constellation.errors import DeploymentError

    found = require_running(run_dir).metrics
    if found is None:
        raise DeploymentError(f"the constellation of {run_dir} serves no metrics; restart it")
    return found


def follow(
    prometheus: "Prometheus",
    own: Path,
    run_dir: Path,
    alertmanager: str | None,
    stop: threading.Event,
) -> None:
    """Print every alert that begins or ends until `stop` is set.

    A constellation that was started again may serve its metrics at another port; Prometheus then
    gets a new configuration.

    Raises:
        DeploymentError: Prometheus has ended.
    """
    from cluster.prometheus_configuration import configuration_text, write_configuration
    from cluster.state_file import running

    known: frozenset[FiringAlert] = frozenset()
    while not stop.wait(FOLLOW_S):
        prometheus.check()
        known = _print_changes(known, prometheus.firing())
        state = running(run_dir)
        if state is None or state.metrics is None:
            continue
        text = configuration_text(state.metrics, alertmanager)
        if (own / "prometheus.yml").read_text(encoding="utf-8") != text:
            write_configuration(own, state.metrics, alertmanager)
            prometheus.reload()


def _print_changes(
    before: "frozenset[FiringAlert]", now: "Collection[FiringAlert] | None"
) -> "frozenset[FiringAlert]":
    """Print the alerts that began or ended; return those that fire now."""
    if now is None:
        return before
    console, clock = output_format.stdout(), time.strftime("%H:%M:%S")
    for alert in sorted({*now} - before):
        style = _STYLES.get(alert.severity)
        console.print(f"{clock} {alert.severity} {alert.name}: {alert.summary}", style=style)
    for alert in sorted(before - {*now}):
        console.print(f"{clock} ended {alert.name}: {alert.summary}")
    return frozenset(now)


@contextmanager
def _stopped_by_signals() -> "Iterator[threading.Event]":
    """Yield an event that Ctrl-C and SIGTERM set, so that Prometheus is ended in order."""
    stop = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: stop.set()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
