"""Answers that move into another kernel's domain, with kernels that write what they are told to."""

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from actors.kernel.engine_interface import Step
from actors.kernel.host import KernelHost
from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.geometry import bearing
from constellation.records import (
    FinishReason,
    FloatArray,
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
from tests.actors.test_hosts import BACKGROUND_K, Engine, Letters, point
from tests.support.coordizers import Fixed

MOVING = RoutingOptions(handoff=True)


class Shares(Letters):
    """A coordizer by which a text lies where its letters are, each by its share."""

    def basin(self, ids: TokenArray) -> FloatArray:
        return np.mean([point(int(token) - ord("a")) for token in ids], axis=0)


class Line:
    """An answer that says the letters of a line, one per token."""

    def __init__(self, num_prompt_tokens: int, letters: str) -> None:
        self.num_prompt_tokens = num_prompt_tokens
        self.left = list(letters)


class Speaker(Engine):
    """A model that knows its lines by heart."""

    context = 512

    def __init__(self, name: str, line: str) -> None:
        super().__init__(name)
        self.line = line
        self.heard: list[tuple[str, str]] = []

    def start(self, tokens: Sequence[int], sampling: Sampling, produced: Sequence[int] = ()) -> Any:
        prompt, before = ("".join(map(chr, each)) for each in (tokens, produced))
        self.heard.append((prompt, before))
        return Line(len(tokens), self.line[len(produced) : sampling.tokens_max])

    def step(self, answers: Sequence[Any]) -> list[Step]:
        return [self.say(answer) for answer in answers]

    def say(self, answer: Line) -> Step:
        letter = answer.left.pop(0)
        reason = None if answer.left else FinishReason.LENGTH
        return Step(letter, 1, reason, (), (ord(letter),))


def told(
    lines: dict[str, str],
    options: RoutingOptions,
    *,
    down: str = "",
    whole: bool = False,
) -> tuple[Piece, Route, RouterHost, dict[str, Speaker]]:
    """Ask kernels with these lines to go on with "aaaa"; return what came of it."""

    async def story() -> tuple[Piece, Route, RouterHost, dict[str, Speaker]]:
        router = RouterHost(Fixed(Shares()), RouterOptions(), token=None)
        engines = {name: Speaker(name, line) for name, line in lines.items()}
        kernels = {
            name: KernelHost(name, engine, slots=2, queue_max=0) for name, engine in engines.items()
        }
        sites = [
            KernelSite(
                name=name,
                basin_K=point(ord(name) - ord("a")),
                bearing_K=bearing(point(ord(name) - ord("a")), BACKGROUND_K),
                radii=dict.fromkeys(Rule, 1.0),
                endpoint=await kernel.server.open(Bind(), stall_s=5.0),
            )
            for name, kernel in kernels.items()
        ]
        table = Table(
            version=1,
            coordizer_hash="letters",
            background_K=BACKGROUND_K,
            temperatures=dict.fromkeys(Rule, 0.5),
            sites=tuple(sites),
        )
        await router.update(Snapshot(table=table, health={}, registry_pid=1))
        if down:
            await kernels[down].server.stop(grace_s=0)
        sampling = Sampling(tokens_max=120)
        if whole:
            route, reply = await router.ask("aaaa", sampling, options, timeout_s=20)
            replies: list[tuple[Route | None, bytes]] = [(route, reply)]
        else:
            answer = router.generate("aaaa", sampling, options, timeout_s=20)
            replies = [pair async for pair in answer]
        for kernel in kernels.values():
            await kernel.server.stop(grace_s=0)
        first = replies[0][0]
        assert first is not None
        piece = convert.join_pieces([convert.piece_from_bytes(reply) for _, reply in replies])
        return piece, first, router, engines

    return asyncio.run(story())


DRIFTING = {"a": "a" * 20 + "b" * 100, "b": "b" * 120, "c": "c" * 120}


@pytest.mark.parametrize("whole", [False, True])
def test_an_answer_that_moves_to_another_domain_is_handed_over_where_it_may_be(
    whole: bool,
) -> None:
    piece, route, router, engines = told(DRIFTING, MOVING, whole=whole)
    assert (route.kernel, route.reason) == ("a", "nearest")
    assert piece.text == "a" * 20 + "b" * 100
    assert piece.num_tokens == len(piece.tokens) == 120
    assert piece.finish is not None
    assert piece.finish.num_tokens == 120
    first, second = piece.finish.segments
    assert first == Segment(kernel="a", first=0, reason="nearest")
    assert (second.kernel, second.reason) == ("b", "handoff")
    # Half of 24 + 24 letters are b's at token 44; the lead of 0.15 rad comes soon after.
    assert 44 + 16 <= second.first <= 44 + 16 + 24
    assert engines["b"].heard == [("aaaa", "a" * 20 + "b" * (second.first - 20))]
    assert router.metrics.handoffs.labels("a")._value.get() == 1


@pytest.mark.parametrize("options", [RoutingOptions(), RoutingOptions(handoff=True, kernel="a")])
def test_otherwise_the_kernel_that_began_writes_all(options: RoutingOptions) -> None:
    piece, _, _, engines = told(DRIFTING, options)
    assert piece.text == "a" * 20 + "b" * 100
    assert piece.finish is not None
    assert piece.finish.segments == ()
    assert engines["b"].heard == []


def test_an_answer_may_come_back() -> None:
    lines = DRIFTING | {"b": "b" * 70 + "a" * 50, "a": "a" * 10 + "b" * 60 + "a" * 50}
    piece, _, _, _ = told(lines, MOVING)
    assert piece.text == "a" * 10 + "b" * 60 + "a" * 50
    assert piece.finish is not None
    writers = [segment.kernel for segment in piece.finish.segments]
    assert writers[:2] == ["a", "b"]


def test_when_the_other_kernel_cannot_take_over_the_first_goes_on() -> None:
    piece, _, router, engines = told(DRIFTING, MOVING, down="b")
    assert piece.text == "a" * 20 + "b" * 100
    assert piece.finish is not None
    assert piece.finish.segments == ()
    assert router.metrics.failovers.labels("b")._value.get() == 1
    assert len(engines["a"].heard) == 2  # it went on after what it had written itself
