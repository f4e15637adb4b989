"""The direct clients: what they answer is what the routed clients answer, route included."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from constellation.client.async_client import AsyncClient
from constellation.client.async_direct import AsyncDirectClient
from constellation.client.direct import DirectClient
from constellation.client.local_routing import LocalRouter
from constellation.errors import (
    ArtifactError,
    ConfigError,
    ConstellationError,
    InvalidPrompt,
    InvalidRequest,
    KernelUnavailable,
    OutOfDomain,
    ServiceUnavailable,
    UnknownKernel,
)
from constellation.records import Route
from constellation.v1 import constellation_pb2
from constellation.wire.channel import Bind
from constellation.wire.table_file import pack_table
from tests.actors.test_hosts import Letters, Sky
from tests.client.conftest import QUICK
from tests.routing.tables import refusal


class Served:
    """A router and two kernels, with all clients."""

    def __init__(self, sky: Sky, endpoint: str) -> None:
        self.sky, self.endpoint = sky, endpoint
        self.routed = AsyncClient(endpoint, retries=QUICK)
        ticks = itertools.count()
        # Time goes on by looking at it: enough for a lost kernel to make them ask for a new table.
        terms: dict[str, Any] = {"retries": QUICK, "now_s": lambda: next(ticks) * 0.05}
        self.direct = AsyncDirectClient(endpoint, Letters(), **terms)
        self.sync = DirectClient(endpoint, Letters(), **terms)

    async def both(self, method: str, *arguments: Any, **options: Any) -> list[Any]:
        """Return what both direct clients say."""
        return [
            await getattr(self.direct, method)(*arguments, **options),
            await asyncio.to_thread(getattr(self.sync, method), *arguments, **options),
        ]

    async def streams(self, text: str, **options: Any) -> list[tuple[str, Any]]:
        """Return what both direct clients stream, and the routes."""
        stream = self.direct.stream(text, **options)
        said = "".join([piece.text async for piece in stream])

        def read() -> tuple[str, Any]:
            with self.sync.stream(text, **options) as pieces:
                return "".join(piece.text for piece in pieces), pieces.route

        return [(said, stream.route), await asyncio.to_thread(read)]


@asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    async with Sky() as sky:
        served = Served(sky, await sky.router.serve(Bind(), stall_s=5.0))
        try:
            yield served
        finally:
            served.sync.close()
            await served.direct.close()
            await served.routed.close()
            await sky.router.stop(grace_s=0)


def run(story: Callable[[Served], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        async with serving() as served:
            await story(served)

    asyncio.run(tell())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"rule": "geodesic"},
        {"top_k": 1},
        {"kernel": "b"},
        {"explain": True},
        {"basin": [1 / 64] * 64},
    ],
)
def test_an_answer_is_that_of_the_routed_client(options: dict[str, Any]) -> None:
    async def story(served: Served) -> None:
        for text in ("a", "b", "ba"):
            routed = await served.routed.ask(text, tokens_max=3, **options)
            for reply in await served.both("ask", text, tokens_max=3, **options):
                assert (reply.text, reply.route) == (routed.text, routed.route)
                assert reply.finish.num_tokens == 3
            scored = await served.routed.score(text, context="b", **options)
            assert await served.both("score", text, context="b", **options) == [scored] * 2
            route = await served.routed.route(text, **options)
            assert await served.both("route", text, **options) == [route] * 2
            pair = (routed.text, routed.route)
            assert await served.streams(text, tokens_max=3, **options) == [pair] * 2

    run(story)


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("", {}, InvalidPrompt),
        ("a", {"kernel": "nobody"}, UnknownKernel),
        ("a", {"top_k": 3}, InvalidRequest),
        ("a", {"tokens_max": 0}, InvalidRequest),
        ("z", {"refuse_out_of_domain": True, "rule": "geodesic"}, OutOfDomain),
    ],
)
def test_a_refusal_is_that_of_the_routed_client(
    text: str, options: dict[str, Any], expected: type[ConstellationError]
) -> None:
    async def story(served: Served) -> None:
        with pytest.raises(expected) as routed:
            await served.routed.ask(text, **options)
        with pytest.raises(expected) as direct:
            await served.direct.ask(text, **options)
        with pytest.raises(expected) as sync:
            await asyncio.to_thread(served.sync.ask, text, **options)
        assert str(routed.value) == str(direct.value) == str(sync.value)

    run(story)


async def outcome(call: Awaitable[Route]) -> Any:
    """Return a route, or the name and the attributes of a refusal."""
    try:
        return await call
    except OutOfDomain as error:
        return type(error).__name__, vars(error)


@pytest.mark.parametrize("rule", ["geodesic", "bearing"])
def test_thresholds_refuse_the_same_whoever_decides(rule: str) -> None:
    """Routes with their radii and shares are equal to the bit, and so are refusals."""

    async def story(served: Served) -> None:
        await served.sky.publish(replace(served.sky.table, version=2, refusal=refusal(0)))
        num_refused = 0
        for text in ("a", "az", "z", "zzzz\n", "  z" * 40):
            for share in (None, 0.002, 0.013, 0.05, 0.5):
                asked: dict[str, Any] = {"rule": rule, "refuse": share}
                routed = await outcome(served.routed.route(text, **asked))
                assert await outcome(served.direct.route(text, **asked)) == routed
                sync = asyncio.to_thread(served.sync.route, text, **asked)
                assert await outcome(sync) == routed
                if isinstance(routed, Route):
                    assert routed.beyond_own is not None
                else:
                    num_refused += 1
        assert num_refused > 0

    run(story)


@pytest.mark.parametrize("around", ["{}\n", "{}  ", "\n {}", "  {}\r\n"])
def test_white_space_around_a_text_moves_no_route_whoever_decides(around: str) -> None:
    async def story(served: Served) -> None:
        plain = await served.routed.route("ba", explain=True)
        assert plain.num_tokens == 2
        text = around.format("ba")
        assert await served.routed.route(text, explain=True) == plain
        assert await served.both("route", text, explain=True) == [plain] * 2
        assert (await served.routed.basin(text)).basin_K.tobytes() == (
            await served.routed.basin("ba")
        ).basin_K.tobytes()

    run(story)


@pytest.mark.parametrize("options", [{"mode": "mixture"}, {"handoff": True}])
def test_what_only_routers_do_is_refused(options: dict[str, Any]) -> None:
    async def story(served: Served) -> None:
        with pytest.raises(InvalidRequest, match="through a router"):
            await served.direct.ask("a", **options)
        with pytest.raises(InvalidRequest, match="through a router"):
            served.sync.stream("a", **options)

    run(story)


def test_kernels_are_called_without_the_router_which_may_be_gone() -> None:
    async def story(served: Served) -> None:
        await served.both("route", "a")
        await served.sky.router.stop(grace_s=0)
        assert [reply.text for reply in await served.both("ask", "a", tokens_max=2)] == ["aa"] * 2
        with pytest.raises(ServiceUnavailable):
            await served.routed.ask("a")

    run(story)


@pytest.mark.parametrize("streamed", [True, False])
def test_a_kernel_that_is_gone_is_replaced_by_the_next_nearest(streamed: bool) -> None:
    async def story(served: Served) -> None:
        await served.both("route", "a")
        await served.sky.kernels["a"].server.stop(grace_s=0)
        if streamed:
            said = await served.streams("a", tokens_max=2)
        else:
            replies = await served.both("ask", "a", tokens_max=2)
            said = [(reply.text, reply.route) for reply in replies]
        for text, route in said:
            assert (text, route.kernel, route.reason) == ("bb", "b", "failover")
        with pytest.raises(KernelUnavailable, match="'a'"):
            await served.direct.ask("a", kernel="a")

    run(story)


def test_a_kernel_that_moved_is_found_by_the_new_table() -> None:
    async def story(served: Served) -> None:
        await served.both("route", "a")
        kernel, sky = served.sky.kernels["a"], served.sky
        await kernel.server.stop(grace_s=0)
        replacement = type(kernel)("a", sky.engines["a"], slots=2, queue_max=2)
        endpoint = await replacement.server.open(Bind(), stall_s=5.0)
        here, there = sky.table.sites
        moved = replace(sky.table, version=2, sites=(replace(here, endpoint=endpoint), there))
        await sky.publish(moved)
        first = await served.both("ask", "a", tokens_max=1)  # loses the old place, and learns
        again = await served.both("ask", "a", tokens_max=1)
        assert {reply.text for reply in first} <= {"a", "b"}
        assert [(reply.text, reply.route.table_version) for reply in again] == [("a", 2)] * 2
        await replacement.server.stop(grace_s=0)

    run(story)


def test_a_stream_that_loses_its_kernel_says_so() -> None:
    async def story(served: Served) -> None:
        served.sky.die_at_step("a", 3, once_heard=True)

        async def read() -> None:
            async for _ in served.direct.stream("a", tokens_max=8):
                served.sky.heard.set()

        with pytest.raises(KernelUnavailable, match="'a'"):
            await read()

    run(story)


def test_another_coordizer_is_refused() -> None:
    class Other(Letters):
        hash = "others"

    async def story(served: Served) -> None:
        with (
            DirectClient(served.endpoint, Other(), retries=QUICK) as stars,
            pytest.raises(ArtifactError, match="give the client `coordizers`"),
        ):
            await asyncio.to_thread(stars.ask, "a")

    run(story)


def test_routers_elsewhere_are_refused() -> None:
    for endpoint in ("10.0.0.7:50051", ["localhost:50051", "stars.example:50051"]):
        with pytest.raises(ConfigError, match="use Client"):
            DirectClient(endpoint, Letters())
    DirectClient("[::1]:50051", Letters()).close()


def test_an_older_table_changes_nothing() -> None:
    async def story(served: Served) -> None:
        local, table = LocalRouter(Letters()), served.sky.table
        for version, known in ((3, 3), (2, 3), (4, 4)):
            snapshot = pack_table(replace(table, version=version))
            reply = constellation_pb2.TableReply(
                version=version, snapshot=snapshot, rule=1, top_k=2, phi_weighting=True
            )
            local.take(reply)
            assert local.version == known

    run(story)
