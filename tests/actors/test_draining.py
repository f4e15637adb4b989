"""A router that is to stop: what runs is finished, what is new is refused."""

import asyncio
import threading

import pytest

from constellation.client import AsyncClient, RetryPolicy
from constellation.errors import ServiceUnavailable
from constellation.wire.channel import Bind
from tests.actors.test_relaying import DRAWN, Sky, run

ONCE = RetryPolicy(attempts_max=1)
OPTIONS = {
    "tokens_max": DRAWN.tokens_max,
    "temperature": DRAWN.temperature,
    "seed": DRAWN.seed,
    "tokens_min": DRAWN.tokens_min,
    "frequency_penalty": DRAWN.frequency_penalty,
}


def hold_after(sky: Sky, name: str, num_steps: int) -> threading.Event:
    """Let a kernel's model make so many steps, and more only when the event is set."""
    go, steps = threading.Event(), iter(range(1000))
    sky.engines[name].before_step = lambda: next(steps) < num_steps or go.wait(10)
    return go


@pytest.mark.parametrize("death", [False, True])
def test_an_answer_under_way_is_finished_and_a_new_one_refused(death: bool) -> None:
    """Even when its kernel dies meanwhile: the others are there until the router has stopped."""

    async def story(sky: Sky) -> None:
        undisturbed = await sky.stream()
        endpoint = await sky.router.serve(Bind(), stall_s=5.0)
        go = hold_after(sky, "a", 8)
        async with AsyncClient(endpoint, retries=ONCE) as stars:
            answer = stars.stream("abc", **OPTIONS)
            pieces = [await anext(answer)]
            stopping = asyncio.create_task(sky.router.stop(grace_s=10))
            while await stars.healthy():  # until it has begun to refuse
                pass
            with pytest.raises(ServiceUnavailable) as caught:
                await stars.ask("abc", timeout_s=5)
            assert caught.value.retryable
            if death:
                await sky.kernels["a"].server.stop(grace_s=0)
            go.set()
            pieces += [piece async for piece in answer]
            assert "".join(piece.text for piece in pieces) == undisturbed.whole.text
            assert bool(answer.reply().finish.segments) == death
            await stopping

    run(story)


def test_an_answer_that_takes_longer_than_the_grace_ends_with_a_typed_error() -> None:
    async def story(sky: Sky) -> None:
        endpoint = await sky.router.serve(Bind(), stall_s=5.0)
        go = hold_after(sky, "a", 8)
        async with AsyncClient(endpoint, retries=ONCE) as stars:
            answer = stars.stream("abc", **OPTIONS)
            await anext(answer)
            await sky.router.stop(grace_s=0.01)
            with pytest.raises(ServiceUnavailable) as caught:
                [piece async for piece in answer]
            assert caught.value.retryable
            go.set()

    run(story)
