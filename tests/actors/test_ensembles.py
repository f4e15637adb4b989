"""Modes mixture and posterior over real gRPC: what comes is what one process computes offline."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.registry_messages import Snapshot
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.errors import IncompatibleKernels, InvalidRequest, OutOfDomain, Overloaded
from constellation.kernel.network.decoder import Decoder
from constellation.records import FloatArray, Mode, RoutingOptions, Rule, Sampling
from constellation.routing.mixture import mixture_log_probs, posterior_weights
from constellation.routing.policy import RoutingPolicy
from tests.actors.choir import TOKEN_OF, VOCABULARY, Choir, decoder, logits_of, nats_of, sing

GREEDY = Sampling(tokens_max=20, temperature=0, logit_bias={0: -100})
MODES = (Mode.MIXTURE, Mode.POSTERIOR)
TEXT = "hello there"


def tokens_of(text: str) -> list[int]:
    return [TOKEN_OF[bytes([byte])] for byte in text.encode()]


def offline(
    decoders: list[Decoder], prompt: list[int], mode: Mode, weights_k: FloatArray, num: int
) -> list[int]:
    """Write greedily with all decoders in one process, by whole forward passes."""
    text = list(prompt)
    for _ in range(num):
        log_p_kV = np.stack([logits_of(each, text) for each in decoders])
        log_p_kV -= np.log(np.exp(log_p_kV).sum(axis=1, keepdims=True))
        weights = weights_k
        if mode is Mode.POSTERIOR:
            nats_kT = np.stack([nats_of(each, text) for each in decoders])
            weights = posterior_weights(weights_k, -nats_kT)[:, -1]
        joint_V = mixture_log_probs(log_p_kV, weights)
        text.append(1 + int(joint_V[1:].argmax()))  # token 0 ends a text; it is barred
    return text[len(prompt) :]


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(3))
def test_greedy_tokens_are_those_computed_offline(mode: Mode, seed: int) -> None:
    decoders = {name: decoder(3 * seed + number) for number, name in enumerate("abc")}

    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=mode, top_k=3)
        route, reply = await choir.ask(TEXT, GREEDY, options)
        assert route.mode is mode
        members = [decoders[choice.kernel] for choice in route.choices]
        weights_k = np.array([choice.weight for choice in route.choices])
        assert weights_k.min() > 0.01
        expected = offline(members, tokens_of(TEXT), mode, weights_k, 20)
        assert list(reply.tokens) == expected
        said = b"".join(VOCABULARY.token_bytes()[token] for token in expected)
        assert reply.text == said.decode(errors="replace")
        shares = {each.kernel: each.weight for each in reply.finish.weights}
        assert sum(shares.values()) == pytest.approx(1)
        assert set(shares) == set(decoders)
        if mode is Mode.POSTERIOR:
            whole = tokens_of(TEXT) + expected
            nats_kT = np.stack([nats_of(each, whole) for each in members])
            held_k = posterior_weights(weights_k, -nats_kT)[:, -2]  # the last token is not weighed
            np.testing.assert_allclose(list(shares.values()), held_k, atol=1e-3)
        await choir.settled()

    sing(story, decoders, in_one_process=seed == 2)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(tokens_max=30, seed=5, temperature=1.2, top_p=0.9, logprobs=3),
        Sampling(
            tokens_max=30,
            seed=6,
            repetition_penalty=1.5,
            presence_penalty=0.5,
            min_p=0.05,
            stop=("e", "zz"),
        ),
    ],
    ids=["greedy", "drawn", "penalised"],
)
def test_alike_kernels_write_together_what_one_writes_alone(mode: Mode, sampling: Sampling) -> None:
    async def story(choir: Choir) -> None:
        _, alone = await choir.ask(TEXT, sampling, RoutingOptions())
        for top_k in (1, 3):
            options = RoutingOptions(mode=mode, top_k=top_k)
            route, together = await choir.ask(TEXT, sampling, options)
            assert list(together.tokens) == list(alone.tokens)
            assert together.text == alone.text
            assert together.finish.reason == alone.finish.reason
            assert len(together.finish.weights) == (0 if top_k == 1 else 3)
            assert (route.mode, len(together.logprobs)) == (mode, len(alone.logprobs))
            for ours, theirs in zip(together.logprobs, alone.logprobs, strict=True):
                assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-5)
                assert [each.token for each in ours.top] == [each.token for each in theirs.top]

    sing(story, dict.fromkeys("abc", decoder(7)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("context", ["", "context here "])
def test_a_score_is_the_one_computed_offline(mode: Mode, context: str) -> None:
    decoders = {name: decoder(40 + number) for number, name in enumerate("abc")}

    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=mode, top_k=2)
        route, score = await choir.router.score(context, TEXT, options, timeout_s=20)
        weights_k = np.array([choice.weight for choice in route.choices[:2]])
        whole = tokens_of(context + TEXT)
        members = [decoders[choice.kernel] for choice in route.choices[:2]]
        nats_kT = np.stack([nats_of(each, [0, *whole]) for each in members])
        weights_kT = weights_k
        if mode is Mode.POSTERIOR:
            weights_kT = posterior_weights(weights_k, -nats_kT)[:, len(context) : -1]
        expected = -mixture_log_probs(-nats_kT[:, len(context) :], weights_kT).sum()
        assert score.nats == pytest.approx(expected, rel=1e-5)
        assert score.num_tokens == len(TEXT)
        _, nearest = await choir.router.score(context, TEXT, RoutingOptions(), timeout_s=20)
        assert score.nats != pytest.approx(nearest.nats, rel=1e-3)
        await choir.settled()

    sing(story, decoders)


DOMAINS = {
    "sea": "the ship sails over the sea and the wind fills the sails of the ship",
    "bread": "knead the dough and bake the bread until the crust of the loaf is brown",
    "law": "the court shall hear the parties and the judge shall read the verdict",
}


@pytest.fixture(scope="module")
def coordizer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Coordizer, Path]:
    folder = tmp_path_factory.mktemp("coordizer")
    made = train_coordizer(list(DOMAINS.values()), list(DOMAINS), vocab_size=280, anchored=True)
    made.save(folder / "coordizer")
    return made, folder / "coordizer"


@pytest.mark.slow
def test_the_weights_of_a_mixture_follow_its_text(coordizer: tuple[Coordizer, Path]) -> None:
    reader, folder = coordizer
    decoders = {name: decoder(80 + n, reader.vocab_size) for n, name in enumerate(DOMAINS)}

    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=3)
        sampling = replace(GREEDY, tokens_max=26)
        route, reply = await choir.ask("the ship", sampling, options)
        members = [decoders[choice.kernel] for choice in route.choices]
        text = reader.encode("the ship").tolist()
        weights_k = np.array([choice.weight for choice in route.choices])
        policy = RoutingPolicy(choir.table, top_k=3)
        for place, token in enumerate(reply.tokens):
            if place and place % 8 == 0:
                renewed = policy.decide(reader.basin(text), num_tokens=len(text))
                weight_of = {choice.kernel: choice.weight for choice in renewed.choices}
                before_k, weights_k = weights_k, np.array([weight_of[n] for n in route.kernels])
                assert abs(weights_k - before_k).max() > 1e-3
            assert token == offline(members, text, Mode.MIXTURE, weights_k, 1)[0]
            text.append(token)
        ends = {each.kernel: each.weight for each in reply.finish.weights}
        np.testing.assert_allclose([ends[name] for name in route.kernels], weights_k, atol=1e-12)
        # a query that comes with a basin of its own keeps the weights that this one gave
        options = replace(options, basin_K=choir.points[0])
        route, reply = await choir.ask("the ship", sampling, options)
        began = {choice.kernel: choice.weight for choice in route.choices}
        assert {each.kernel: each.weight for each in reply.finish.weights} == pytest.approx(began)

    points = [reader.basin(reader.encode(text)) for text in DOMAINS.values()]
    limits = {"vocabulary": reader.vocabulary, "points": points}
    sing(story, decoders, coordizer=reader, coordizer_folder=folder, **limits)


def test_while_the_coordinates_are_gone_one_kernel_answers_and_no_mixture(
    coordizer: tuple[Coordizer, Path], tmp_path: Path
) -> None:
    reader, folder = coordizer
    decoders = {name: decoder(80 + n, reader.vocab_size) for n, name in enumerate(DOMAINS)}

    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=2)
        route, reply = await choir.ask("the ship", GREEDY, options)
        assert (route.reason, len(route.kernels), len(reply.tokens)) == ("failover", 1, 20)
        assert choir.router.guard.num_unexpected == 0
        (tmp_path / "coordizer").symlink_to(folder)
        route, reply = await choir.ask("the ship", GREEDY, options)
        assert route.reason == "nearest"
        assert len(reply.finish.weights) > 1

    points = [reader.basin(reader.encode(text)) for text in DOMAINS.values()]
    limits = {"vocabulary": reader.vocabulary, "points": points}
    sing(story, decoders, coordizer=reader, coordizer_folder=tmp_path / "coordizer", **limits)


def test_kernels_of_other_vocabularies_do_not_write_together() -> None:
    async def story(choir: Choir) -> None:
        with pytest.raises(IncompatibleKernels):
            await choir.ask(TEXT, GREEDY, RoutingOptions(mode=Mode.MIXTURE))
        await choir.settled()

    sing(story, {"a": decoder(0), "b": decoder(1)}, tokenizer_hashes={"b": "other"})


def test_a_kernel_cannot_be_named_where_several_answer() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.POSTERIOR, kernel="a")
        with pytest.raises(InvalidRequest, match="several kernels"):
            await choir.ask(TEXT, GREEDY, options)

    sing(story, {"a": decoder(0), "b": decoder(1)})


@pytest.mark.parametrize("mode", Mode)
def test_a_query_out_of_every_domain_is_refused_in_every_mode_when_asked(mode: Mode) -> None:
    async def story(choir: Choir) -> None:
        sites = tuple(replace(s, radii=dict.fromkeys(Rule, 1e-3)) for s in choir.table.sites)
        table = replace(choir.table, version=2, sites=sites)
        await choir.router.update(Snapshot(table=table, health={}, registry_pid=1))
        route, _ = await choir.ask(TEXT, GREEDY, RoutingOptions(mode=mode))
        assert route.out_of_domain
        strict = RoutingOptions(mode=mode, refuse_out_of_domain=True)
        with pytest.raises(OutOfDomain):
            await choir.ask(TEXT, GREEDY, strict)
        with pytest.raises(OutOfDomain):
            await choir.router.score("", TEXT, strict, timeout_s=20)
        with pytest.raises(OutOfDomain):
            await anext(choir.router.generate(TEXT, GREEDY, strict, timeout_s=20))

    sing(story, {"a": decoder(0), "b": decoder(1)})


@pytest.mark.slow
def test_texts_that_want_each_others_slots_all_end() -> None:
    async def story(choir: Choir) -> None:
        short = replace(GREEDY, tokens_max=6)
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=2)
        texts = [letter * 3 for letter in "hijhijhijhij"]  # led by different kernels
        answers = await asyncio.gather(
            *(choir.ask(text, short, options) for text in texts),
            *(choir.ask(text, short, RoutingOptions()) for text in texts),
        )
        assert len({route.kernel for route, _ in answers}) == 3
        assert all(reply.finish.num_tokens == 6 for _, reply in answers)
        await choir.settled()

    sing(story, {name: decoder(ord(name)) for name in "abc"}, slots=1, queue_max=64)


def test_a_partner_that_is_full_refuses_with_the_time_to_wait() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE)
        asked = (choir.ask(TEXT, GREEDY, options) for _ in range(12))
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, Overloaded)]
        answered = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        assert len(refused) + len(answered) == 12
        assert len(refused) > 0 < len(answered)
        assert all(error.retry_after_s > 0 for error in refused)
        await choir.settled()

    sing(story, {"a": decoder(0), "b": decoder(1)}, slots=1, queue_max=1)


def test_when_the_caller_goes_all_slots_are_free() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=3)
        endless = Sampling(tokens_max=50, temperature=0, logit_bias={0: -100})
        answer = choir.router.generate(TEXT, endless, options, timeout_s=20)
        async with aclosing(answer):
            await anext(answer)
            assert all(counts[::2] == (1, 1) for counts in choir.busy().values())
        await choir.settled()
        # and the next answer is none the worse for it
        _, reply = await choir.ask(TEXT, endless, options)
        assert reply.finish.num_tokens == 50

    sing(story, {name: decoder(ord(name)) for name in "abc"})


def test_other_answers_go_on_while_a_prediction_rests() -> None:
    async def story(choir: Choir) -> None:
        partner = choir.kernels["b"]
        prediction = partner.predict([5, 6], tokenizer_hash="t", is_scored=False, client="")
        async with prediction as resting:
            first = await resting.next()
            _, reply = await choir.ask("izz", GREEDY, RoutingOptions(kernel="b"))
            assert reply.finish.num_tokens == 20
            resting.tell(9)
            second = await resting.next()
        for predicted, text in ((first, [5, 6]), (second, [5, 6, 9])):
            expected_V = logits_of(choir.decoders["b"], text)
            np.testing.assert_allclose(predicted.logits_V, expected_V, atol=2e-4)
        await choir.settled()

    sing(story, {"a": decoder(0), "b": decoder(1)})


@pytest.mark.parametrize("mode", MODES)
def test_a_partner_lost_on_the_way_is_left_out_and_named(mode: Mode) -> None:
    decoders = {name: decoder(60 + number) for number, name in enumerate("abc")}

    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=mode, top_k=3)
        said: list[int] = []
        answer = choir.router.generate(TEXT, GREEDY, options, timeout_s=20)
        async for route, data in answer:
            if route is not None:
                first = route
            reply = choir.read(data)
            said += reply.tokens
            if len(said) == 4:
                lost = next(choice.kernel for choice in first.choices[1:])
                await choir.servers[lost].stop(grace_s=0)
        assert len(said) == 20
        assert list(reply.finish.lost) == [lost]
        assert {each.kernel for each in reply.finish.weights} == set("abc") - {lost}
        assert sum(each.weight for each in reply.finish.weights) == pytest.approx(1)

    sing(story, decoders)


def test_a_partner_that_is_lost_before_the_first_token_is_replaced() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=2)
        whole = (await choir.router.route(TEXT, options))[0]
        lost = whole.choices[1].kernel
        await choir.servers[lost].stop(grace_s=0)
        route, reply = await choir.ask(TEXT, GREEDY, options)
        assert route.kernel == whole.kernel
        assert lost not in route.kernels
        assert len(reply.finish.weights) == 2
        assert not reply.finish.lost
        scored, _ = await choir.router.score("", TEXT, options, timeout_s=20)
        assert lost not in scored.kernels

    sing(story, {name: decoder(ord(name)) for name in "abc"})


def test_a_leader_that_is_lost_is_replaced_by_the_next() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.MIXTURE, top_k=2)
        leader = (await choir.router.route(TEXT, options))[0].kernel
        await choir.servers[leader].stop(grace_s=0)
        route, reply = await choir.ask(TEXT, GREEDY, options)
        assert (route.reason, leader in route.kernels) == ("failover", False)
        assert reply.finish.num_tokens == 20

    sing(story, {name: decoder(ord(name)) for name in "abc"})


def test_a_leader_that_is_lost_on_the_way_is_followed_by_another() -> None:
    async def story(choir: Choir) -> None:
        options = RoutingOptions(mode=Mode.POSTERIOR, top_k=2)
        _, whole = await choir.ask(TEXT, GREEDY, options)
        said: list[int] = []
        answer = choir.router.generate(TEXT, GREEDY, options, timeout_s=20)
        async for route, data in answer:
            if route is not None:
                leader = route.kernel
            reply = choir.read(data)
            said += reply.tokens
            if len(said) == 6:
                await choir.servers[leader].stop(grace_s=0)
        first, *others = reply.finish.segments
        assert (first.kernel, [other.reason for other in others]) == (leader, ["failover"])
        num_kept = others[0].first
        assert said[:num_kept] == list(whole.tokens)[:num_kept]
        assert 6 <= num_kept < len(said) == 20
        assert {each.kernel for each in reply.finish.weights} == set("abc") - {leader}
        assert not reply.finish.lost

    sing(story, {name: decoder(ord(name)) for name in "abc"})
