"""A router's traffic of the last minute and its latest routes, over real gRPC to kernels."""

import time
from dataclasses import asdict, replace

import pytest

from actors.router.recent_routes import ROUTES_MAX, RecentRoutes
from constellation.errors import ConstellationError, InvalidRequest, KernelUnavailable
from constellation.records import Mode, Route, RoutingOptions, Rule
from tests.actors.test_hosts import Sky, run

ROUTE = Route(
    choices=(),
    kernel="a",
    reason="nearest",
    rule=Rule.BEARING,
    mode=Mode.NEAREST,
    margin=0.5,
    out_of_domain=False,
    no_evidence=False,
    num_tokens=3,
    table_version=1,
)


def test_the_latest_fifty_routes_are_kept_and_numbered_over_all() -> None:
    recent = RecentRoutes()
    for number in range(120):
        recent.note(ROUTE, 0.25, at_s=float(number))
    kept = recent.newest_first()
    assert len(kept) == ROUTES_MAX == 50
    assert [each.number for each in kept] == list(range(120, 70, -1))
    assert kept[0].at_s == 119.0


def test_answered_queries_are_noted_without_their_text() -> None:
    async def story(sky: Sky) -> None:
        await sky.ask("b secret", RoutingOptions(explain=True))
        await sky.stream("a secret")
        newest, first = sky.router.state().recent
        assert (newest.number, newest.kernel, newest.num_tokens) == (2, "a", 8)
        assert (first.number, first.kernel, first.reason) == (1, "b", "nearest")
        assert first.distance is not None
        assert first.distance < first.distance + first.margin
        assert "secret" not in str([asdict(each) for each in (newest, first)])
        await sky.router.route("a", RoutingOptions())
        assert len(sky.router.state().recent) == 2, "a question of the route is no query"

    run(story)


def test_requests_tokens_failures_and_refusals_are_in_the_traffic() -> None:
    async def story(sky: Sky) -> None:
        await sky.ask("a")
        await sky.stream("b")
        with pytest.raises(InvalidRequest):
            await sky.ask("a", RoutingOptions(top_k=99))
        await sky.publish(
            replace(
                sky.table,
                version=2,
                sites=tuple(replace(site, endpoint=None) for site in sky.table.sites),
            )
        )
        with pytest.raises(KernelUnavailable):
            await sky.ask("a")
        traffic = sky.router._window.traffic(now_s=time.monotonic() + 1)  # the second is over
        assert (traffic.requests, traffic.failed, traffic.refused) == (4, 1, 1)
        assert traffic.tokens == 8
        assert sum(traffic.latency.counts.values()) == 2
        assert sum(traffic.first_token.counts.values()) == 1

    run(story)


def test_a_query_may_leave_kernels_out_of_its_question_and_of_its_answer() -> None:
    async def story(sky: Sky) -> None:
        without = RoutingOptions(without=("b",))
        route, _ = await sky.router.route("b", without)
        assert (route.kernel, route.reason, route.kernels) == ("a", "nearest", ("a",))
        answered, text = await sky.ask("b", without)
        assert (answered.kernel, text) == ("a", "aaaa")
        for names in (("a", "b"), ("nobody",)):
            with pytest.raises(ConstellationError):
                await sky.router.route("b", RoutingOptions(without=names))

    run(story)
