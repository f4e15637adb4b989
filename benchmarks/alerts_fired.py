"""Does every alert fire for its real cause, and end when the cause ends? On a real constellation.

    python -m benchmarks.alerts_fired --artifacts artifacts/starter --json

A constellation with two routers serves from disks of its own, which only the superuser can make,
and a real Prometheus judges the shipped rules. To see in minutes what takes hours, every duration
of the rules is divided by `--factor` (`benchmarks/faster_rules.py`); nothing else of the rules is
changed. Each cause is made (`benchmarks/alert_causes.py`) until its alerts fire, then taken back
until they end. The last line is one JSON object: `missing` are alerts that did not fire,
`not_ended` those that did not end (0 of both is good), `others` those that fired beside the
expected ones. The program exits with 1 if an alert did not fire or did not end.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.alert_causes import CAUSES, Cause
from benchmarks.alert_stage import MISTAKE, Stage
from benchmarks.disks_disturbances import Disks, disks
from benchmarks.faster_rules import write_faster_rules
from benchmarks.unstable_training import train_unstable
from cluster import launcher_process
from cluster.prometheus_configuration import configuration_text
from constellation.settings import Settings, apply_environment, load_settings
from tests.watching.prometheus_server import PrometheusServer

FIRE_S = 150.0
"""Most seconds from a cause until its alerts fire."""
END_S = 300.0
"""Most seconds from the end of a cause until its alerts have ended."""
INTERVAL_S = 2
"""Seconds between two scrapes. Not divided: a scrape waits up to 1 s for a process that hangs."""


@dataclass
class Seen:
    """What came of one alert: seconds until it fired and until it ended; None: it did not."""

    alert: str
    cause: str
    fired_s: float | None = None
    ended_s: float | None = None
    others: list[str] = field(default_factory=list)


def main() -> None:
    """Cause all alerts, or those of `--only`; print the table and the counts."""
    arguments = _arguments()
    chosen = [each for each in CAUSES if _is_chosen(each, arguments.only)]
    base = Path(tempfile.mkdtemp(prefix="ca"))
    try:
        with disks(base) as made, stage(made, arguments.artifacts, base) as (on, settings):
            metrics = str(on.state.metrics)
            with prometheus(base, metrics, arguments.factor) as server:
                seen = [each for cause in chosen for each in attempt(cause, on, server)]
                launcher_process.stop(settings.run_dir)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    report = summary(seen, arguments.factor)
    sys.stdout.write(json.dumps(report) + "\n")
    raise SystemExit(1 if report["missing"] or report["not_ended"] else 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--factor", type=float, default=20.0, help="divides all durations")
    parser.add_argument("--only", nargs="*", default=[], help="names of alerts; default: all")
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def _is_chosen(cause: Cause, only: Sequence[str]) -> bool:
    return not only or any(alert in only for alert in cause.alerts)


@contextmanager
def stage(made: Disks, artifacts: Path, base: Path) -> Iterator[tuple[Stage, Settings]]:
    """Start a constellation on these disks, and stop it at the end."""
    if not made.has_disks:
        raise SystemExit("run this as the superuser: a full disk must be a disk of its own")
    shutil.copytree(artifacts, made.folder("artifacts"), dirs_exist_ok=True)
    plant, flag = base / "plant", base / "mistake"
    plant.mkdir()
    (plant / "sitecustomize.py").write_text(MISTAKE.format(flag=str(flag)), encoding="utf-8")
    paths = {"TMPDIR": str(made.folder("temporary")), "PYTHONPATH": str(plant)}
    training = train_unstable(base / "training")
    apply_environment(paths)
    settings = load_settings(
        artifacts=made.folder("artifacts"),
        run_dir=made.folder("run"),
        serve={"port": 0, "http": False, "routers": 2, "requests_max": 20},
        kernel={"slots": 1, "queue_max": 16},
    )
    state = launcher_process.start(settings)
    try:
        yield Stage(state, made, flag, training), settings
    finally:
        _stop(settings)


def _stop(settings: Settings) -> None:
    from cluster.state_file import running

    if running(settings.run_dir) is not None:
        launcher_process.stop(settings.run_dir)


@contextmanager
def prometheus(base: Path, metrics: str, factor: float) -> Iterator[PrometheusServer]:
    """Run Prometheus with the shipped configuration and the faster rules."""
    (base / "rules").mkdir()
    rules = write_faster_rules(base / "rules", factor)
    configuration = yaml.safe_load(configuration_text(metrics))
    folder = base / "prometheus"
    with PrometheusServer(folder, configuration, rules=rules, interval_s=INTERVAL_S) as server:
        server.wait_until(lambda: server.query('up{job="constellation"} == 1'))
        server.wait_until(lambda: not firing(server))
        yield server


def attempt(cause: Cause, on: Stage, server: PrometheusServer) -> list[Seen]:
    """Play a cause; alerts of a cause that cannot be made are missing."""
    try:
        return play(cause, on, server)
    except (LookupError, TimeoutError) as error:
        _say(f"  not caused: {error}")
        return [Seen(alert, cause.name) for alert in cause.alerts]


def play(cause: Cause, on: Stage, server: PrometheusServer) -> list[Seen]:
    """Make a cause until its alerts fire, take it back until they end."""
    seen = [Seen(alert, cause.name) for alert in cause.alerts]
    _say(f"{cause.name}: {', '.join(cause.alerts)}")
    before = firing(server)
    started_s = time.monotonic()
    with cause.disturb(on):
        fired = watch(seen, FIRE_S, lambda each, now: each.alert in now, server, started_s)
        others = sorted(firing(server) - before - set(cause.alerts))
        left_s = time.monotonic()
    with cause.recover(on):
        ended = watch(seen, END_S, lambda each, now: each.alert not in now, server, left_s)
    for each in seen:
        each.fired_s, each.ended_s = fired.get(each.alert), ended.get(each.alert)
        each.others = others
        _say(_line(each))
    return seen


def firing(server: PrometheusServer) -> set[str]:
    """Return the names of the alerts that fire now."""
    return {each["labels"]["alertname"] for each in server.alerts() if each["state"] == "firing"}


def watch(
    seen: Sequence[Seen],
    limit_s: float,
    is_true: Callable[[Seen, set[str]], bool],
    server: PrometheusServer,
    since_s: float,
) -> dict[str, float]:
    """Return alert -> seconds since `since_s` until something was true of it, if it ever was."""
    found: dict[str, float] = {}

    def all_found() -> bool:
        now = firing(server)
        for each in seen:
            if is_true(each, now):
                found.setdefault(each.alert, round(time.monotonic() - since_s, 1))
        return len(found) == len(seen)

    try:
        server.wait_until(all_found, timeout_s=limit_s)
    except AssertionError:
        _say(f"after {limit_s:.0f} s: {found}; {_states(seen, server)}")
    return found


def _states(seen: Sequence[Seen], server: PrometheusServer) -> list[str]:
    rules = server.rules()
    return [f"{each.alert}: {rules[each.alert].get('state')}" for each in seen]


def _line(seen: Seen) -> str:
    fired, ended = (
        "never" if seconds is None else f"after {seconds:.1f} s"
        for seconds in (seen.fired_s, seen.ended_s)
    )
    beside = f"; beside: {', '.join(seen.others)}" if seen.others else ""
    return f"  {seen.alert}: fired {fired}, ended {ended}{beside}"


def summary(seen: Sequence[Seen], factor: float) -> dict[str, Any]:
    """Return the counts, with the commit."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()
    return {
        "alerts": len(seen),
        "fired": sum(each.fired_s is not None for each in seen),
        "resolved": sum(each.ended_s is not None for each in seen if each.fired_s is not None),
        "missing": [each.alert for each in seen if each.fired_s is None],
        "not_ended": [each.alert for each in seen if each.ended_s is None],
        "others": sorted({name for each in seen for name in each.others}),
        "factor": factor,
        "seconds": {each.alert: [each.fired_s, each.ended_s] for each in seen},
        "commit": commit,
    }


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
