"""The offline replay of what several kernels wrote: right answers pass, changed ones do not."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.chaos_together import Part, Together, is_joint, parts
from constellation.client import Reply
from constellation.client.replies import Answer
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.records import FinishReason, Mode, RoutingOptions, Rule, Sampling
from constellation.v1 import constellation_pb2
from constellation.wire import convert
from tests.actors.choir import Choir, decoder, sing

pytestmark = pytest.mark.slow


DOMAINS = {
    "sea": "the ship sails over the sea and the wind fills the sails of the ship",
    "bread": "knead the dough and bake the bread until the crust of the loaf is brown",
    "law": "the court shall hear the parties and the judge shall read the verdict",
}
PROMPT = "the ship"
TOKENS_MAX = 24
GREEDY = Sampling(tokens_max=TOKENS_MAX, temperature=0)
MODES = (Mode.MIXTURE, Mode.POSTERIOR)
OPTIONS = {mode: RoutingOptions(mode=mode, top_k=2) for mode in MODES}


class Script:
    """Three kernels with random weights, and what replays their answers."""

    def __init__(self, reader: Coordizer, folder: Path, seed: int) -> None:
        self.reader = reader
        self.folder = folder
        self.decoders = {
            name: decoder(10 * seed + number, reader.vocab_size)
            for number, name in enumerate(DOMAINS)
        }

    def sing(self, story: Callable[[Choir], Coroutine[Any, Any, None]]) -> None:
        points = [self.reader.basin(self.reader.encode(text)) for text in DOMAINS.values()]
        sing(
            story,
            self.decoders,
            coordizer=self.reader,
            coordizer_folder=self.folder,
            vocabulary=self.reader.vocabulary,
            points=points,
        )

    def replay(self, choir: Choir) -> Together:
        return Together(
            choir.table,
            self.reader,
            self.decoders.__getitem__,
            rule=Rule.BEARING,
            phi_weighting=True,
        )

    def objection(self, choir: Choir, reply: Reply, told: tuple[Part, ...] | None = None) -> str:
        prompt = self.reader.encode(PROMPT).tolist()
        told = parts(reply) if told is None else told
        return self.replay(choir).objection(prompt, reply.tokens, told, reply.finish.reason)


@pytest.fixture(scope="module")
def coordizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Coordizer, Path]:
    folder = tmp_path_factory.mktemp("artifacts") / "coordizer"
    made = train_coordizer(list(DOMAINS.values()), list(DOMAINS), vocab_size=280, anchored=True)
    made.save(folder)
    return made, folder


@pytest.fixture(params=range(3))
def script(request: pytest.FixtureRequest, coordizer: tuple[Coordizer, Path]) -> Script:
    return Script(*coordizer, seed=request.param)


async def heard(choir: Choir, mode: Mode, *, lose: str = "", after: int = 4) -> Reply:
    """Return an answer; its "leader" or its "partner" is lost after so many tokens."""
    answer = Answer()
    num_heard = 0
    pairs = choir.router.generate(PROMPT, GREEDY, OPTIONS[mode], timeout_s=20)
    async for route, data in pairs:
        message = constellation_pb2.GenerateReply.FromString(data)
        if route is not None:
            message.route.CopyFrom(convert.route_to_message(route))
            victims = {"leader": route.kernels[0], "partner": route.kernels[1]}
        num_heard += len(answer.add(message).tokens)
        if lose and num_heard >= after:
            await choir.servers[victims[lose]].stop(grace_s=0)
            lose = ""
    return answer.reply()


@pytest.mark.parametrize("mode", MODES)
def test_what_kernels_wrote_together_passes_and_any_other_token_does_not(
    mode: Mode, script: Script
) -> None:
    async def story(choir: Choir) -> None:
        reply = await heard(choir, mode)
        assert is_joint(reply)
        assert script.objection(choir, reply) == ""
        for place in (0, len(reply.tokens) // 2, len(reply.tokens) - 1):
            other = (reply.tokens[place] + 1) % script.reader.vocab_size
            tokens = (*reply.tokens[:place], other, *reply.tokens[place + 1 :])
            assert f"token {place} is {other}" in script.objection(
                choir, replace(reply, tokens=tokens)
            )

    script.sing(story)


@pytest.mark.parametrize("mode", MODES)
def test_weights_that_were_not_the_routes_do_not_pass(mode: Mode, script: Script) -> None:
    async def story(choir: Choir) -> None:
        reply = await heard(choir, mode)
        (told,) = parts(reply)
        partner = reply.route.kernels[1]
        alone = replace(told, weights={partner: 1.0})
        assert script.objection(choir, reply, (alone,)) != ""

    script.sing(story)


@pytest.mark.parametrize("mode", MODES)
def test_a_text_that_ended_too_early_does_not_pass(mode: Mode, script: Script) -> None:
    async def story(choir: Choir) -> None:
        reply = await heard(choir, mode)
        finish = replace(reply.finish, reason=FinishReason.END, num_tokens=5)
        cut = replace(reply, tokens=reply.tokens[:5], finish=finish)
        assert "token 5 is 0" in script.objection(choir, cut)

    script.sing(story)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_lost_its_partner_tells_from_which_token_on(
    mode: Mode, script: Script
) -> None:
    async def story(choir: Choir) -> None:
        reply = await heard(choir, mode, lose="partner")
        ((place,), (lost,)) = reply.finish.lost_at, reply.finish.lost
        assert lost == reply.route.kernels[1]
        assert 4 <= place < len(reply.tokens)
        assert script.objection(choir, reply) == ""

    script.sing(story)


@pytest.mark.parametrize("mode", MODES)
def test_an_answer_that_lost_its_leader_tells_who_went_on_with_which_weights(
    mode: Mode, script: Script
) -> None:
    async def story(choir: Choir) -> None:
        reply = await heard(choir, mode, lose="leader")
        first, second = reply.finish.segments
        assert (first.kernel, second.reason) == (reply.route.kernels[0], "failover")
        assert tuple(first.weights) == reply.route.kernels[:2]
        assert first.kernel not in second.weights
        for each in (first, second):
            assert sum(each.weights.values()) == pytest.approx(1)
        assert script.objection(choir, reply) == ""
        # those that were told wrote it, and nobody else
        other = (first, replace(second, weights={first.kernel: 1.0}))
        told = parts(replace(reply, finish=replace(reply.finish, segments=other)))
        assert script.objection(choir, reply, told) != ""

    script.sing(story)
