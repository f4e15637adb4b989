"""How many bytes does the registry send to routers while nothing happens?

    python -m benchmarks.idle_traffic [--kernels 240] [--replicas 1] [--basins 8] [--routers 8]
        [--seconds 60]

The registry's own `TableBroadcast` sends to real `RouterHost`s, every 0.5 s on a clock of the
benchmark's, and every message is pickled by Ray's serialiser and unpickled before the router gets
it. Nobody asks anything, and no process starts or ends. Keys of the last line, one JSON object:

- `idle_bytes_per_s`: pickled bytes to all routers in a second, after the first table. Lower is
  better; the bar is 5,000. The floor is what one heartbeat to every router costs, since a router
  has to learn that the registry lives. At worst, as here, each look at the node every 5 s finds
  other figures, which are sent, too: `message_bytes` is the mean of both kinds of message.
- `busy_bytes_per_s`: the same while every kernel's queue is another one in each round: health then
  travels whole twice a second. Lower is better.
- `whole_bytes_per_s`: what sending the whole table to all routers in each round costs, for
  comparison: what was done before health and table were apart.
- `restarted_tables`: whole tables that were sent when one router restarted; the least is 1.

Not counted: what Ray adds to each call, and the heartbeats that members answer.
"""

import argparse
import asyncio
import json
import platform
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray.cloudpickle

from actors.registry.overview_source import OVERVIEW_S
from actors.registry.process import HEARTBEAT_S
from actors.registry.table_broadcast import BEAT_S, TableBroadcast
from actors.registry_messages import HealthChange, Held, Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from benchmarks.decision import random_table
from constellation.records import (
    FloatArray,
    KernelHealth,
    KernelSite,
    Node,
    NodeState,
    Overview,
    ReleaseSummary,
    ReplicaHealth,
    RouterStatus,
    Table,
)


class NoTexts:
    """A coordizer that is never asked to read a text."""

    hash = ""
    background_K: FloatArray = np.empty(0)

    def of_table(self, table: Table) -> "NoTexts":
        return self


class Router:
    """The calls of a router's process, which count the bytes of what they are sent."""

    def __init__(self) -> None:
        self.num_bytes = 0
        self.num_tables = 0
        self.restart()

    def restart(self) -> None:
        self.host = RouterHost(NoTexts(), RouterOptions(), token=None)

    def update(self, snapshot: Snapshot) -> Coroutine[Any, Any, Held]:
        self.num_tables += 1
        return self._take(snapshot)

    def update_health(self, change: HealthChange) -> Coroutine[Any, Any, Held]:
        return self._take(change)

    async def _take(self, message: Snapshot | HealthChange) -> Held:
        sent = ray.cloudpickle.dumps(message, protocol=5)
        self.num_bytes += len(sent)
        received = ray.cloudpickle.loads(sent)
        if isinstance(received, Snapshot):
            return await self.host.update(received)
        return self.host.update_health(received)


@dataclass
class Traffic:
    """A registry's side: what it knows, and a clock that the benchmark moves."""

    snapshot: Snapshot
    routers: dict[str, Router]
    now_s: float = 0.0

    def __post_init__(self) -> None:
        self._broadcast = TableBroadcast(lambda: self.now_s, _never_newer)

    async def a_round(self) -> None:
        """Do what the registry does after each round of heartbeats."""
        self.now_s += HEARTBEAT_S
        if self.now_s % OVERVIEW_S == 0:  # at worst, each look finds the node otherwise
            self.snapshot = replace(self.snapshot, overview=overview(self.now_s))
        tasks = self._broadcast.send(self.routers, self.snapshot)
        if tasks:
            await asyncio.wait(tasks)

    async def bytes_per_s(self, num_rounds: int, *, busy: bool = False) -> float:
        """Return what is sent in a second, over so many rounds."""
        before = self._num_bytes()
        for number in range(num_rounds):
            if busy:
                self.snapshot = replace(self.snapshot, health=health_of(self.snapshot, number))
            await self.a_round()
        return (self._num_bytes() - before) / (num_rounds * HEARTBEAT_S)

    def _num_bytes(self) -> int:
        return sum(router.num_bytes for router in self.routers.values())


def _never_newer(version: int) -> None:
    raise RuntimeError(f"a router has version {version}, which nobody sent")


def overview(now_s: float) -> Overview:
    """Return ten releases, a node whose free memory is another at each time, and no training."""
    releases = tuple(
        ReleaseSummary(number=number, made_s=1e9, change="add sql", parent=number - 1)
        for number in range(20, 10, -1)
    )
    node = NodeState(
        node=Node(id="ab" * 28, address="127.0.0.1", memory_bytes=2**35),
        num_processes=20,
        memory_free_bytes=round(now_s) * 2**24,
        load_ratio=0.25,
        disk_free_bytes=2**36,
    )
    return Overview(release_since_s=1e9, releases=releases, nodes=(node,))


def health_of(snapshot: Snapshot, depth: int) -> dict[str, KernelHealth]:
    """Return kernels that all have so many requests in their queues."""
    return {
        site.name: KernelHealth(
            name=site.name,
            up=True,
            pid=4000 + number,
            num_restarts=0,
            queue_depth=depth % 64,
            replicas=replicas_of(site, depth % 64) if site.more_endpoints else (),
        )
        for number, site in enumerate(snapshot.table.sites)
    }


def replicas_of(site: KernelSite, depth: int) -> tuple[ReplicaHealth, ...]:
    """Return the processes of a kernel, which share its requests."""
    return tuple(
        ReplicaHealth(
            member=f"kernel-{site.name}~{number}",
            endpoint=endpoint,
            pid=4000 + number,
            num_restarts=0,
            queue_depth=depth // len(site.endpoints),
            node="ab" * 28,
        )
        for number, endpoint in enumerate(site.endpoints, 1)
    )


def replicated(table: Table, num_replicas: int) -> Table:
    """Return a table in which so many processes serve every kernel."""
    if num_replicas == 1:
        return table
    sites = tuple(
        replace(
            site,
            endpoint="127.0.0.1:40000",
            more_endpoints=tuple(f"127.0.0.1:{40000 + each}" for each in range(1, num_replicas)),
        )
        for site in table.sites
    )
    return replace(table, sites=sites)


def traffic(num_kernels: int, num_replicas: int, num_basins: int, num_routers: int) -> Traffic:
    """Return a constellation in which all is up and nobody asks anything."""
    table = replace(random_table(np.random.default_rng(0), num_kernels, num_basins), release=1)
    table = replicated(table, num_replicas)
    routers = tuple(
        RouterStatus(
            name=f"router-{number}",
            endpoint=f"127.0.0.1:{50051 + number}",
            up=True,
            pid=3000 + number,
            num_restarts=0,
        )
        for number in range(num_routers)
    )
    snapshot = Snapshot(
        table=table, health={}, registry_pid=2000, routers=routers, overview=overview(0.0)
    )
    snapshot = replace(snapshot, health=health_of(snapshot, 0))
    return Traffic(snapshot, {each.name: Router() for each in routers})


async def measure(
    num_kernels: int, num_replicas: int, num_basins: int, num_routers: int, seconds: float
) -> Any:
    """Return the figures."""
    sky = traffic(num_kernels, num_replicas, num_basins, num_routers)
    num_rounds = round(seconds / HEARTBEAT_S)
    await sky.a_round()
    whole = sum(router.num_bytes for router in sky.routers.values())
    idle = await sky.bytes_per_s(num_rounds)
    assert all(router.num_tables == 1 for router in sky.routers.values())
    restarted = next(iter(sky.routers.values()))
    restarted.restart()
    for _ in range(4):
        await sky.a_round()
    assert len(restarted.host.state().health) == num_kernels
    busy = await sky.bytes_per_s(num_rounds, busy=True)
    return {
        "idle_bytes_per_s": round(idle),
        "busy_bytes_per_s": round(busy),
        "whole_bytes_per_s": round(whole / HEARTBEAT_S),
        "message_bytes": round(idle * BEAT_S / num_routers),
        "beat_s": BEAT_S,
        "restarted_tables": restarted.num_tables - 1,
        "kernels": num_kernels,
        "replicas": num_replicas,
        "routers": num_routers,
        "python": platform.python_version(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kernels", type=int, default=240)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--basins", type=int, default=8)
    parser.add_argument("--routers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=60.0)
    asked = parser.parse_args()
    figures = asyncio.run(
        measure(asked.kernels, asked.replicas, asked.basins, asked.routers, asked.seconds)
    )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
