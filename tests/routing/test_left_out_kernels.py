"""Kernels that a question leaves out: the route is that of a table without them."""

from dataclasses import asdict, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest, UnknownKernel
from constellation.records import Mode, Route, Rule
from constellation.routing.policy import RoutingPolicy
from tests.routing.tables import basins, refusal, table

seeds = st.integers(0, 10_000)


def rounded(route: Route) -> dict[str, Any]:
    """Return a route with 9 digits: sums over tables of other sizes differ in the last bits."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: plain(inner) for name, inner in value.items()}
        if isinstance(value, tuple):
            return tuple(plain(inner) for inner in value)
        return round(value, 9) if isinstance(value, float) else value

    found: dict[str, Any] = plain(asdict(route))
    return found


@given(seeds, st.integers(2, 14), st.sampled_from(Rule), st.booleans(), st.data())
def test_the_route_is_that_of_a_table_without_the_kernels(
    seed: int, count: int, rule: Rule, has_thresholds: bool, data: st.DataObject
) -> None:
    whole = replace(
        table(basins(seed, count), radius=0.4), refusal=refusal(seed) if has_thresholds else None
    )
    names = [site.name for site in whole.sites]
    without = data.draw(st.lists(st.sampled_from(names), max_size=count - 1))
    left = tuple(site for site in whole.sites if site.name not in without)
    query_K = basins(seed + 1, 1)[0]
    asked = {"num_tokens": 5, "rule": rule, "mode": data.draw(st.sampled_from(Mode))}
    found = RoutingPolicy(whole).decide(query_K, without=without, **asked)
    expected = RoutingPolicy(replace(whole, sites=left)).decide(query_K, **asked)
    assert found.kernels == expected.kernels
    assert rounded(found) == rounded(expected)
    assert found.reason == "nearest"


def test_a_kernel_that_is_down_is_still_a_failover_when_another_is_left_out() -> None:
    policy, query_K = RoutingPolicy(table(basins(5, 6))), basins(6, 1)[0]
    first, second, third, *_ = policy.decide(query_K, num_tokens=5).kernels
    route = policy.decide(query_K, num_tokens=5, without=[first], excluded=[second])
    assert (route.kernel, route.reason) == (third, "failover")


def test_a_name_that_is_not_in_the_table_is_an_unknown_kernel() -> None:
    policy = RoutingPolicy(table(basins(5, 2)))
    with pytest.raises(UnknownKernel, match="no kernel is named 'nobody'; there are: k0, k1"):
        policy.decide(basins(6, 1)[0], num_tokens=5, without=["k0", "nobody"])


def test_leaving_out_every_kernel_is_refused() -> None:
    policy = RoutingPolicy(table(basins(5, 2)))
    with pytest.raises(InvalidRequest, match=r"without is .* names of all kernels but one"):
        policy.decide(basins(6, 1)[0], num_tokens=5, without=["k1", "k0", "k1"])


def test_a_kernel_cannot_be_asked_for_and_left_out() -> None:
    policy = RoutingPolicy(table(basins(5, 3)))
    with pytest.raises(InvalidRequest, match="kernel is 'k1'; allowed: a kernel that is not left"):
        policy.decide(basins(6, 1)[0], num_tokens=5, pinned="k1", without=["k1"])


def test_no_more_kernels_get_weight_than_are_left() -> None:
    policy, query_K = RoutingPolicy(table(basins(5, 3)), top_k=3), basins(6, 1)[0]
    assert len(policy.decide(query_K, num_tokens=5, without=["k1"]).choices) == 2
    with pytest.raises(InvalidRequest, match="top_k is 3; allowed: 1 to 2"):
        policy.decide(query_K, num_tokens=5, top_k=3, without=["k1"])
