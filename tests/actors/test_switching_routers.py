"""A router takes a release: its table and its coordizer, both or neither."""

import asyncio
import threading
from dataclasses import replace

from constellation.records import FloatArray, Table, TokenArray
from tests.actors.test_hosts import BACKGROUND_K, Letters, Sky, point, run


class Moved(Letters):
    """The coordinates of another release: "a" lies where "b" did."""

    hash = "moved"

    def basin(self, ids: TokenArray) -> FloatArray:
        return point((int(ids[0]) - ord("a") + 1) % 2) if ids.size else BACKGROUND_K


class Slow:
    """Reads a coordizer when it is let, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.let = threading.Event()
        self.num_asked = 0

    def of_table(self, table: Table) -> Letters:
        self.num_asked += 1
        self.asked.set()
        assert self.let.wait(20)
        return {"letters": Letters, "moved": Moved}[table.coordizer_hash]()


def test_table_and_coordizer_of_a_release_are_switched_together() -> None:
    """While the next coordizer is read, and old tables still arrive, nothing is mixed."""

    async def story(sky: Sky) -> None:
        slow = Slow()
        sky.router._served._coordizers = slow
        moved = replace(sky.table, version=3, release=2, coordizer_hash="moved")
        preparing = asyncio.create_task(sky.router.prepare(moved))
        await asyncio.to_thread(slow.asked.wait, 20)
        await sky.publish(replace(sky.table, version=2))
        assert (await sky.ask("a"))[0].kernel == "a"
        slow.let.set()
        await preparing
        await sky.publish(replace(sky.table, version=2))  # a heartbeat's
        assert (await sky.ask("a"))[0].kernel == "a"
        await sky.publish(moved)
        assert (await sky.ask("a"))[0].kernel == "b"
        assert slow.num_asked == 1, "it was prepared"

    run(story)


def test_a_table_that_is_overtaken_while_its_coordizer_is_read_is_dropped() -> None:
    async def story(sky: Sky) -> None:
        slow = Slow()
        sky.router._served._coordizers = slow
        moved = replace(sky.table, version=3, release=2, coordizer_hash="moved")
        taking = asyncio.create_task(sky.publish(moved))
        await asyncio.to_thread(slow.asked.wait, 20)
        await sky.publish(replace(sky.table, version=4))
        slow.let.set()
        await taking
        route, _ = await sky.ask("a")
        assert (route.kernel, route.table_version) == ("a", 4)

    run(story)
