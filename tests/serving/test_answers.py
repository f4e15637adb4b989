"""Asking a real constellation: answers, routes, scores, streams, status, metrics."""

import asyncio

import pytest

from cluster.state_file import RunState
from constellation import AsyncClient, Client
from constellation.records import FinishReason, Rule
from tests.support.artifacts import PROMPTS
from tests.support.scrapes import endpoints, scrape

pytestmark = pytest.mark.ray


def test_each_domain_is_answered_by_its_own_kernel(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        for domain, prompt in PROMPTS.items():
            reply = stars.ask(prompt, tokens_max=12, seed=1)
            assert reply.route.kernel == domain
            assert reply.route.reason == "nearest"
            assert reply.finish.reason in set(FinishReason)
            assert reply.finish.num_tokens <= 12


def test_the_same_seed_gives_the_same_answer(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        first, again, other = (
            stars.ask(PROMPTS["mail"], tokens_max=24, seed=seed).text for seed in (7, 7, 8)
        )
    assert first == again
    assert first != other


def test_a_stream_says_what_the_whole_answer_says(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        pieces = [p.text for p in stars.stream(PROMPTS["network"], tokens_max=16, seed=3)]
        whole = stars.ask(PROMPTS["network"], tokens_max=16, seed=3).text
    assert "".join(pieces) == whole
    assert len(pieces) > 3


def test_the_async_client_gets_the_same_answers(constellation: RunState) -> None:
    async def ask_twice() -> list[str]:
        async with AsyncClient(constellation.endpoint) as stars:
            asked = (stars.ask(PROMPTS["mail"], tokens_max=8, seed=5) for _ in range(2))
            return [reply.text for reply in await asyncio.gather(*asked)]

    with Client(constellation.endpoint) as stars:
        expected = stars.ask(PROMPTS["mail"], tokens_max=8, seed=5).text
    assert asyncio.run(ask_twice()) == [expected, expected]


def test_a_route_can_be_read(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        route = stars.route(PROMPTS["numbers"], explain=True)
        geodesic = stars.route(PROMPTS["numbers"], rule=Rule.GEODESIC)
    distances = [choice.distance for choice in route.choices]
    assert distances == sorted(distances)
    assert route.margin == pytest.approx(distances[1] - distances[0])
    assert sum(choice.weight for choice in route.choices) == pytest.approx(1)
    shifts = [influence.shift for influence in route.influences]
    assert len(shifts) == 5
    assert shifts == sorted(shifts, reverse=True)
    assert (route.rule, geodesic.rule) == (Rule.BEARING, Rule.GEODESIC)


def test_a_basin_sends_the_query_where_its_text_would_go(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        basin_K = stars.basin(PROMPTS["numbers"]).basin_K
        assert stars.route(PROMPTS["mail"], basin=basin_K).kernel == "numbers"


def test_a_text_is_likelier_under_its_own_kernel(constellation: RunState) -> None:
    text = "def add_header(self, _name, _value, **_params):\n    return self._headers"
    with Client(constellation.endpoint) as stars:
        own, other = (stars.score(text, kernel=name).nats for name in ("mail", "numbers"))
    assert own < other


def test_status_knows_every_process(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        status = stars.status()
    assert [kernel.name for kernel in status.kernels] == list(constellation.kernels)
    assert all(kernel.up and kernel.pid > 0 for kernel in status.kernels)
    assert status.num_unexpected_errors == 0
    assert status.registry_pid > 0


def test_every_process_exports_its_metrics(constellation: RunState) -> None:
    with Client(constellation.endpoint) as stars:
        stars.ask(PROMPTS["mail"], tokens_max=4)
    processes = endpoints(str(constellation.metrics))
    kernels = {f"kernel-{kernel}" for kernel in constellation.kernels}
    assert set(processes) == {"registry", "router", "router-2", *kernels}
    exported = "\n".join(scrape(endpoint) for endpoint in processes.values())
    for sample in (
        'constellation_requests_total{mode="nearest",outcome="ok"}',
        'constellation_route_total{kernel="mail",reason="nearest"}',
        'constellation_tokens_total{kernel="mail",kind="completion"}',
        'constellation_kernel_up{kernel="mail"} 1.0',
        "constellation_request_seconds_bucket",
        "constellation_time_to_first_token_seconds_bucket",
        "constellation_inter_token_seconds_bucket",
        'constellation_queue_depth{kernel="mail"}',
        'constellation_running_requests{kernel="mail"}',
        'constellation_kv_cache_usage_ratio{kernel="mail"}',
        "constellation_route_distance_radians_bucket",
        "constellation_route_margin_radians_bucket",
        "constellation_route_load_entropy_ratio",
        "constellation_out_of_domain_total",
        'constellation_kernel_restarts_total{kernel="mail"}',
        'constellation_kernel_kappa{kernel="mail"}',
        "constellation_basin_spread_radians",
        "constellation_table_version",
    ):
        assert sample in exported, sample
