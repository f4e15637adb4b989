"""While a long prompt is encoded, by a real tokenizer, router and client serve everybody else."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.client.async_client import AsyncClient
from constellation.client.async_direct import AsyncDirectClient
from constellation.coordizer.encoding import Encoder
from constellation.errors import DeadlineExceeded
from constellation.records import FloatArray, RoutingOptions, Sampling, TokenArray, TokenInfluence
from constellation.wire.channel import Bind
from constellation.wire.long_texts import LONG_CHARACTERS
from tests.actors.choir import VOCABULARY
from tests.actors.test_hosts import BACKGROUND_K, PLAIN, SAMPLING, Sky, point
from tests.support.coordizers import Fixed

HANG_S = 20.0
"""A bound for waits that end at once when all is well."""
LONG = "b" + " bé" * LONG_CHARACTERS
"""Not ASCII: the library itself encodes it."""
NUM_TOKENS = len(LONG.encode())


class Held:
    """A coordizer of bytes that begins a long text when it is told to."""

    background_K = BACKGROUND_K
    hash = "letters"

    def __init__(self) -> None:
        self._encoder = Encoder(VOCABULARY)
        self.begun = threading.Event()
        self.free = threading.Event()

    def encode(self, text: str) -> TokenArray:
        if len(text) > LONG_CHARACTERS:
            self.begun.set()
            assert self.free.wait(HANG_S), "the event loop was held up"
        return self._encoder.encode(text)

    def decode(self, ids: TokenArray) -> bytes:
        pieces = VOCABULARY.token_bytes()
        return b"".join(pieces[token] for token in ids.tolist())

    def basin(self, ids: TokenArray) -> FloatArray:
        return point(self.decode(ids[:1])[0] - ord("a")) if ids.size else BACKGROUND_K

    def influences(self, ids: TokenArray, top: int = 5) -> tuple[TokenInfluence, ...]:
        shift = float(threading.get_ident())
        return (TokenInfluence(text=str(len(ids)), position=0, shift=shift),)


def serve(
    story: Callable[[RouterHost, Held, str], Coroutine[Any, Any, None]], *, requests_max: int = 8
) -> None:
    async def run() -> None:
        sky, held = Sky(), Held()
        sky.router = RouterHost(Fixed(held), RouterOptions(requests_max=requests_max), token=None)
        async with sky:
            endpoint = await sky.router.serve(Bind(), stall_s=5.0)
            try:
                await story(sky.router, held, endpoint)
            finally:
                held.free.set()
                await sky.router.stop(grace_s=0)

    asyncio.run(run())


def begun(held: Held) -> Awaitable[bool]:
    return asyncio.to_thread(held.begun.wait, HANG_S)


@pytest.mark.parametrize("which", ["ask", "stream", "score", "context", "route", "basin"])
def test_others_are_answered_while_a_long_prompt_is_encoded(which: str) -> None:
    async def story(router: RouterHost, held: Held, endpoint: str) -> None:
        async with AsyncClient(endpoint) as client:
            if which == "stream":
                long_one = asyncio.ensure_future(anext(aiter(client.stream(LONG, tokens_max=1))))
            elif which == "context":
                long_one = asyncio.ensure_future(client.score("a", context=LONG))
            else:
                long_one = asyncio.ensure_future(getattr(client, which)(LONG))
            await begun(held)
            assert (await client.ask("ab", tokens_max=2)).text == "aa"
            assert (await client.score("ab", context="b")).num_tokens == 2
            assert (await client.route("ba")).kernel == "b"
            assert not long_one.done()
            held.free.set()
            said = await long_one
        found = {
            "ask": lambda: (said.text[0], said.route.num_tokens),
            "stream": lambda: (said.text, NUM_TOKENS),
            "score": lambda: (said.route.kernel, said.num_tokens),
            "context": lambda: (said.route.kernel, said.route.num_tokens),
            "route": lambda: (said.kernel, said.num_tokens),
            "basin": lambda: ("ab"[int(np.argmax(said.basin_K))], len(said.tokens)),
        }[which]()
        assert found == ("b", NUM_TOKENS)

    serve(story)


@pytest.mark.parametrize("which", ["ask", "stream", "score", "route"])
def test_a_direct_client_leaves_its_event_loop_to_others(which: str) -> None:
    async def story(router: RouterHost, held: Held, endpoint: str) -> None:
        async with AsyncDirectClient(endpoint, held) as client:
            if which == "stream":
                long_one = asyncio.ensure_future(anext(aiter(client.stream(LONG, tokens_max=1))))
            else:
                long_one = asyncio.ensure_future(getattr(client, which)(LONG))
            await begun(held)
            assert (await client.ask("ab", tokens_max=2)).text == "aa"
            assert not long_one.done()
            held.free.set()
            said = await long_one
        found = {
            "ask": lambda: (said.text[0], said.route.num_tokens),
            "stream": lambda: (said.text, NUM_TOKENS),
            "score": lambda: (said.route.kernel, said.num_tokens),
            "route": lambda: (said.kernel, said.num_tokens),
        }[which]()
        assert found == ("b", NUM_TOKENS)

    serve(story)


def test_a_passed_deadline_is_typed_and_gives_the_place_back() -> None:
    async def story(router: RouterHost, held: Held, endpoint: str) -> None:
        with pytest.raises(DeadlineExceeded, match="before the text was read"):
            await router.ask(LONG, SAMPLING, PLAIN, timeout_s=0.01)
        assert (await router.ask("a", SAMPLING, PLAIN, timeout_s=HANG_S))[0].kernel == "a"
        async with AsyncClient(endpoint) as client:
            with pytest.raises(DeadlineExceeded):
                await client.ask(LONG, timeout_s=0.2)
        assert (await router.ask("a", SAMPLING, PLAIN, timeout_s=HANG_S))[0].kernel == "a"

    serve(story, requests_max=1)


def test_a_cancelled_caller_gives_the_place_back() -> None:
    async def story(router: RouterHost, held: Held, endpoint: str) -> None:
        asking = asyncio.create_task(router.ask(LONG, SAMPLING, PLAIN, timeout_s=HANG_S))
        await begun(held)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert (await router.ask("a", SAMPLING, PLAIN, timeout_s=HANG_S))[0].kernel == "a"

    serve(story, requests_max=1)


def test_an_explanation_is_made_in_the_thread_and_is_that_of_the_text() -> None:
    async def story(router: RouterHost, held: Held, endpoint: str) -> None:
        options = RoutingOptions(explain=True)
        route, _ = await router.ask("abc", Sampling(tokens_max=1), options, timeout_s=HANG_S)
        (influence,) = route.influences
        assert influence.text == "3"
        assert influence.shift != threading.get_ident()

    serve(story)
