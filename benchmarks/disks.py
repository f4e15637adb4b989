"""Does a constellation outlive its disks? Folders are full, read-only and removed under load.

    python -m benchmarks.disks --rounds 50 --artifacts artifacts/starter --json

A round: one of the folders (run, artifacts, temporary) is disturbed at a random moment, and in
three of four rounds a kernel, a router or the registry gets SIGKILL or SIGSTOP beside it. Then the
room comes back, and all must be whole again: everybody up, the one that was killed by another
process, the files of the run folder there and true. What counts, all of it best at 0:

* `lost`, `untyped`: requests without an answer or a typed error, errors that are none of ours;
* `not_whole`: rounds after which somebody stayed away or the run folder lacked something;
* `untrue`: rounds in which `status` or metrics said of a dead process that it was up, 8 s after
  its death or later, or contradicted each other at the end, or did not count a restart;
* `silent_ends`: constellations that ended without a word in their log.

`ends` counts those that ended with one, and were started again: where Ray's own folder is removed,
no process can be started any more. Filling and read-only disks need the superuser's rights.
"""

import argparse
import json
import random
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.chaos import prompts, unexpected_errors
from benchmarks.chaos_deaths import Deaths
from benchmarks.chaos_traffic import Tally, Traffic
from benchmarks.disks_disturbances import PLACES, Disks, disks
from benchmarks.disks_truth import (
    contradictions,
    false_claims,
    is_alive,
    missing_from,
    registry_metrics,
)
from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus
from constellation.errors import ConstellationError
from constellation.settings import Settings, apply_environment, load_settings

ROUTERS = 2
WHOLE_MAX_S = 90.0
"""Seconds after which somebody who is not back counts as lost for good."""
TRUE_MAX_S = 8.0
"""Seconds that `status` may take to notice a death."""
_DEATH_SHARE = 0.75
_WAIT_MAX_S = 1.5
_HOLD_S = (3.0, 8.0)
_LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Plan:
    """One round, drawn beforehand."""

    place: str
    kind: str
    victim: str | None
    """"kernel", "router" or "registry"; None: nobody."""
    signal: str = "kill"
    """"kill" or "hang"."""
    wait_s: float = 0.5
    """From the disturbance to the death."""
    hold_s: float = 4.0
    """How long it is disturbed from then on."""


@dataclass(slots=True)
class Round:
    """What came of one."""

    plan: Plan
    victim: str = ""
    whole_s: float | None = None
    """Seconds from when there was room again until all was whole; None: it never was."""
    ended: bool = False
    """The constellation ended, and said so."""
    silent: bool = False
    """It ended and said nothing."""
    untrue: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


def main() -> None:
    """Run it and print the table and the counts."""
    arguments = _arguments()
    base = Path(tempfile.mkdtemp(prefix="cd"))
    try:
        with disks(base) as made:
            if not made.has_disks:
                _say("left out: full and read-only disks, which only the superuser can make")
            plans = draw(made, arguments.rounds, seed=arguments.seed)
            report = run(made, arguments.artifacts, plans, seed=arguments.seed)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    sys.stdout.write(json.dumps(report) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts/starter"))
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="accepted for uniformity")
    return parser.parse_args()


def draw(made: Disks, rounds: int, *, seed: int) -> list[Plan]:
    """Draw the rounds: every place and kind about as often as any other."""
    chance = random.Random(seed)
    cases = [(place, kind) for place in PLACES for kind in made.kinds()]
    plans = []
    for number in range(rounds):
        if number % len(cases) == 0:
            chance.shuffle(cases)
        place, kind = cases[number % len(cases)]
        victim = chance.choice(("kernel", "kernel", "router", "registry"))
        plans.append(
            Plan(
                place,
                kind,
                victim if chance.random() < _DEATH_SHARE else None,
                "kill" if chance.random() < 0.7 else "hang",
                _WAIT_MAX_S * chance.random(),
                chance.uniform(*_HOLD_S),
            )
        )
    return plans


def run(made: Disks, artifacts: Path, plans: Sequence[Plan], *, seed: int) -> dict[str, Any]:
    """Do the rounds on copies of the artifacts; return the report."""
    shutil.copytree(artifacts, made.folder("artifacts"), dirs_exist_ok=True)
    apply_environment({"TMPDIR": str(made.folder("temporary"))})
    settings = load_settings(
        artifacts=made.folder("artifacts"),
        run_dir=made.folder("run"),
        serve={"port": free_ports(2 * ROUTERS + 1), "routers": ROUTERS},
        kernel={"stall_s": 3.0},
    )
    stage = Stage(made, settings, seed)
    try:
        stage.start()
        assert stage.state is not None
        assert stage.state.http is not None
        with Traffic(stage.state.endpoints, stage.state.http, prompts(), seed=seed) as traffic:
            done = [stage.play(number, plan) for number, plan in enumerate(plans, 1)]
    finally:
        stage.stop()
    return _report(done, traffic.tally, stage.unexpected)


def free_ports(count: int) -> int:
    """Return the first of so many neighbouring ports where nobody listens."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as server:
            first = int(server.getsockname()[1])
        try:
            for port in range(first, first + count):
                socket.create_server(("127.0.0.1", port)).close()
        except (OSError, OverflowError):
            continue
        return first


class Stage:
    """One constellation after the other, and what is done to it."""

    def __init__(self, made: Disks, settings: Settings, seed: int) -> None:
        self.state: RunState | None = None
        self.unexpected: list[str] = []
        self._disks = made
        self._settings = settings
        self._chance = random.Random(seed)
        self._deaths: Deaths | None = None
        self._pause = threading.Event()

    def start(self) -> None:
        """Start a constellation."""
        self.state = launcher_process.start(self._settings)
        self._deaths = Deaths(self.state, 0)

    def stop(self) -> None:
        """Stop it as `constellation down` does."""
        self.unexpected += unexpected_errors(self._settings.run_dir)
        if self._deaths is not None:
            self._deaths.close()
        if self.state is not None and is_alive(self.state.pid):
            launcher_process.stop(self._settings.run_dir)

    def play(self, number: int, plan: Plan) -> Round:
        """Do one round and have all whole again."""
        found = Round(plan)
        assert self._deaths is not None
        _, members = self._deaths.wait_whole({}, started_s=time.monotonic())
        before = self._status()
        self.unexpected += unexpected_errors(self._settings.run_dir)
        with self._disks.disturbed(plan.place, plan.kind):
            self._pause.wait(plan.wait_s)
            replaced = self._strike(plan, found, members)
            self._watch(plan.hold_s, found)
        if not self._has_ended():
            self._wait_whole(replaced, before, found)
        if self._has_ended():
            self._start_again(found)
        _say(_line(number, found))
        return found

    def _strike(self, plan: Plan, found: Round, members: dict[str, int]) -> dict[str, int]:
        """Kill or stop a member of the kind that was drawn; return it with its old process."""
        if plan.victim is None:
            return {}
        found.victim = self._chance.choice(
            sorted(name for name in members if name.startswith(plan.victim))
        )
        replaced = {found.victim: members[found.victim]}
        assert self._deaths is not None
        self._deaths.send(plan.signal, replaced)
        return replaced

    def _watch(self, seconds: float, found: Round) -> None:
        """Look all the time whether what `status` says is true."""
        started_s = time.monotonic()
        false_since_s: dict[str, float] = {}
        while (now_s := time.monotonic()) - started_s < seconds:
            status = self._status()
            claims = [] if status is None else false_claims(status)
            false_since_s = {claim: false_since_s.get(claim, now_s) for claim in claims}
            late = [each for each, since in false_since_s.items() if now_s - since > TRUE_MAX_S]
            found.untrue += [each for each in late if each not in found.untrue]
            self._pause.wait(_LOOK_S)

    def _wait_whole(
        self, replaced: dict[str, int], before: ConstellationStatus | None, found: Round
    ) -> None:
        """Wait until all are up again and the run folder is whole; note what is wrong then."""
        started_s = time.monotonic()
        while (waited_s := time.monotonic() - started_s) < WHOLE_MAX_S and not self._has_ended():
            found.lacking = self._lacking(replaced)
            if not found.lacking:
                found.whole_s = waited_s
                break
            self._watch(_LOOK_S, found)
        status = self._status()
        if status is not None and before is not None and not found.lacking:
            found.untrue += contradictions(status, self._registry_metrics())
            found.untrue += _uncounted(before, status)

    def _registry_metrics(self) -> dict[str, dict[str, float]]:
        """Return what the registry's metrics say; the launcher finds a new registry in a second."""
        assert self.state is not None
        started_s = time.monotonic()
        while not (found := registry_metrics(str(self.state.metrics))):
            if time.monotonic() - started_s > TRUE_MAX_S:
                break
            self._pause.wait(_LOOK_S)
        return found

    def _lacking(self, replaced: dict[str, int]) -> list[str]:
        status = self._status()
        if status is None or self.state is None:
            return ["no router says a status"]
        members = {f"kernel {each.name}": each.pid for each in status.kernels if each.up}
        members |= {each.name: each.pid for each in status.routers if each.up}
        members["registry"] = status.registry_pid
        lost = [name for name, pid in replaced.items() if members.get(name, pid) in (0, pid)]
        num_up = sum(each.up for each in (*status.kernels, *status.routers))
        if lost or num_up < len(status.kernels) + ROUTERS or not status.registry_pid:
            return [f"{', '.join(lost) or 'somebody'} is not back"]
        return missing_from(self._settings.run_dir, self.state, status)

    def _status(self) -> ConstellationStatus | None:
        assert self.state is not None
        try:
            with Client(self.state.endpoints) as stars:
                return stars.status(timeout_s=2)
        except ConstellationError:
            return None

    def _has_ended(self) -> bool:
        assert self.state is not None
        return not is_alive(self.state.pid)

    def _start_again(self, found: Round) -> None:
        """Look for the reason in the log, and start another constellation."""
        log = self._settings.run_dir / "logs" / "launcher.jsonl"
        said = log.read_text("utf-8") if log.exists() else ""
        found.ended, found.silent = '"level": "error"' in said, '"level": "error"' not in said
        assert self._deaths is not None
        self._deaths.close()
        shutil.rmtree(self._settings.run_dir / "logs", ignore_errors=True)
        self._disks.folder("temporary").mkdir(exist_ok=True)
        self.start()


def _uncounted(before: ConstellationStatus, after: ConstellationStatus) -> list[str]:
    """Return whose restart was not counted, unless the file was lost with the registry."""
    if before.registry_pid != after.registry_pid:
        return []
    old = {each.name: each for each in before.kernels}
    return [
        f"{new.name} is process {new.pid} after {old[new.name].pid}, and no restart was counted"
        for new in after.kernels
        if new.pid != old[new.name].pid and new.num_restarts <= old[new.name].num_restarts
    ]


def _line(number: int, found: Round) -> str:
    plan = found.plan
    what = f"{plan.place} {plan.kind}"
    who = f"{found.victim} {plan.signal}" if found.victim else "nobody"
    took = "ended" if found.ended or found.silent else f"whole after {found.whole_s or -1:.1f} s"
    wrong = "; ".join([*found.untrue, *([] if found.whole_s is not None else found.lacking)])
    return f"{number:3}  {what:20}  {who:22}  {took}  {wrong}"


def _report(done: list[Round], tally: Tally, unexpected: list[str]) -> dict[str, Any]:
    whole = [each.whole_s for each in done if each.whole_s is not None]
    ended = [each for each in done if each.ended or each.silent]
    lacking = [each for each in done if each.whole_s is None and each not in ended]
    return {
        "rounds": len(done),
        "lost": tally.lost,
        "untyped": tally.untyped + len(set(unexpected)),
        "not_whole": len(lacking),
        "untrue": sum(bool(each.untrue) for each in done),
        "silent_ends": sum(each.silent for each in done),
        "ends": sum(each.ended for each in done),
        "whole_seconds_max": round(max(whole), 2) if whole else None,
        "whole_seconds_p50": round(statistics.median(whole), 2) if whole else None,
        "requests": sum(tally.seen.values()),
        "seen": dict(sorted(tally.seen.items())),
        "examples": [
            *tally.examples,
            *sorted(set(unexpected))[:5],
            *[
                json.dumps(asdict(each))
                for each in (*lacking, *done)
                if each.untrue or each in lacking
            ][:10],
        ],
    }


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    main()
