"""Router and kernels as plain classes over real gRPC, without Ray, and what a loss looks like."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.errors import (
    ArtifactError,
    InvalidPrompt,
    KernelUnavailable,
    OutOfDomain,
    Overloaded,
    ServiceUnavailable,
)
from constellation.geometry import bearing
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    FinishReason,
    FloatArray,
    KernelSite,
    RoutingOptions,
    Rule,
    Sampling,
    Score,
    Table,
    TokenArray,
    TokenInfluence,
)
from constellation.v1 import kernel_pb2
from constellation.wire.channel import Bind
from tests.support.coordizers import Fixed

BACKGROUND_K = np.full(64, 1 / 64)
SAMPLING = Sampling(tokens_max=4)
PLAIN = RoutingOptions()


def point(outcome: int) -> FloatArray:
    """Return a simplex point that leans to one outcome."""
    values = np.full(64, 0.5 / 63)
    values[outcome] = 0.5
    return values


class Letters:
    """A coordizer whose tokens are letters: "a" lies at outcome 0, "b" at outcome 1."""

    background_K = BACKGROUND_K
    hash = "letters"

    def encode(self, text: str) -> TokenArray:
        return np.array([ord(letter) for letter in text], dtype=np.int32)

    def basin(self, ids: TokenArray) -> FloatArray:
        return point(int(ids[0]) - ord("a")) if ids.size else BACKGROUND_K

    def influences(self, ids: TokenArray, top: int = 5) -> tuple[TokenInfluence, ...]:
        return (TokenInfluence(text=chr(int(ids[0])), position=0, shift=1.0),)


class Echo:
    """An answer that says its kernel's name once per token."""

    def __init__(self, num_prompt_tokens: int, tokens_max: int) -> None:
        self.num_prompt_tokens = num_prompt_tokens
        self._left = tokens_max

    def say(self, name: str) -> Step:
        self._left -= 1
        return Step(name, 1, None if self._left else FinishReason.LENGTH)


class Engine:
    """A model that needs no weights."""

    capabilities = EVERYTHING
    vocabulary = COORDIZER_TOKENS
    tokenizer_hash = "letters"
    context = 64
    num_parameters = 0
    kappa = 0.0
    blocking = True

    def __init__(self, name: str, before_step: Callable[[], None] = lambda: None) -> None:
        self.name = name
        self.before_step = before_step

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> Echo:
        if not tokens:
            raise InvalidPrompt(length=0, limit=63)
        return Echo(len(tokens), sampling.tokens_max - len(produced))

    def step(self, answers: Sequence[Echo]) -> list[Step]:
        self.before_step()
        return [answer.say(self.name) for answer in answers]

    def leave(self, answer: Echo) -> None:
        pass

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        return Score(nats=float(len(tokens)), num_tokens=len(tokens) - num_context)


class Sky:
    """Kernels "a" and "b" and a router, all in this process."""

    def __init__(self, *, slots: int = 2, queue_max: int = 2) -> None:
        self.engines = {name: Engine(name) for name in "ab"}
        self.kernels = {
            name: KernelHost(name, engine, slots=slots, queue_max=queue_max)
            for name, engine in self.engines.items()
        }
        self.router = RouterHost(Fixed(Letters()), RouterOptions(), token=None)
        self.heard = threading.Event()

    async def __aenter__(self) -> "Sky":
        radii = dict.fromkeys(Rule, 1.0)
        sites = [
            KernelSite(
                name=name,
                basin_K=point(outcome),
                bearing_K=bearing(point(outcome), BACKGROUND_K),
                radii=radii,
                endpoint=await self.kernels[name].server.open(Bind(), stall_s=5.0),
            )
            for outcome, name in enumerate("ab")
        ]
        self.table = Table(
            version=1,
            coordizer_hash="letters",
            background_K=BACKGROUND_K,
            temperatures=dict.fromkeys(Rule, 0.5),
            sites=tuple(sites),
        )
        await self.publish(self.table)
        return self

    async def __aexit__(self, *_: object) -> None:
        for kernel in self.kernels.values():
            await kernel.server.stop(grace_s=0)

    async def publish(self, table: Table) -> None:
        await self.router.update(Snapshot(table=table, health={}, registry_pid=1))

    async def ask(self, text: str, options: RoutingOptions = PLAIN) -> tuple[Any, str]:
        route, reply = await self.router.ask(text, SAMPLING, options, timeout_s=20)
        return route, kernel_pb2.KernelGenerateReply.FromString(reply).text

    async def stream(self, text: str, options: RoutingOptions = PLAIN) -> list[Any]:
        """Return the route, then every piece of text."""
        said: list[Any] = []
        async for route, reply in self.router.generate(text, SAMPLING, options, timeout_s=20):
            said += [route] if route is not None else []
            said.append(kernel_pb2.KernelGenerateReply.FromString(reply).text)
            self.heard.set()
        return said

    def die_at_step(self, name: str, number: int, *, once_heard: bool = False) -> None:
        """Let a kernel's server go away while its model makes its `number`-th step.

        Args:
            name: Of the kernel.
            number: Of the step, from 1.
            once_heard: Wait there until the caller of a stream has heard something.
        """
        loop = asyncio.get_running_loop()
        steps = iter(range(1, 1000))

        def before_step() -> None:
            if next(steps) == number:
                assert not once_heard or self.heard.wait(10)
                stopping = self.kernels[name].server.stop(grace_s=0)
                asyncio.run_coroutine_threadsafe(stopping, loop).result(timeout=10)

        self.engines[name].before_step = before_step


def run(story: Callable[[Sky], Coroutine[Any, Any, None]], **limits: int) -> None:
    async def tell() -> None:
        async with Sky(**limits) as sky:
            await story(sky)

    asyncio.run(tell())


def test_an_answer_under_way_is_finished_by_the_model_it_began_with() -> None:
    async def story(sky: Sky) -> None:
        kernel, steps = sky.kernels["a"], iter(range(1, 1000))

        def before_step() -> None:
            if next(steps) == 2:
                kernel.replace(Engine("new"))

        sky.engines["a"].before_step = before_step
        assert (await sky.ask("a"))[1] == "aaaa"
        assert (await sky.ask("a"))[1] == "new" * 4

    run(story)


def test_a_query_goes_to_its_kernel_whole_or_streamed() -> None:
    async def story(sky: Sky) -> None:
        route, text = await sky.ask("b")
        assert (route.kernel, route.reason, text) == ("b", "nearest", "bbbb")
        route, *pieces = await sky.stream("a")
        assert (route.kernel, pieces) == ("a", ["a", "a", "a", "a"])

    run(story)


def test_a_kernel_lost_before_its_first_text_is_replaced_by_the_next_nearest() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("a", 1)
        route, *pieces = await sky.stream("a")
        assert (route.kernel, route.reason, pieces) == ("b", "failover", ["b"] * 4)

    run(story)


def test_a_stream_without_ids_goes_on_by_its_text_and_nothing_is_repeated() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("a", 3, once_heard=True)
        route, *pieces = await sky.stream("a")
        text = "".join(pieces)
        assert route.kernel == "a"
        assert text in ("abbb", "aabb")

    run(story)


def test_a_kernel_lost_in_the_middle_of_a_whole_answer_does_not_show() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("a", 3)
        route, text = await sky.ask("a")
        assert (route.kernel, route.reason, text) == ("b", "failover", "bbbb")

    run(story)


def test_a_kernel_that_was_asked_for_by_name_is_not_replaced() -> None:
    async def story(sky: Sky) -> None:
        sky.die_at_step("a", 1)
        with pytest.raises(KernelUnavailable, match="'a'"):
            await sky.ask("b", RoutingOptions(kernel="a"))

    run(story)


def test_when_every_kernel_is_lost_the_error_is_retryable() -> None:
    async def story(sky: Sky) -> None:
        for name in "ab":
            sky.die_at_step(name, 1)
        with pytest.raises(KernelUnavailable) as caught:
            await sky.ask("a")
        assert caught.value.retryable

    run(story)


def test_a_kernel_that_is_down_in_the_table_is_not_even_called() -> None:
    async def story(sky: Sky) -> None:
        down = replace(sky.table.sites[0], endpoint=None)
        await sky.publish(replace(sky.table, version=2, sites=(down, sky.table.sites[1])))
        route, text = await sky.ask("a")
        assert (route.kernel, route.reason, route.table_version, text) == (
            "b",
            "failover",
            2,
            "bbbb",
        )

    run(story)


def test_an_older_table_is_ignored_and_a_strangers_refused() -> None:
    async def story(sky: Sky) -> None:
        await sky.publish(replace(sky.table, version=3))
        await sky.publish(replace(sky.table, version=2))
        assert (await sky.ask("a"))[0].table_version == 3
        with pytest.raises(ArtifactError, match="another one than the table's"):
            await sky.publish(replace(sky.table, version=4, coordizer_hash="other"))
        route, text = await sky.ask("a")
        assert (route.table_version, text) == (3, "aaaa")

    run(story)


def test_a_router_without_a_table_says_that_it_is_not_ready() -> None:
    async def story(_: Sky) -> None:
        router = RouterHost(Fixed(Letters()), RouterOptions(), token=None)
        with pytest.raises(ServiceUnavailable, match="no table yet") as caught:
            await router.ask("a", SAMPLING, PLAIN, timeout_s=1)
        assert caught.value.retryable

    run(story)


def test_a_score_is_of_the_text_and_routed_by_its_context() -> None:
    async def story(sky: Sky) -> None:
        route, score = await sky.router.score("b", "aaa", PLAIN, timeout_s=20)
        assert (route.kernel, score.num_tokens, score.nats) == ("b", 3, 4.0)
        route, score = await sky.router.score("", "aaa", PLAIN, timeout_s=20)
        assert (route.kernel, score.num_tokens) == ("a", 3)

    run(story)


def test_out_of_domain_is_refused_only_when_asked() -> None:
    async def story(sky: Sky) -> None:
        assert (await sky.ask("z"))[0].out_of_domain
        strict = RoutingOptions(refuse_out_of_domain=True)
        with pytest.raises(OutOfDomain):
            await sky.ask("z", strict)
        counted = sky.router.metrics.registry.get_sample_value
        assert counted("constellation_out_of_domain_total") == 2
        await sky.router.route("z", PLAIN)
        with pytest.raises(OutOfDomain):
            await sky.router.route("z", strict)
        assert counted("constellation_out_of_domain_total") == 2, "nobody waited for an answer"

    run(story)


def test_a_full_kernel_refuses_and_every_slot_is_free_again_afterwards() -> None:
    async def story(sky: Sky) -> None:
        outcomes = await asyncio.gather(*(sky.ask("a") for _ in range(12)), return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        answered = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert len(refused) + len(answered) == 12
        assert len(refused) > 0 < len(answered)
        assert all(error.retry_after_s > 0 for error in refused)
        described = sky.kernels["a"].describe()
        assert (described.num_running, described.queue_depth) == (0, 0)

    run(story, slots=1, queue_max=1)


def test_a_registry_that_is_silent_is_not_said_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with Sky() as sky:
            assert sky.router.state().registry_pid == 1
            monkeypatch.setattr("actors.router.host.SILENT_S", 0.0)
            assert sky.router.state().registry_pid == 0

    asyncio.run(story())


def test_an_outdated_table_is_not_taken_and_its_registry_learns_of_the_newer_one() -> None:
    async def story() -> None:
        async with Sky() as sky:
            newer = Snapshot(table=replace(sky.table, version=7), health={}, registry_pid=1)
            assert (await sky.router.update(newer)).table_version == 7
            lost_count = Snapshot(table=replace(sky.table, version=3), health={}, registry_pid=2)
            assert (await sky.router.update(lost_count)).table_version == 7
            assert sky.router.state().registry_pid == 1

    asyncio.run(story())
