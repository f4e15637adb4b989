"""What do callers notice when a machine of a constellation is lost?

    python -m benchmarks.machines --loopback --artifacts artifacts/starter --runs 3

A constellation runs on three machines, and callers outside of them ask without a pause longer than
`PAUSE_S`. Then one machine with kernels, but without the router, is lost in one of these ways:

* `power_cut`: the machine loses its power: its link first, then every process;
* `partition`: nobody reaches the machine for `PARTITION_S` seconds, and then everybody does;

Figures of each way, medians over the runs, worst run in brackets; lower is better for each:

* `failed`: requests that got an error or no answer within `DEADLINE_S`, of all `requests`;
* `slowest_s`: seconds of the slowest request, from the loss on;
* `whole_s`: seconds from the loss until every kernel answers a request that names the kernel,
  within `ANSWER_S`, and the router calls all kernels up;
* `flaps`: kernels that went down again after that, until `CALM_S` later.

`--loopback` needs no root: machines are raylets on loopback, a power cut is SIGKILL to every
process of one, and a partition is SIGSTOP, so that nothing answers and no socket is closed. Without
it, machines are hosts in namespaces (tests/machines/hosts.py). The last line is one JSON object.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.machines_load import Load, Watcher
from benchmarks.machines_stages import HostsStage, LoopbackStage, Stage
from constellation.settings import load_settings
from tests.machines.namespaces import missing

PARTITION_S = 20.0
CALM_S = 10.0
"""Seconds of load after everything is whole again, in which nobody may flap."""
WARM_S = 5.0
WHOLE_MAX_S = 120.0
EVENTS = ("power_cut", "partition")
KEYS = ("failed", "slowest_s", "whole_s", "flaps", "requests")


def main() -> None:
    """Run every way of losing a machine; print medians and one JSON object."""
    arguments = _arguments()
    runs: dict[str, list[dict[str, float]]] = {event: [] for event in arguments.events}
    for number in range(arguments.runs):
        for event in arguments.events:
            with tempfile.TemporaryDirectory() as folder, _stage(arguments, Path(folder)) as stage:
                figures = lose(stage, event, num_requests=arguments.requests)
            _say(f"run {number + 1}, {event}: {figures}")
            runs[event].append(figures)
    report = {event: _summary(figures) for event, figures in runs.items()}
    for event, summary in report.items():
        _say(f"{event}: " + ", ".join(_line(key, summary) for key in KEYS))
    # The power cut's figures are those that are compared over time.
    first = report.get("power_cut") or next(iter(report.values()))
    print(json.dumps({**{key: first[key] for key in KEYS}, **report, "where": _where(arguments)}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, help="what training left")
    parser.add_argument("--loopback", action="store_true", help="raylets: needs no root")
    parser.add_argument("--events", nargs="+", choices=EVENTS, default=EVENTS)
    parser.add_argument("--machines", type=int, default=3)
    parser.add_argument("--requests", type=int, default=2000, help="fewest requests of one event")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def _stage(arguments: argparse.Namespace, folder: Path) -> LoopbackStage | HostsStage:
    settings = load_settings(artifacts=arguments.artifacts, run_dir=folder, serve={"port": 0})
    if arguments.loopback:
        return LoopbackStage(settings, num_machines=arguments.machines)
    if (reason := missing()) is not None:
        raise SystemExit(f"{reason}; or add --loopback")
    return HostsStage(settings.artifacts, folder, num_machines=arguments.machines)


def _where(arguments: argparse.Namespace) -> str:
    return "loopback" if arguments.loopback else "hosts"


def lose(stage: Stage, event: str, *, num_requests: int) -> dict[str, float]:
    """Lose a machine under load; return the figures of this one run."""
    with Load(stage.client) as load, Watcher(stage.client) as watcher:
        watcher.wait_whole(WHOLE_MAX_S)
        threading.Event().wait(WARM_S)
        stage.choose(watcher.status())
        lost = watcher.places(stage.victim_id) if event == "power_cut" else {}
        lost_s = time.monotonic()
        heal = _strike(stage, event)
        whole_s = watcher.wait_whole(WHOLE_MAX_S, moved=lost) - lost_s
        heal()
        watcher.wait_whole(WHOLE_MAX_S)  # a healed machine may have been emptied
        watcher.calm(CALM_S)
        load.wait_for(num_requests)
    for error, count in load.errors.most_common(5):
        _say(f"{count} times: {error}")
    return {
        "failed": load.num_failed,
        "slowest_s": round(load.slowest_s(lost_s), 2),
        "whole_s": round(whole_s, 2),
        "flaps": watcher.num_flaps,
        "requests": load.num_requests,
    }


def _strike(stage: Stage, event: str) -> Callable[[], object]:
    """Lose the machine; return what is to be called when everything is whole again."""
    if event == "power_cut":
        stage.power_cut()
        return lambda: None
    stage.partition()
    healing = threading.Timer(PARTITION_S, stage.heal)
    healing.start()
    return healing.join


def _summary(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return median and worst of every figure; the worst of requests is the fewest."""
    medians = {key: statistics.median(run[key] for run in runs) for key in KEYS}
    worst = {f"{key}_worst": max(run[key] for run in runs) for key in KEYS if key != "requests"}
    return {**medians, **worst, "requests": sum(run["requests"] for run in runs)}


def _line(key: str, summary: dict[str, float]) -> str:
    worst = summary.get(f"{key}_worst")
    return f"{key} {summary[key]:g}" + ("" if worst is None else f" [{worst:g}]")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
