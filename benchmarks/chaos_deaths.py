"""What `benchmarks.chaos` does to the processes of its constellation, and how they come back.

Victims and signals are drawn from a seed. Only processes of this very constellation are signalled:
those that descend from its launcher, and workers whose fork server has ended, by the raylet that
they were started for.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus, RetryPolicy
from constellation.errors import ConstellationError

BACK_MAX_S = 60.0
"""Seconds after which the benchmark gives up waiting."""
REST_S = 4.0
"""Longest pause between two events."""
_LOOK_S = 1.0
_PAUSE_S = 0.05
_STOPPED_S = 1.0


@dataclass(frozen=True, slots=True)
class Death:
    """What was done, and what came of it."""

    members: tuple[str, ...]
    kind: str
    """"kill" (SIGKILL), "hang" (SIGSTOP) or "pause" (SIGSTOP, and SIGCONT a second later)."""
    seconds: float
    """Until every router serves the whole table again, all victims of kills and hangs replaced."""


@dataclass
class Deaths:
    """Kills and stops members of one constellation, one event after the other."""

    state: RunState
    seed: int
    spared: frozenset[str] = frozenset()
    """Members that no signal is sent to."""
    done: list[Death] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        once = RetryPolicy(attempts_max=1)
        self._routers = [Client(endpoint, retries=once) for endpoint in self.state.endpoints]
        self._pause = threading.Event()

    def spare_some(self) -> None:
        """Leave out a kernel and a router, whose memory can then be watched to the end."""
        members = self.wait_whole({}, started_s=time.monotonic())[1]
        kernels = sorted(name for name in members if name.startswith("kernel "))
        routers = sorted(name for name in members if name.startswith("router"))
        self.spared = frozenset({self._chance.choice(kernels), self._chance.choice(routers)})

    def strike(self) -> Death:
        """Do something to one or two members and wait until all is whole again."""
        members = self.wait_whole({}, started_s=time.monotonic())[1]
        # Kernels of one process die together.
        spared_pids = {members[name] for name in self.spared if name in members}
        free = sorted(name for name, pid in members.items() if pid not in spared_pids)
        victims = {self._victim(free) for _ in range(1 + (self._chance.random() < 0.25))}
        kind = self._chance.choices(("kill", "hang", "pause"), weights=(6, 2, 2))[0]
        return self.do(kind, {name: members[name] for name in victims})

    def rest(self) -> None:
        """Let everybody work for up to `REST_S` seconds."""
        self._pause.wait(REST_S * self._chance.random())

    def _victim(self, free: list[str]) -> str:
        """Draw what kind of member, then which: there are many kernels and one registry."""
        sort = self._chance.choices(("kernel ", "router", "registry"), weights=(3, 1, 1))[0]
        return self._chance.choice([name for name in free if name.startswith(sort)])

    def do(self, kind: str, victims: dict[str, int]) -> Death:
        """Signal these members; return when all is whole again."""
        started_s = time.monotonic()
        self.send(kind, victims)
        if kind == "pause":
            self._pause.wait(_STOPPED_S)
            for pid in set(victims.values()):
                self._signal(pid, signal.SIGCONT)
        replaced = {} if kind == "pause" else victims
        seconds, _ = self.wait_whole(replaced, started_s=started_s)
        death = Death(tuple(sorted(victims)), kind, seconds)
        self.done.append(death)
        return death

    def send(self, kind: str, victims: dict[str, int]) -> None:
        """Signal these members and return at once."""
        number = signal.SIGKILL if kind == "kill" else signal.SIGSTOP
        for pid in set(victims.values()):
            self._signal(pid, number)

    def wait_whole(
        self, replaced: dict[str, int], *, started_s: float
    ) -> tuple[float, dict[str, int]]:
        """Return how long it took until all routers see all up, and everybody's process id.

        Args:
            replaced: Members that must have another process than this.
            started_s: From when the time counts.

        Raises:
            TimeoutError: It took too long.
        """
        while True:
            members = self._members()
            elapsed_s = time.monotonic() - started_s
            if members and all(members.get(name, pid) != pid for name, pid in replaced.items()):
                return elapsed_s, members
            if elapsed_s > BACK_MAX_S:
                raise TimeoutError(f"not whole {BACK_MAX_S:.0f} s after {replaced}: {members}")
            self._pause.wait(_PAUSE_S)

    def close(self) -> None:
        """Close the connections."""
        for router in self._routers:
            router.close()

    def _members(self) -> dict[str, int]:
        """Return member -> pid, as all routers say it; empty unless they agree and all are up."""
        told = []
        for router in self._routers:
            try:
                told.append(_pids(router.status(timeout_s=_LOOK_S)))
            except ConstellationError:
                return {}
        alike = all(each == told[0] for each in told) and 0 not in told[0].values()
        return told[0] if alike else {}

    def _signal(self, pid: int, number: int) -> None:
        with suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has just ended by itself
            if not self._is_ours(psutil.Process(pid)):
                raise AssertionError(f"process {pid} is none of the constellation's")
            os.kill(pid, number)

    def _is_ours(self, process: psutil.Process) -> bool:
        launcher = psutil.Process(self.state.pid)
        if launcher in process.parents():
            return True
        # A worker whose fork server has ended is an orphan, and goes on.
        raylet = process.environ().get("RAY_RAYLET_PID", "")
        return raylet.isdigit() and launcher in psutil.Process(int(raylet)).parents()


def _pids(status: ConstellationStatus) -> dict[str, int]:
    kernels = {f"kernel {each.name}": each.pid if each.up else 0 for each in status.kernels}
    routers = {each.name: each.pid for each in status.routers}
    return {**kernels, **routers, "registry": status.registry_pid}


def recovery_seconds(deaths: Sequence[Death], kind: str) -> float | None:
    """Return the longest recovery from this kind, or None when there was none."""
    return max((death.seconds for death in deaths if death.kind == kind), default=None)
