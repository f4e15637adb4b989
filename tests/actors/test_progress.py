"""A process of kernels that answers heartbeats and serves nothing is found, and only such a one."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from actors.kernel import progress as progress_of_kernels
from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.kernel.step_loop import AHEAD_MAX
from actors.registry.heartbeat import Heartbeats
from actors.registry.member_checks import fault_of
from constellation.errors import InvalidPrompt
from constellation.records import (
    COORDIZER_TOKENS,
    EVERYTHING,
    FinishReason,
    Progress,
    Sampling,
)
from constellation.wire.channel import Bind

STUCK_S = 0.2
WAIT_S = 10.0


class Text:
    """A text that is written in a given number of steps, after some that read the prompt."""

    num_prompt_tokens = 1

    def __init__(self, tokens_max: int, num_reading: int) -> None:
        self.left = tokens_max
        self.num_reading = num_reading

    def step(self) -> Step | None:
        if self.num_reading:
            self.num_reading -= 1
            return None
        self.left -= 1
        return Step("x", 1, None if self.left else FinishReason.LENGTH)


class Engine:
    """A model without weights, which waits, reads or fails when a test says so."""

    capabilities = EVERYTHING
    vocabulary = COORDIZER_TOKENS
    tokenizer_hash = "letters"
    context = 4096
    vocab_size = 64
    num_parameters = 0
    kappa = 0.0
    blocking = True

    def __init__(self) -> None:
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None
        self.num_reading = 0
        self.num_steps = 0

    def start(
        self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()
    ) -> Text:
        if self.error is not None:
            raise self.error
        return Text(sampling.tokens_max, self.num_reading)

    def step(self, answers: Sequence[Text]) -> list[Step | None]:
        self.go.wait(WAIT_S)
        self.num_steps += 1
        if self.num_reading:  # a prompt takes its time, one part after the other
            threading.Event().wait(0.02)
        if self.error is not None:
            raise self.error
        return [answer.step() for answer in answers]

    def leave(self, answer: Text) -> None:
        pass


class Process:
    """A real server with one kernel, and a registry's connection to the server."""

    def __init__(self) -> None:
        self.engine = Engine()
        self.kernel = KernelHost("k", self.engine, slots=2, queue_max=2)  # type: ignore[arg-type]
        self.heartbeats = Heartbeats(None)
        self.endpoint = ""
        self.texts: list[asyncio.Task[int]] = []

    async def __aenter__(self) -> "Process":
        self.endpoint = await self.kernel.server.open(Bind(), stall_s=5.0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.engine.go.set()
        for text in self.texts:
            text.cancel()
        await self.heartbeats.forget("member")
        await self.kernel.server.stop(grace_s=0)

    async def heartbeat(self) -> Progress:
        _, progress = await self.heartbeats.kernels("member", self.endpoint)
        return progress

    async def fault(self, is_there: Callable[[str], bool] = bool) -> str:
        """Send heartbeats until one shows a fault."""
        async with asyncio.timeout(WAIT_S):
            while True:
                fault = fault_of(await self.heartbeat(), STUCK_S)
                if is_there(fault):
                    return fault
                await asyncio.sleep(0.02)

    def ask(self, tokens_max: int = 4) -> "asyncio.Task[int]":
        async def work() -> int:
            answer = self.kernel.generate([1], Sampling(tokens_max=tokens_max))
            return len([piece async for piece in answer])

        self.texts.append(asyncio.create_task(work()))
        return self.texts[-1]


def told(story: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with Process() as process:
            await story(process)

    asyncio.run(whole())


async def a_stuck_thread(process: Process) -> None:
    process.engine.go.clear()


async def a_dead_thread(process: Process) -> None:
    process.kernel.server.thread._pool.shutdown()


async def an_ended_loop(process: Process) -> None:
    ended = asyncio.create_task(asyncio.sleep(0))
    await ended
    process.kernel._stepping.loop._task = ended  # type: ignore[assignment]


async def a_broken_engine(process: Process) -> None:
    process.engine.error = RuntimeError("not a number")


FAULTS = {
    a_stuck_thread: "made no step",
    a_dead_thread: "writes no token: RuntimeError",
    an_ended_loop: "made no step",
    a_broken_engine: "writes no token: RuntimeError: not a number",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_fault_of_an_idle_process_is_found_by_the_token_it_cannot_write(
    fault: Callable[[Process], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_of_kernels, "PROOF_S", 0.05)

    async def story(process: Process) -> None:
        assert fault_of(await process.heartbeat(), STUCK_S) == ""
        await fault(process)
        assert FAULTS[fault] in await process.fault()

    told(story)


@pytest.mark.parametrize(
    "fault", [a_stuck_thread, an_ended_loop, a_broken_engine], ids=lambda fault: fault.__name__
)
def test_a_fault_of_a_process_with_work_is_found_without_any_idle_time(
    fault: Callable[[Process], Awaitable[None]],
) -> None:
    async def story(process: Process) -> None:
        await fault(process)
        process.ask()
        assert FAULTS[fault] in await process.fault()

    told(story)


def test_a_queue_that_is_not_drained_is_found() -> None:
    async def story(process: Process) -> None:
        async with AsyncExitStack() as lost:
            for _ in range(2):  # slots whose requests have gone without giving them back
                await lost.enter_async_context(process.kernel._slot("client"))
            process.ask()
            assert "made no step" in await process.fault()

    told(story)


def test_a_long_prompt_that_is_being_read_is_no_fault() -> None:
    async def story(process: Process) -> None:
        process.engine.num_reading = 40  # 0.8 s, four times as long as a process may be stuck
        text = process.ask()
        while not text.done():
            assert fault_of(await process.heartbeat(), STUCK_S) == ""
            await asyncio.sleep(0.01)
        assert await text == 4

    told(story)


def test_a_reader_that_is_slow_is_no_fault_of_the_kernel() -> None:
    async def story(process: Process) -> None:
        answer = process.kernel.generate([1], Sampling(tokens_max=4 * AHEAD_MAX))
        await anext(answer)
        await asyncio.sleep(2 * STUCK_S)
        assert process.engine.num_steps >= AHEAD_MAX
        assert fault_of(await process.heartbeat(), STUCK_S) == ""
        await answer.aclose()

    told(story)


def test_a_refusal_of_the_probe_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel with a vocabulary of its own may not understand the prompt."""
    monkeypatch.setattr(progress_of_kernels, "PROOF_S", 0.0)

    async def story(process: Process) -> None:
        process.engine.error = InvalidPrompt(length=1, limit=0)
        for _ in range(10):
            assert fault_of(await process.heartbeat(), STUCK_S) == ""
            await asyncio.sleep(0.01)

    told(story)


def test_an_engine_that_recovers_is_well_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_of_kernels, "PROOF_S", 0.05)

    async def story(process: Process) -> None:
        await a_broken_engine(process)
        await process.fault()
        process.engine.error = None
        await process.fault(lambda fault: not fault)

    told(story)


def test_an_idle_process_is_asked_for_a_token_only_after_a_while_and_counts_none() -> None:
    async def story(process: Process) -> None:
        for _ in range(20):
            await process.heartbeat()
        assert process.engine.num_steps == 0

    told(story)


def test_a_token_that_was_asked_for_is_in_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_of_kernels, "PROOF_S", 0.0)

    async def story(process: Process) -> None:
        while process.engine.num_steps < 3:
            await process.heartbeat()
            await asyncio.sleep(0.01)
        registry = process.kernel.metrics.registry
        for kind in ("prompt", "completion"):
            labels = {"kernel": "k", "kind": kind}
            assert registry.get_sample_value("constellation_tokens_total", labels) == 0
        name = "constellation_inter_token_seconds_count"
        assert registry.get_sample_value(name, {"kernel": "k"}) == 0

    told(story)
