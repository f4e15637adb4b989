"""Answers of one engine are stepped together; who is slow, gone or broken holds up nobody else."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import pytest

from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.kernel.step_loop import AHEAD_MAX
from constellation.errors import InvalidPrompt
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    FinishReason,
    Piece,
    Sampling,
    Score,
)
from constellation.wire.convert import join_pieces


class Word:
    """An answer that counts its steps."""

    def __init__(self, letter: int, tokens_max: int, num_reading: int) -> None:
        self.num_prompt_tokens = 1
        self.letter = chr(letter)
        self.left = tokens_max
        self.num_reading = num_reading

    def say(self) -> Step | None:
        if self.num_reading:
            self.num_reading -= 1
            return None
        self.left -= 1
        return Step(self.letter, 1, None if self.left else FinishReason.LENGTH)


class Engine:
    """A model that remembers who took part in which step."""

    capabilities = EVERYTHING
    vocabulary = COORDIZER_TOKENS
    tokenizer_hash = "letters"
    context = 64
    num_parameters = 0
    kappa = 0.0

    def __init__(self, *, blocking: bool = True, num_reading: int = 0) -> None:
        self.blocking = blocking
        self.num_reading = num_reading
        self.steps: list[list[str]] = []
        self.left: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.threads: set[str] = set()
        self.broken = False
        self.too_few = False

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> Word:
        self.go.wait(10)
        if not tokens:
            raise InvalidPrompt(length=0, limit=63)
        return Word(tokens[0], sampling.tokens_max, self.num_reading)

    def step(self, answers: Sequence[Word]) -> list[Step | None]:
        self.go.wait(10)
        self.threads.add(threading.current_thread().name)
        if self.broken:
            raise RuntimeError("the model broke")
        self.steps.append([answer.letter for answer in answers])
        return [] if self.too_few else [answer.say() for answer in answers]

    def leave(self, answer: Word) -> None:
        self.left.append(answer.letter)

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        return Score(nats=float(len(self.steps)), num_tokens=len(tokens))


def host_of(engine: Engine, slots: int = 4) -> KernelHost:
    return KernelHost("stars", engine, slots=slots, queue_max=8)


def answer(host: KernelHost, letter: str, tokens_max: int = 5) -> AsyncGenerator[Piece, None]:
    return host.generate([ord(letter)], Sampling(tokens_max=tokens_max))


async def whole(host: KernelHost, letter: str, tokens_max: int = 5) -> str:
    return join_pieces([piece async for piece in answer(host, letter, tokens_max)]).text


async def turns() -> None:
    """Let every task go on as far as it can without the model."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("num_reading", [0, 3])
def test_answers_share_their_steps_and_one_thread(num_reading: int) -> None:
    async def story() -> None:
        engine = Engine(num_reading=num_reading)
        engine.go.clear()
        host = host_of(engine)
        asking = [asyncio.create_task(whole(host, letter)) for letter in "abc"]
        await turns()
        assert host.describe().num_running == 3
        engine.go.set()
        assert await asyncio.gather(*asking) == ["aaaaa", "bbbbb", "ccccc"]
        assert len(engine.steps) <= 5 + num_reading + 2  # alone: three times as many
        assert ["a", "b", "c"] in engine.steps
        assert engine.threads == {next(iter(engine.threads))}
        assert next(iter(engine.threads)).startswith("model")
        await asyncio.sleep(0)
        assert (await host.score([1, 2], 0)).nats == len(engine.steps)
        assert sorted(engine.left) == ["a", "b", "c"]

    asyncio.run(story())


def test_an_answer_that_is_left_takes_part_in_no_further_step() -> None:
    async def story() -> None:
        engine = Engine()
        host = host_of(engine, slots=1)
        async with aclosing(answer(host, "a", tokens_max=4000)) as pieces:
            await anext(pieces)
            waiting = asyncio.create_task(whole(host, "b"))
            await asyncio.sleep(0)
            assert host.describe().queue_depth == 1
        assert await waiting == "bbbbb"
        first = next(n for n, step in enumerate(engine.steps) if "b" in step)
        assert all(step == ["b"] for step in engine.steps[first:])
        assert engine.left[0] == "a"

    asyncio.run(story())


def test_a_slow_reader_rests_and_holds_up_nobody() -> None:
    async def story() -> None:
        engine = Engine()
        host = host_of(engine)
        slow = answer(host, "s", tokens_max=4 * AHEAD_MAX)
        first = await anext(slow)
        assert await whole(host, "q", tokens_max=3 * AHEAD_MAX) == "q" * 3 * AHEAD_MAX
        num_slow = sum("s" in step for step in engine.steps)
        assert num_slow <= AHEAD_MAX + 1
        rest = [piece async for piece in slow]
        assert join_pieces([first, *rest]).text == "s" * 4 * AHEAD_MAX
        assert rest[-1].finish is not None
        assert rest[-1].finish.num_tokens == 4 * AHEAD_MAX

    asyncio.run(story())


def test_a_step_that_fails_fails_its_answers_and_no_later_ones() -> None:
    async def story() -> None:
        engine = Engine()
        host = host_of(engine)
        engine.broken = True
        outcomes = await asyncio.gather(whole(host, "a"), whole(host, "b"), return_exceptions=True)
        assert [str(outcome) for outcome in outcomes] == ["the model broke"] * 2
        engine.broken = False
        assert await whole(host, "c") == "ccccc"
        assert host.describe().num_running == 0
        assert sorted(engine.left) == ["a", "b"] or sorted(engine.left) == ["a", "b", "c"]

    asyncio.run(story())


def test_a_caller_that_goes_while_its_answer_joins_leaves_nothing_behind() -> None:
    async def story() -> None:
        engine = Engine()
        engine.go.clear()
        host = host_of(engine)
        asking = asyncio.create_task(whole(host, "a"))
        await turns()
        assert host.describe().num_running == 1
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        engine.go.set()
        assert await whole(host, "b") == "bbbbb"
        assert engine.left[0] == "a"
        assert not any("a" in step for step in engine.steps)

    asyncio.run(story())


def test_a_refused_prompt_frees_its_slot() -> None:
    async def story() -> None:
        host = host_of(Engine(), slots=1)
        with pytest.raises(InvalidPrompt):
            await anext(host.generate([], Sampling()))
        assert await whole(host, "a") == "aaaaa"

    asyncio.run(story())


def test_an_engine_that_does_not_block_needs_no_thread() -> None:
    async def story() -> None:
        engine = Engine(blocking=False, num_reading=2)
        host = host_of(engine)
        assert await asyncio.gather(whole(host, "a"), whole(host, "b")) == ["aaaaa", "bbbbb"]
        assert engine.threads == {threading.main_thread().name}
        assert sorted(engine.left) == ["a", "b"]

    asyncio.run(story())


def test_metrics_count_tokens_and_what_is_held() -> None:
    async def story() -> None:
        engine = Engine(num_reading=2)
        host = host_of(engine, slots=2)
        value = host.metrics.registry.get_sample_value
        kernel = {"kernel": "stars"}
        async with aclosing(answer(host, "a")) as pieces:
            await anext(pieces)
            held = value("constellation_kv_cache_usage_ratio", kernel)
            assert held == pytest.approx((1 + 1) / (2 * engine.context))
            assert value("constellation_running_requests", kernel) == 1
            async for _ in pieces:
                pass
        assert value("constellation_kv_cache_usage_ratio", kernel) == 0
        assert value("constellation_running_requests", kernel) == 0
        # One for every token, the first one from the start of the answer.
        assert value("constellation_inter_token_seconds_count", kernel) == 5
        for kind, num in (("prompt", 1), ("completion", 5)):
            assert value("constellation_tokens_total", {**kernel, "kind": kind}) == num

    asyncio.run(story())


def test_readers_are_told_when_the_loop_itself_breaks_and_the_next_answer_has_another() -> None:
    async def story() -> None:
        engine = Engine()
        host = host_of(engine)
        engine.too_few = True
        with pytest.raises(ValueError, match="zip"):
            await asyncio.wait_for(whole(host, "a"), timeout=10)
        engine.too_few = False
        assert await whole(host, "b") == "bbbbb"

    asyncio.run(story())
