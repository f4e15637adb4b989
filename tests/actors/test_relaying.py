"""Streams whose kernels die on the way, over real gRPC: what arrives is the undisturbed answer."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from actors.kernel.engine import KernelAnswer, KernelEngine
from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.errors import KernelUnavailable
from constellation.geometry import bearing
from constellation.kernel.files.checkpoint import LoadedKernel
from constellation.records import (
    Finish,
    KernelSite,
    Piece,
    Route,
    RoutingOptions,
    Rule,
    Sampling,
    Segment,
    Table,
    TokenArray,
)
from constellation.wire import convert
from constellation.wire.channel import Bind
from tests.actors.test_engine import CONFIG, DECODER, VOCABULARY
from tests.actors.test_hosts import BACKGROUND_K, PLAIN, Letters, point
from tests.support.coordizers import Fixed

NAMES = "abc"
DRAWN = Sampling(tokens_max=24, temperature=1.1, seed=4, tokens_min=24, frequency_penalty=0.3)
TOKEN_OF = {data: token for token, data in enumerate(VOCABULARY.token_bytes())}


class Bytes(Letters):
    """A coordizer for the engine's vocabulary of bytes: "a" lies at outcome 0, "b" at 1."""

    def encode(self, text: str) -> TokenArray:
        return np.array([TOKEN_OF[bytes([byte])] for byte in text.encode()], dtype=np.int32)

    def basin(self, ids: TokenArray) -> Any:
        return point(VOCABULARY.token_bytes()[int(ids[0])][0] - ord("a"))


class Mortal(KernelEngine):
    """The model of all kernels here, in one of them."""

    def __init__(self) -> None:
        loaded = LoadedKernel(
            decoder=DECODER, config=CONFIG, tokenizer_hash="t", weights_hash="w", facts={}
        )
        super().__init__(loaded, VOCABULARY)
        self.before_step: Callable[[], None] = lambda: None

    def step(self, answers: Sequence[KernelAnswer]) -> list[Step | None]:
        self.before_step()
        return super().step(answers)


@dataclass
class Told:
    """What a caller of a stream got."""

    route: Route
    pieces: list[Piece]

    @property
    def whole(self) -> Piece:
        return convert.join_pieces(self.pieces)

    @property
    def finish(self) -> Finish:
        assert self.whole.finish is not None
        return self.whole.finish


class Sky:
    """Kernels "a", "b" and "c" of the same weights, and a router."""

    def __init__(self) -> None:
        self.engines = {name: Mortal() for name in NAMES}
        self.kernels = {
            name: KernelHost(name, engine, slots=2, queue_max=2)
            for name, engine in self.engines.items()
        }
        self.router = RouterHost(Fixed(Bytes()), RouterOptions(), token=None)
        self.num_heard = 0
        self._hears = threading.Condition()

    async def __aenter__(self) -> "Sky":
        self.table = Table(
            version=1,
            coordizer_hash="letters",
            background_K=BACKGROUND_K,
            temperatures=dict.fromkeys(Rule, 0.5),
            sites=tuple([await self.site(name) for name in NAMES]),
        )
        await self.publish(self.table)
        return self

    async def __aexit__(self, *_: object) -> None:
        for kernel in self.kernels.values():
            await kernel.server.stop(grace_s=0)

    async def site(self, name: str) -> KernelSite:
        basin_K = point(ord(name) - ord("a"))
        return KernelSite(
            name=name,
            basin_K=basin_K,
            bearing_K=bearing(basin_K, BACKGROUND_K),
            radii=dict.fromkeys(Rule, 1.0),
            endpoint=await self.kernels[name].server.open(Bind(), stall_s=5.0),
        )

    async def publish(self, table: Table) -> None:
        await self.router.update(Snapshot(table=table, health={}, registry_pid=1))

    async def stream(self, sampling: Sampling = DRAWN, options: RoutingOptions = PLAIN) -> Told:
        routes, pieces = [], []
        async for route, reply in self.router.generate("abc", sampling, options, timeout_s=30):
            routes.append(route)
            pieces.append(convert.piece_from_bytes(reply))
            with self._hears:
                self.num_heard += pieces[-1].num_tokens
                self._hears.notify_all()
        assert routes[0] is not None
        assert routes[1:] == [None] * (len(routes) - 1)
        return Told(routes[0], pieces)

    def die_at_step(self, name: str, number: int, *, once_heard: int = 1) -> None:
        """Let a kernel's server go away while its model makes its `number`-th step.

        Before that the caller is waited for until it has heard so many of the kernel's tokens: what
        is still on its way is lost with the server.
        """
        loop, steps = asyncio.get_running_loop(), iter(range(1, 1000))
        heard_before: list[int] = []

        def before_step() -> None:
            step = next(steps)
            heard_before.append(self.num_heard)
            if step != number:
                return
            if number > 1:
                with self._hears:
                    self._hears.wait_for(
                        lambda: self.num_heard >= heard_before[0] + once_heard, timeout=5
                    )
            stopping = self.kernels[name].server.stop(grace_s=0)
            asyncio.run_coroutine_threadsafe(stopping, loop).result(timeout=10)

        self.engines[name].before_step = before_step


def run(story: Callable[[Sky], Coroutine[Any, Any, None]]) -> None:
    async def tell() -> None:
        async with Sky() as sky:
            await story(sky)

    asyncio.run(tell())


@pytest.mark.slow
@pytest.mark.parametrize("deaths", [{"a": 6}, {"a": 24}, {"a": 7, "b": 6}, {"a": 1}])
@pytest.mark.parametrize(
    "sampling",
    [DRAWN, replace(DRAWN, seed=8, logprobs=1)],
    ids=["drawn", "named"],
)
def test_a_stream_that_lost_kernels_is_the_undisturbed_one(
    deaths: dict[str, int], sampling: Sampling
) -> None:
    async def story(sky: Sky) -> None:
        undisturbed = await sky.stream(sampling)
        for name, number in deaths.items():
            sky.die_at_step(name, number)
        told = await sky.stream(sampling)
        assert told.whole.text == undisturbed.whole.text
        assert told.whole.tokens == undisturbed.whole.tokens
        assert told.whole.num_tokens == told.finish.num_tokens == 24
        assert told.finish.reason is undisturbed.finish.reason
        assert told.finish.num_prompt_tokens == undisturbed.finish.num_prompt_tokens == 3
        assert [each.token for each in told.whole.logprobs] == [
            each.token for each in undisturbed.whole.logprobs
        ]
        writers = [segment.kernel for segment in told.finish.segments]
        assert writers == (list(NAMES[: len(deaths) + 1]) if deaths["a"] > 1 else [])
        lost = {name: sky.router.metrics.failovers.labels(name) for name in deaths}
        assert [counter._value.get() for counter in lost.values()] == [1] * len(deaths)

    run(story)


def test_the_finish_says_who_wrote_from_where_on_and_why() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("a", 9, once_heard=4)
        told = await sky.stream()
        num_before = told.finish.segments[1].first
        assert told.finish.segments == (
            Segment(kernel="a", first=0, reason="nearest"),
            Segment(kernel="b", first=num_before, reason="failover"),
        )
        # What the lost kernel had written without a whole character of text was heard by nobody.
        assert 4 <= num_before <= 8
        assert (told.route.kernel, told.route.reason) == ("a", "nearest")

    run(story)


def test_a_kernel_that_is_back_may_go_on_with_what_it_began() -> None:
    async def story(sky: Sky) -> None:
        undisturbed = await sky.stream()
        for name in "bc":
            await sky.kernels[name].server.stop(grace_s=0)
        down = [replace(site, endpoint=None) for site in sky.table.sites[1:]]
        await sky.publish(replace(sky.table, version=2, sites=(sky.table.sites[0], *down)))
        loop, first = asyncio.get_running_loop(), sky.kernels["a"]

        async def come_back() -> None:
            sky.kernels["a"] = KernelHost("a", Mortal(), slots=2, queue_max=2)
            site = await sky.site("a")
            await sky.publish(replace(sky.table, version=3, sites=(site, *down)))
            await first.server.stop(grace_s=0)

        steps = iter(range(1, 1000))

        def before_step() -> None:
            if next(steps) == 5:
                asyncio.run_coroutine_threadsafe(come_back(), loop).result(timeout=10)

        sky.engines["a"].before_step = before_step
        told = await sky.stream()
        assert told.whole.tokens == undisturbed.whole.tokens
        assert told.finish.segments == ()  # "a" wrote all

    run(story)


def test_nobody_else_goes_on_with_what_was_asked_of_one_by_name() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("b", 9)
        with pytest.raises(KernelUnavailable, match="'b'"):
            await sky.stream(options=RoutingOptions(kernel="b"))

    run(story)


def test_when_nobody_is_left_the_stream_ends_with_a_typed_error() -> None:
    async def story(sky: Sky) -> None:
        for name in NAMES:
            sky.die_at_step(name, 4)
        with pytest.raises(KernelUnavailable) as caught:
            await sky.stream()
        assert caught.value.retryable

    run(story)
