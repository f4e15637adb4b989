"""The routing decision: which kernel, with which weights, and for what reason."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import (
    ConfigError,
    InvalidBasin,
    InvalidRequest,
    KernelUnavailable,
    UnknownKernel,
)
from constellation.geometry.bearings import angle, bearing
from constellation.geometry.simplex import distance
from constellation.records import Rule
from constellation.routing.policy import LISTED_MAX, RoutingPolicy, activation, phi_gain
from tests.routing.tables import BACKGROUND, basins, table

seeds = st.integers(0, 10_000)


@given(seeds, st.integers(1, 20), st.sampled_from(Rule))
def test_the_nearest_kernel_under_the_rule_answers(seed: int, count: int, rule: Rule) -> None:
    points = basins(seed, count)
    query_K = basins(seed + 1, 1)[0]
    route = RoutingPolicy(table(points)).decide(query_K, num_tokens=5, rule=rule)
    if rule is Rule.GEODESIC:
        expected = distance(query_K, points)
    else:
        expected = angle(bearing(query_K, BACKGROUND), bearing(points, BACKGROUND))
    assert route.rule is rule
    assert route.kernel == f"k{expected.argmin()}"
    assert route.reason == "nearest"
    listed = [choice.distance for choice in route.choices]
    np.testing.assert_allclose(listed, np.sort(expected)[:LISTED_MAX], atol=1e-9)
    assert route.margin == pytest.approx(listed[1] - listed[0] if count > 1 else 0.0, abs=1e-9)


@given(seeds, st.integers(1, 12), st.data())
def test_weights_are_a_distribution_over_the_top_k(
    seed: int, count: int, data: st.DataObject
) -> None:
    top_k = data.draw(st.integers(1, count))
    route = RoutingPolicy(table(basins(seed, count))).decide(
        basins(seed + 1, 1)[0], num_tokens=5, top_k=top_k
    )
    weights = [choice.weight for choice in route.choices]
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert all(weight == 0 for weight in weights[top_k:])
    assert weights[:top_k] == sorted(weights[:top_k], reverse=True)


def test_activation_follows_the_formula() -> None:
    weights = activation([0.2, 0.5, 0.9], temperature=0.3, gains=[1.0, 2.0, 0.5])
    raw = np.exp(-np.array([0.04, 0.25, 0.81]) / 0.18) * [1.0, 2.0, 0.5]
    np.testing.assert_allclose(weights, raw / raw.sum(), rtol=1e-12)


def test_activation_survives_a_tiny_temperature() -> None:
    assert activation([1.0, 1.5], temperature=0.01, gains=[1.0, 1.0]) == [1.0, 0.0]


@given(st.floats(-5, 5))
def test_phi_gain_is_bounded_and_rises(phi: float) -> None:
    assert 0.5 <= phi_gain(phi) <= 2
    assert phi_gain(phi) <= phi_gain(phi + 0.1)


def test_phi_gain_of_an_unmeasured_kernel_is_one() -> None:
    assert phi_gain(None) == 1
    assert phi_gain(0.0) == 0.5
    assert phi_gain(1.0) == 2


def test_phi_shifts_weights_but_never_the_kernel_that_answers() -> None:
    points = basins(3, 2)
    query_K = basins(4, 1)[0]
    plain = RoutingPolicy(table(points)).decide(query_K, num_tokens=5)
    far = 1 - int(plain.kernel[1:])
    gauges = tuple(1.0 if row == far else 0.0 for row in range(2))
    tilted_table = table(points, phi=gauges)
    tilted = RoutingPolicy(tilted_table).decide(query_K, num_tokens=5)
    switched_off = RoutingPolicy(tilted_table, phi_weighting=False).decide(query_K, num_tokens=5)
    assert tilted.kernel == plain.kernel
    odds = tilted.choices[1].weight / tilted.choices[0].weight
    assert odds == pytest.approx(4 * plain.choices[1].weight / plain.choices[0].weight)
    assert switched_off == plain


def test_a_basin_at_the_background_falls_back_to_geodesic_and_is_no_evidence() -> None:
    route = RoutingPolicy(table(basins(0, 4))).decide(BACKGROUND, num_tokens=3)
    assert route.rule is Rule.GEODESIC
    assert route.no_evidence
    expected = distance(BACKGROUND, basins(0, 4))
    assert route.kernel == f"k{expected.argmin()}"


def test_a_text_without_tokens_is_no_evidence_under_either_rule() -> None:
    policy = RoutingPolicy(table(basins(0, 4)))
    for rule in Rule:
        assert policy.decide(BACKGROUND.copy(), num_tokens=0, rule=rule).no_evidence
        assert not policy.decide(basins(1, 1)[0], num_tokens=4, rule=rule).no_evidence


def test_a_query_is_out_of_domain_only_outside_every_radius() -> None:
    points = basins(0, 3)
    query_K = basins(9, 1)[0]
    distances = np.sort(distance(query_K, points))
    for radius, outside in ((distances[0] * 1.01, False), (distances[0] * 0.99, True)):
        policy = RoutingPolicy(table(points, radius=float(radius)), rule=Rule.GEODESIC)
        route = policy.decide(query_K, num_tokens=5)
        assert route.out_of_domain is outside
        assert route.choices[0].radius == radius


def test_a_pinned_kernel_answers_while_the_distances_stay_true() -> None:
    policy = RoutingPolicy(table(basins(0, 4)))
    query_K = basins(1, 1)[0]
    free = policy.decide(query_K, num_tokens=5)
    far = free.choices[-1].kernel
    pinned = policy.decide(query_K, num_tokens=5, pinned=far)
    assert (pinned.kernel, pinned.reason) == (far, "pinned")
    assert pinned.choices == free.choices


def test_excluding_the_nearest_fails_over_to_the_next() -> None:
    policy = RoutingPolicy(table(basins(0, 4)))
    query_K = basins(1, 1)[0]
    free = policy.decide(query_K, num_tokens=5)
    first, second = free.choices[0].kernel, free.choices[1].kernel
    route = policy.decide(query_K, num_tokens=5, excluded={first})
    assert (route.kernel, route.reason) == (second, "failover")
    assert first not in [choice.kernel for choice in route.choices]
    farther = policy.decide(query_K, num_tokens=5, excluded={free.choices[-1].kernel})
    assert (farther.kernel, farther.reason) == (first, "nearest")


def test_unreachable_kernels_are_refused_by_name() -> None:
    policy = RoutingPolicy(table(basins(0, 2)))
    query_K = basins(1, 1)[0]
    with pytest.raises(UnknownKernel, match="k9"):
        policy.decide(query_K, num_tokens=5, pinned="k9")
    with pytest.raises(KernelUnavailable, match="k1"):
        policy.decide(query_K, num_tokens=5, pinned="k1", excluded=["k1"])
    with pytest.raises(KernelUnavailable, match="every kernel"):
        policy.decide(query_K, num_tokens=5, excluded=["k0", "k1", "gone"])


@pytest.mark.parametrize("top_k", [0, -1, 3])
def test_top_k_out_of_range_is_refused(top_k: int) -> None:
    policy = RoutingPolicy(table(basins(0, 2)))
    with pytest.raises(InvalidRequest, match="top_k") as caught:
        policy.decide(basins(1, 1)[0], num_tokens=5, top_k=top_k)
    assert "1 to 2" in caught.value.allowed


def test_the_default_top_k_shrinks_to_a_small_table() -> None:
    route = RoutingPolicy(table(basins(0, 1)), top_k=4).decide(basins(1, 1)[0], num_tokens=5)
    assert [choice.weight for choice in route.choices] == [1.0]


def test_a_basin_of_another_length_is_refused() -> None:
    with pytest.raises(InvalidBasin, match=r"\(5,\)"):
        RoutingPolicy(table(basins(0, 2))).decide(np.full(5, 0.2), num_tokens=5)


def test_tables_that_cannot_route_are_refused() -> None:
    good = table(basins(0, 2))
    with pytest.raises(ConfigError, match="at least one kernel"):
        RoutingPolicy(replace(good, sites=()))
    with pytest.raises(ConfigError, match="unique names"):
        RoutingPolicy(replace(good, sites=(good.sites[0], good.sites[0])))
    with pytest.raises(ConfigError, match="temperature"):
        RoutingPolicy(replace(good, temperatures={Rule.BEARING: 0.3}))
    bare = replace(good.sites[1], radii={Rule.BEARING: 1.0})
    with pytest.raises(ConfigError, match="no radius for rule 'geodesic' on k1"):
        RoutingPolicy(replace(good, sites=(good.sites[0], bare)))


def test_a_route_of_a_large_table_lists_the_nearest_few() -> None:
    policy = RoutingPolicy(table(basins(0, 100)))
    query_K = basins(1, 1)[0]
    assert len(policy.decide(query_K, num_tokens=5).choices) == LISTED_MAX
    assert len(policy.decide(query_K, num_tokens=5, top_k=20).choices) == 20
