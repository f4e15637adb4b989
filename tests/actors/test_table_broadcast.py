"""Routers are sent the table when it changes, and otherwise only what changed in health."""

import asyncio
import pickle
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

import pytest
from ray.exceptions import RayActorError

from actors.registry.table_broadcast import BEAT_S, TableBroadcast
from actors.registry_messages import HealthChange, Held, Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.errors import ArtifactError
from constellation.geometry import bearing
from constellation.records import (
    KernelHealth,
    KernelSite,
    Node,
    NodeState,
    Overview,
    ReleaseSummary,
    RouterStatus,
    Rule,
    Table,
    TrainingStatus,
)
from tests.actors.test_hosts import BACKGROUND_K, Letters, point
from tests.support.coordizers import Fixed

Message = Snapshot | HealthChange


class Router:
    """A router's process without Ray: every message is pickled, as Ray does, and written down."""

    def __init__(self) -> None:
        self.received: list[Message] = []
        self.failure: Exception | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.restart()

    def restart(self) -> None:
        self.host = RouterHost(Fixed(Letters()), RouterOptions(), token=None)

    def update(self, snapshot: Snapshot) -> Coroutine[Any, Any, Held]:
        self.received.append(snapshot)
        return self._take(pickle.dumps(snapshot))

    def update_health(self, change: HealthChange) -> Coroutine[Any, Any, Held]:
        self.received.append(change)
        return self._take(pickle.dumps(change))

    async def _take(self, sent: bytes) -> Held:
        await self.may_answer.wait()
        if self.failure is not None:
            raise self.failure
        message = pickle.loads(sent)
        if isinstance(message, Snapshot):
            return await self.host.update(message)
        return self.host.update_health(message)

    async def prepare(self, table: Table) -> None: ...

    async def drain(self, grace_s: float) -> None: ...


class Registry:
    """The side of the registry: a table, health, and a clock that stands still."""

    def __init__(self, num_routers: int = 1) -> None:
        self.now_s = 0.0
        self.newer: list[int] = []
        self.broadcast = TableBroadcast(lambda: self.now_s, self.newer.append)
        self.routers = {f"router-{number}": Router() for number in range(num_routers)}
        self.snapshot = Snapshot(
            table=table(1),
            health={name: health(name) for name in "ab"},
            registry_pid=7,
            routers=(router_health(),),
        )

    async def send(self, **changes: Any) -> None:
        self.snapshot = replace(self.snapshot, **changes)
        tasks = self.broadcast.send(self.routers, self.snapshot)
        if tasks:
            await asyncio.wait(tasks)

    def received(self, number: int = 0) -> list[Message]:
        """Return what a router was sent since the last look."""
        router = self.routers[f"router-{number}"]
        received, router.received = router.received, []
        return received

    def state(self, number: int = 0) -> Any:
        return self.routers[f"router-{number}"].host.state()


def table(version: int, **changes: Any) -> Table:
    sites = tuple(
        KernelSite(
            name=name,
            basin_K=point(outcome),
            bearing_K=bearing(point(outcome), BACKGROUND_K),
            radii=dict.fromkeys(Rule, 1.0),
            endpoint=None,
        )
        for outcome, name in enumerate("ab")
    )
    made = Table(
        version=version,
        coordizer_hash="letters",
        background_K=BACKGROUND_K,
        temperatures=dict.fromkeys(Rule, 0.5),
        sites=sites,
        release=1,
    )
    return replace(made, **changes)


def health(name: str, **changes: Any) -> KernelHealth:
    return replace(KernelHealth(name=name, up=True, pid=3, num_restarts=0), **changes)


def router_health(**changes: Any) -> RouterStatus:
    made = RouterStatus(name="router", endpoint="127.0.0.1:1", up=True, pid=9, num_restarts=0)
    return replace(made, **changes)


def run(story: Callable[[Registry], Coroutine[Any, Any, None]], num_routers: int = 1) -> None:
    async def tell() -> None:
        await story(Registry(num_routers))

    asyncio.run(tell())


def test_a_router_lags_by_the_versions_that_it_has_not_acknowledged() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        assert registry.broadcast.lags() == {"router-0": 0}
        router = registry.routers["router-0"]
        router.may_answer.clear()
        registry.broadcast.send(registry.routers, replace(registry.snapshot, table=table(4)))
        assert registry.broadcast.lags() == {"router-0": 3}
        router.may_answer.set()
        await registry.send(table=table(5))
        assert registry.broadcast.lags() == {"router-0": 0}

    run(story)


def test_a_table_is_sent_once_and_then_only_heartbeats() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        assert [type(each) for each in registry.received()] == [Snapshot]
        policy = registry.routers["router-0"].host._served.now.policy
        for _ in range(3):
            await registry.send()
        assert registry.received() == [], "nothing changed, and the last message is fresh"
        registry.now_s += BEAT_S
        await registry.send()
        [beat] = registry.received()
        assert isinstance(beat, HealthChange)
        assert (beat.kernels, beat.routers, beat.start_problem) == ((), None, None)
        assert len(pickle.dumps(beat)) < 200
        assert registry.routers["router-0"].host._served.now.policy is policy

    run(story)


def test_only_the_health_that_changed_is_sent_and_the_router_knows_all_of_it() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        registry.received()
        busy = health("b", num_running=2, queue_depth=5)
        await registry.send(health={"a": health("a"), "b": busy})
        [change] = registry.received()
        assert isinstance(change, HealthChange)
        assert (change.kernels, change.routers, change.start_problem) == ((busy,), None, None)
        await registry.send(routers=(router_health(num_restarts=1),), start_problem="no disk")
        state = registry.state()
        assert state.health == {"a": health("a"), "b": busy}
        assert state.routers == (router_health(num_restarts=1),)
        assert state.start_problem == "no disk"
        await registry.send(start_problem="")
        assert registry.state().start_problem == ""

    run(story)


def test_of_the_overview_only_the_fields_that_changed_are_sent() -> None:
    async def story(registry: Registry) -> None:
        training = TrainingStatus(state="RUNNING", updated_s=1.0, kernels=())
        release = ReleaseSummary(number=1, made_s=1.0, change="made", parent=None)
        first = Overview(release_since_s=2.0, releases=(release,), training=training)
        await registry.send(overview=first)
        assert registry.state().overview == first
        node = NodeState(
            node=Node(id="n", address="here", memory_bytes=4),
            num_processes=3,
            memory_free_bytes=2,
            load_ratio=0.5,
            disk_free_bytes=1,
        )
        registry.received()
        await registry.send(overview=replace(first, nodes=(node,)))
        [change] = registry.received()
        assert change.overview == {"nodes": (node,)}
        await registry.send(overview=replace(first, nodes=(node,), training=None))
        assert registry.state().overview == replace(first, nodes=(node,), training=None)
        registry.received()
        registry.now_s += BEAT_S
        await registry.send()
        [beat] = registry.received()
        assert isinstance(beat, HealthChange)
        assert beat.overview is None, "a heartbeat carries nothing of it"

    run(story)


def test_a_new_version_brings_the_whole_table() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        await registry.send(table=table(2))
        assert [type(each) for each in registry.received()] == [Snapshot, Snapshot]
        assert registry.state().table.version == 2

    run(story)


def test_a_kernel_that_left_is_forgotten_by_the_router() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        await registry.send(health={"a": health("a")})
        assert registry.state().health == {"a": health("a")}

    run(story)


def test_a_router_that_restarted_is_sent_the_table_again_and_the_others_are_not() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        registry.routers["router-0"].restart()
        registry.received(0), registry.received(1)
        registry.now_s += BEAT_S
        await registry.send()  # the answer says that the router holds no table
        await registry.send()
        assert [type(each) for each in registry.received(0)] == [HealthChange, Snapshot]
        assert [type(each) for each in registry.received(1)] == [HealthChange]
        assert registry.state(0).table.version == 1
        assert registry.state(0).health == registry.snapshot.health

    run(story, num_routers=2)


@pytest.mark.parametrize("failure", [RayActorError(), ArtifactError("coordizer", "damaged")])
def test_a_router_that_did_not_take_a_table_is_sent_the_table_again(failure: Exception) -> None:
    async def story(registry: Registry) -> None:
        router = registry.routers["router-0"]
        router.failure = failure
        await registry.send()
        router.failure = None
        await registry.send()
        assert [type(each) for each in registry.received()] == [Snapshot, Snapshot]
        assert registry.state().table.version == 1

    run(story)


def test_a_router_that_answers_late_is_sent_no_second_message_but_a_new_table() -> None:
    async def story(registry: Registry) -> None:
        router = registry.routers["router-0"]
        router.may_answer.clear()
        tasks = registry.broadcast.send(registry.routers, registry.snapshot)
        for _ in range(5):
            registry.now_s += BEAT_S
            tasks += registry.broadcast.send(registry.routers, registry.snapshot)
        assert len(registry.received()) == 1
        tasks += registry.broadcast.send(
            registry.routers, replace(registry.snapshot, table=table(2))
        )
        assert len(registry.received()) == 1
        router.may_answer.set()
        await asyncio.wait(tasks)
        assert registry.state().table.version == 2

    run(story)


def test_the_next_registry_is_believed_although_it_counts_from_one() -> None:
    async def story(registry: Registry) -> None:
        await registry.send()
        following = Registry()
        following.routers = registry.routers
        await following.send(registry_pid=8, table=table(2), health={"a": health("a", up=False)})
        state = following.state()
        assert (state.registry_pid, state.table.version) == (8, 2)
        assert state.health == {"a": health("a", up=False)}
        # A late word of the first one is of other revisions, and changes nothing.
        host = registry.routers["router-0"].host
        late = HealthChange(
            table_version=2, registry_pid=7, base=1, revision=2, kernels=(health("a"),)
        )
        assert host.update_health(late) == Held(table_version=2, registry_pid=8, revision=1)
        assert host.state().health == {"a": health("a", up=False)}

    run(story)


def test_a_registry_that_lost_count_learns_of_the_newer_table() -> None:
    async def story(registry: Registry) -> None:
        newer = replace(registry.snapshot, table=table(9), registry_pid=6)
        await registry.routers["router-0"].host.update(newer)
        await registry.send()
        assert registry.newer == [9]
        assert registry.state().table.version == 9

    run(story)


def test_the_same_version_with_other_endpoints_is_another_table() -> None:
    async def story(registry: Registry) -> None:
        host = registry.routers["router-0"].host
        await registry.send()
        moved = tuple(replace(site, endpoint="127.0.0.1:5") for site in table(1).sites)
        await host.update(replace(registry.snapshot, table=table(1, sites=moved), registry_pid=8))
        assert host._links.down == frozenset()
        await host._links.close()

    run(story)
