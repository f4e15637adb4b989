"""One serialisation a second for all listeners, none without, and nothing stays of who left."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from constellation.errors import Overloaded
from constellation.wire.http.status_events import StatusEvents
from tests.wire.http.doors import Door

GET = {"type": "http", "method": "GET"}
HEAD = {"type": "http", "method": "HEAD"}


class Listener:
    """Collects what one request for events is sent."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.heads: list[Any] = []
        self.ended = False
        self.hold = asyncio.Event()
        self.hold.set()
        self.came = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.hold.wait()
        if message["type"] == "http.response.start":
            self.heads.append(message)
            return
        for line in message["body"].decode().split("\n\n"):
            if line:
                self.events.append(json.loads(line.removeprefix("data: ")))
                self.came.set()
        self.ended = not message["more_body"]

    async def has(self, count: int) -> None:
        """Wait until so many events have come."""
        async with asyncio.timeout(5):
            while len(self.events) < count:
                self.came.clear()
                await self.came.wait()


async def receive() -> Any:
    return {"type": "http.request"}


def counting() -> Callable[[], dict[str, Any]]:
    """Return a document of which one part changes and one does not."""
    calls = iter(range(1000))
    return lambda: {"number": next(calls), "same": [1, 2]}


async def listen(events: StatusEvents, *listeners: Listener) -> list[asyncio.Task[None]]:
    work = [asyncio.create_task(events(GET, receive, each.send)) for each in listeners]
    for each in listeners:
        await each.has(1)
    return work


async def leave(work: list[asyncio.Task[None]]) -> None:
    for each in work:
        each.cancel()
    await asyncio.gather(*work, return_exceptions=True)


def test_the_whole_document_comes_first_and_then_what_changed() -> None:
    async def check() -> None:
        events, listener = StatusEvents(counting(), period_s=0.01), Listener()
        work = await listen(events, listener)
        await listener.has(3)
        await leave(work)
        assert listener.events[0] == {"number": 0, "same": [1, 2]}
        assert listener.events[1:3] == [{"number": 1}, {"number": 2}]

    asyncio.run(check())


def test_all_listeners_share_one_serialisation() -> None:
    async def check() -> None:
        events = StatusEvents(counting(), period_s=0.02)
        listeners = [Listener() for _ in range(20)]
        work = await listen(events, *listeners)
        for each in listeners:
            await each.has(4)
        await leave(work)
        assert events.num_serialisations <= max(each.events[-1]["number"] for each in listeners) + 1

    asyncio.run(check())


def test_nothing_is_computed_without_listeners_and_nothing_stays_of_one() -> None:
    async def check() -> None:
        events, listener = StatusEvents(counting(), period_s=0.01), Listener()
        assert events.num_serialisations == 0
        work = await listen(events, listener)
        assert events.num_streams == 1
        await leave(work)
        done = events.num_serialisations
        assert events.num_streams == 0
        assert events._parts == {}
        assert asyncio.all_tasks() == {asyncio.current_task()}
        again = Listener()
        work = await listen(events, again)
        assert again.events[0].keys() == {"number", "same"}
        assert events.num_serialisations >= done + 1
        await leave(work)

    asyncio.run(check())


def test_a_listener_that_missed_events_gets_the_whole_document() -> None:
    async def check() -> None:
        events, slow, other = StatusEvents(counting(), period_s=0.01), Listener(), Listener()
        work = await listen(events, slow, other)
        slow.hold.clear()
        seen = len(other.events)
        await other.has(seen + 5)
        before = len(slow.events)
        slow.hold.set()
        await slow.has(before + 2)  # one was on its way already
        await leave(work)
        assert slow.events[before + 1].keys() == {"number", "same"}

    asyncio.run(check())


def test_one_listener_too_many_is_refused_with_the_time_to_wait() -> None:
    async def check() -> None:
        events = StatusEvents(counting(), period_s=0.01, streams_max=2)
        work = await listen(events, Listener(), Listener())
        with pytest.raises(Overloaded, match="2 listeners connected; retry in") as caught:
            await events(GET, receive, Listener().send)
        assert caught.value.retry_after_s > 0
        await leave(work)
        work = await listen(events, Listener())
        await leave(work)

    asyncio.run(check())


def test_streams_end_when_the_server_stops_and_head_has_no_events() -> None:
    async def check() -> None:
        events, listener, head = StatusEvents(counting(), period_s=60), Listener(), Listener()
        await events(HEAD, receive, head.send)
        assert (len(head.heads), head.events, head.ended) == (1, [], True)
        work = await listen(events, listener)
        events.close()
        await asyncio.gather(*work)
        assert listener.ended

    asyncio.run(check())


# --- over a socket --------------------------------------------------------------------------------


def connect(door: Door) -> socket.socket:
    """Ask for events; return the connection when the first event has begun."""
    caller = socket.create_connection(door.address, timeout=10)
    caller.sendall(b"GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while b"data: {" not in got:
        got += caller.recv(1024)
    assert b"text/event-stream" in got
    return caller


def wait_for_streams(door: Door, count: int) -> None:
    """Wait until so many listeners are connected; the loop goes on between two looks."""
    deadline_s = time.monotonic() + 5
    while door.gateway.events.num_streams != count:
        assert time.monotonic() < deadline_s
        door.run(asyncio.sleep(0))


def test_a_caller_that_goes_away_frees_the_place() -> None:
    with Door(streams_max=1) as door:
        with connect(door):
            refused = door.call("GET", "/status/events")
            assert refused.status == 429
            assert refused.body["error"]["constellation"]["error"] == "Overloaded"
            assert int(refused.headers["retry-after"]) > 0
        wait_for_streams(door, 0)
        connect(door).close()
        wait_for_streams(door, 0)


def test_an_open_stream_does_not_hold_up_the_stop() -> None:
    with Door() as door:
        with connect(door) as caller:
            door.run(door.door.stop(grace_s=30))  # the harness waits 10 s
            rest = b"".join(iter(lambda: caller.recv(65_536), b""))
        assert rest.endswith(b"0\r\n\r\n")


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    with Door(stall_s=0.2) as door:
        large = {"large": "x" * 20_000_000}  # more than the buffers of the system hold
        monkeypatch.setattr(door.gateway.events, "_document", lambda: large)
        with connect(door):
            wait_for_streams(door, 0)
