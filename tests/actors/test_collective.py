"""Collective Phi of live prompts: what the router finds is what one process computes offline."""

import asyncio
import math
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Gauge

from actors.registry_messages import Snapshot
from actors.router.collective_phi import PREFIX_TOKENS, TOKENS_MAX, TOKENS_MIN, CollectiveSampler
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.client import AsyncClient
from constellation.records import RoutingOptions, Sampling, TokenArray
from constellation.routing.collective_phi import (
    CollectiveScores,
    Integration,
    integrate,
    uniform_nats,
)
from constellation.routing.policy import RoutingPolicy
from constellation.wire.channel import Bind
from tests.actors.choir import VOCABULARY, Bytes, Choir, decoder, nats_of, sing
from tests.support.coordizers import Fixed

NAMES = "abc"
PROMPTS = [
    f"{letter} tells of {'many ' * number}things" for number, letter in enumerate("abcdefghi")
]


class Readable(Bytes):
    """The choir's coordizer, which also knows what its tokens say."""

    def decode(self, ids: TokenArray) -> bytes:
        return b"".join(VOCABULARY.token_bytes()[token] for token in ids.tolist())


async def measuring(choir: Choir, *, rate: float = 0.001) -> tuple[RouterHost, CollectiveSampler]:
    """Return a router that measures; it samples when it is told to, at this rate."""
    router = RouterHost(Fixed(choir.coordizer), RouterOptions(collective_rate=rate), token=None)
    await router.update(Snapshot(table=choir.table, health={}, registry_pid=1))
    assert router._collective is not None
    return router, router._collective


async def ask(router: RouterHost, prompt: str) -> None:
    await router.ask(prompt, Sampling(tokens_max=1), RoutingOptions(), timeout_s=10)


def choirs() -> dict[str, object]:
    return {name: decoder(number) for number, name in enumerate(NAMES)}


def offline(choir: Choir, prompts: list[str]) -> Integration:
    """Judge the choir's decoders in this process."""
    policy = RoutingPolicy(choir.table)
    single, routed, ensemble, num_bytes = [], [], [], []
    for prompt in prompts:
        ids = choir.coordizer.encode(prompt)[:TOKENS_MAX]
        prefix = min(PREFIX_TOKENS, len(ids) // 2)
        nats_MT = np.stack([nats_of(choir.decoders[name], [0, *ids.tolist()]) for name in NAMES])
        nats_MT = nats_MT[:, prefix:]
        chosen = policy.decide(choir.coordizer.basin(ids[:prefix]), num_tokens=prefix).kernel
        single.append(nats_MT.sum(axis=1))
        routed.append(single[-1][NAMES.index(chosen)])
        ensemble.append(uniform_nats(nats_MT).sum())
        num_bytes.append(float(len(prompt.encode()[prefix:TOKENS_MAX])))
    return integrate(
        CollectiveScores(
            kernels=tuple(NAMES),
            single_NM=np.stack(single),
            routed_N=np.array(routed),
            ensemble_N=np.array(ensemble),
            num_bytes_N=np.array(num_bytes),
        )
    )


@pytest.mark.slow
def test_what_is_measured_is_what_one_process_computes_offline() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        for prompt in PROMPTS:
            await ask(router, prompt)
            assert await sampler.sample()
        expected = offline(choir, PROMPTS)
        async with AsyncClient(await router.serve(Bind(), stall_s=5.0)) as client:
            found = (await client.status()).collective_phi
        await router.stop(grace_s=1)
        assert found is not None
        assert found.num_prompts == len(PROMPTS)
        assert found.best_kernel == expected.best_kernel
        assert found.phi_bits == pytest.approx(expected.phi_bits.value, abs=1e-5)
        assert found.interval == pytest.approx(expected.phi_bits.interval, abs=1e-5)
        assert found.random_routing_bits == pytest.approx(expected.random_routing.value, abs=1e-5)
        uniform = expected.uniform_ensemble.value
        assert found.uniform_ensemble_bits == pytest.approx(uniform, abs=1e-5)
        name = "constellation_collective_phi_bit_per_byte"
        assert router.metrics.registry.get_sample_value(name) == found.phi_bits
        assert len({round(value, 3) for value in expected.bits_per_byte.values()}) == 4

    sing(story, choirs(), coordizer=Readable())


def test_too_few_prompts_give_no_value_and_other_kernels_begin_anew() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        for prompt in PROMPTS[:7]:
            await ask(router, prompt)
            assert await sampler.sample()
        state = router.state().collective_phi
        assert state is not None
        assert (state.num_prompts, state.num_needed, state.phi_bits) == (7, 8, None)
        gauge = "constellation_collective_phi_bit_per_byte"
        assert math.isnan(router.metrics.registry.get_sample_value(gauge) or 0)
        await ask(router, PROMPTS[7])
        await sampler.sample()
        assert sampler.state().phi_bits is not None
        sampler.follow(
            RoutingPolicy(choir.table), choir.coordizer
        )  # as after a restart: nobody joined or left
        assert sampler.state().num_prompts == 8
        fewer = choir.table.sites[:2]
        table = SimpleNamespace(sites=fewer, release=choir.table.release)
        sampler.follow(SimpleNamespace(table=table), choir.coordizer)  # type: ignore[arg-type]
        assert (sampler.state().num_prompts, sampler.state().phi_bits) == (0, None)
        assert math.isnan(router.metrics.registry.get_sample_value(gauge) or 0)
        await router._links.close()

    sing(story, choirs(), coordizer=Readable())


def test_another_release_begins_anew() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        await ask(router, PROMPTS[0])
        assert await sampler.sample()
        reloaded = replace(choir.table, release=choir.table.release + 1)
        await router.update(Snapshot(table=reloaded, health={}, registry_pid=1))
        assert sampler.state().num_prompts == 0
        await router._links.close()

    sing(story, choirs(), coordizer=Readable())


def test_nothing_is_scored_while_a_request_is_under_way() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        await ask(router, PROMPTS[0])
        with router._links.counted("b"):
            sampling = asyncio.create_task(sampler.sample())
            await asyncio.sleep(0)  # it has taken its prompt
            await ask(router, PROMPTS[1])
            assert not sampling.done()
            scored = [kernel._tokens["score"]._value.get() for kernel in choir.kernels.values()]
            assert scored == [0, 0, 0]
        assert await sampling
        scored = [kernel._tokens["score"]._value.get() for kernel in choir.kernels.values()]
        assert scored == [len(PROMPTS[0])] * 3
        await router._links.close()

    sing(story, choirs(), coordizer=Readable())


def test_a_prompt_is_kept_until_it_was_scored_and_not_a_text_stays() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        await ask(router, PROMPTS[3])
        assert bytes(Readable().decode(sampler._kept)) == PROMPTS[3].encode()  # type: ignore[arg-type]
        assert await sampler.sample()
        assert sampler._kept is None
        assert not await sampler.sample()
        (row,) = sampler._rows
        held = [getattr(row, name) for name in row.__slots__]
        assert [np.size(value) for value in held] == [len(NAMES), 1, 1, 1]
        await ask(router, "x" * (TOKENS_MIN - 1))
        assert sampler._kept is None
        await router._links.close()

    sing(story, choirs(), coordizer=Readable())


def test_a_lost_kernel_costs_the_sample_and_nothing_else() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir)
        await choir.servers["b"].stop(grace_s=0)
        await ask(router, PROMPTS[0])
        assert not await sampler.sample()
        assert sampler.state().num_prompts == 0
        await router._links.close()

    sing(story, choirs(), coordizer=Readable())


def test_a_router_that_serves_samples_by_itself_and_stops() -> None:
    async def story(choir: Choir) -> None:
        router, sampler = await measuring(choir, rate=600)
        await router.serve(Bind(), stall_s=5.0)
        await ask(router, PROMPTS[0])
        async with asyncio.timeout(5):
            while not sampler.state().num_prompts:  # noqa: ASYNC110
                await asyncio.sleep(0)
        await router.stop(grace_s=1)
        assert sampler._task is not None
        assert sampler._task.cancelled()

    sing(story, choirs(), coordizer=Readable())


def test_by_default_nothing_is_kept_and_nothing_is_said() -> None:
    async def story(choir: Choir) -> None:
        await ask(choir.router, PROMPTS[0])
        assert choir.router._collective is None
        assert choir.router.state().collective_phi is None

    sing(story, choirs())


@pytest.mark.parametrize("seed", range(3))
def test_every_prompt_of_a_period_is_as_likely_to_be_kept(seed: int) -> None:
    sampler = CollectiveSampler(
        None,  # type: ignore[arg-type]
        rate=1.0,
        draw=random.Random(seed).random,
        gauge=Gauge("g", "g", registry=CollectorRegistry()),
    )
    kept: Counter[int] = Counter()
    periods, prompts = 3000, 6
    for _ in range(periods):
        for number in range(prompts):
            sampler.offer(np.full(TOKENS_MIN, number, dtype=np.int32))
        assert sampler._kept is not None
        kept[int(sampler._kept[0])] += 1
        sampler._kept, sampler._num_offered = None, 0
    expected = periods / prompts
    chi_squared = sum((kept[number] - expected) ** 2 / expected for number in range(prompts))
    assert chi_squared < 20.5  # 5 degrees of freedom: exceeded once in a thousand
