"""Thresholds of refusal: what is asked for is kept, and what is not known is said."""

from dataclasses import replace
from math import inf, log, nan

import numpy as np
import pytest

from constellation.errors import ConfigError, InvalidRequest
from constellation.geometry.simplex import geodesic
from constellation.records import KernelSite, Refusal, Rule, Table
from constellation.routing import threshold_fit
from constellation.routing.policy import RoutingPolicy
from constellation.routing.refusal_rule import (
    LENGTHS,
    SHARES,
    LimitTable,
    QueryLimits,
    at_length,
    wilson_interval,
)
from constellation.routing.threshold_fit import Measured, fit_refusal, join, measure
from tests.routing.tables import BACKGROUND, basins, table

POINTS = basins(0, 4, concentration=0.3)
FITTED = tuple(length for length in LENGTHS if 4 <= length <= 64)


def texts(
    seed: int, num_documents: int, lengths: tuple[int, ...] = FITTED
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return basins, kernels, documents and lengths: the longer a text, the nearer its kernel."""
    rng = np.random.default_rng(seed)
    kernel_N = np.tile(np.arange(4).repeat(len(lengths)), num_documents // 4)
    document_N = np.arange(num_documents).repeat(len(lengths))
    num_tokens_N = np.tile(lengths, num_documents)
    away_N = np.clip(rng.normal(0.25, 0.08, len(kernel_N)) + 0.6 / np.sqrt(num_tokens_N), 0, 1)
    noise_NK = basins(seed + 100, len(kernel_N))
    basins_NK = geodesic(POINTS[kernel_N], noise_NK, away_N)
    return basins_NK, kernel_N, document_N, num_tokens_N


def measured(
    seed: int,
    num_documents: int,
    sites: tuple[KernelSite, ...],
    lengths: tuple[int, ...] = FITTED,
) -> Measured:
    basins_NK, kernel_N, document_N, num_tokens_N = texts(seed, num_documents, lengths)
    return measure(
        sites,
        basins_NK,
        kernel_N=kernel_N,
        document_N=document_N,
        num_tokens_N=num_tokens_N,
        background_K=BACKGROUND,
    )


@pytest.fixture(scope="module")
def fitted() -> Table:
    made = table(POINTS)
    return replace(made, refusal=fit_refusal(measured(1, 4800, made.sites)))


@pytest.mark.slow
@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("share", [0.01, 0.05])
def test_of_fresh_in_domain_texts_the_share_that_was_asked_for_is_refused_at_every_length(
    fitted: Table, rule: Rule, share: float
) -> None:
    policy = RoutingPolicy(fitted, rule=rule)
    basins_NK, _, _, num_tokens_N = texts(2, 4800)
    beyond = np.array(
        [
            policy.decide(basin_K, num_tokens=int(num_tokens), refuse=share).out_of_domain
            for basin_K, num_tokens in zip(basins_NK, num_tokens_N, strict=True)
        ]
    )
    for length in FITTED:
        found = beyond[num_tokens_N == length].mean()
        # Four standard errors of 4,800 texts, and of as many that the threshold is made of.
        assert found == pytest.approx(share, abs=4 * (2 * share / 4800) ** 0.5)


def test_one_threshold_for_all_lengths_would_break_the_promise(fitted: Table) -> None:
    assert fitted.refusal is not None
    for rule in Rule:
        at_one_percent = fitted.refusal.thresholds.excess[rule][:, SHARES.index(0.01)]
        rows = [LENGTHS.index(length) for length in FITTED]
        assert (np.diff(at_one_percent[rows]) < 0).all()


def test_the_default_is_the_share_of_one_percent(fitted: Table) -> None:
    policy = RoutingPolicy(fitted)
    for basin_K in texts(3, 40)[0]:
        assert policy.decide(basin_K, num_tokens=8) == policy.decide(
            basin_K, num_tokens=8, refuse=0.01
        )


def test_what_is_said_of_own_and_foreign_text_is_what_happens(fitted: Table) -> None:
    """The shares refused and caught are those of fresh texts, with and without their kernel."""
    refusal = fitted.refusal
    assert refusal is not None
    basins_NK, kernel_N, _, num_tokens_N = texts(4, 1600)
    column, row = SHARES.index(0.05), LENGTHS.index(16)
    kept = num_tokens_N == 16
    assert refusal.refused[Rule.BEARING][row, column] == pytest.approx(0.05, abs=0.02)
    caught = []
    for kernel in range(4):
        sites = tuple(site for place, site in enumerate(fitted.sites) if place != kernel)
        policy = RoutingPolicy(replace(fitted, sites=sites))
        caught += [
            policy.decide(basin_K, num_tokens=16, refuse=0.05).out_of_domain
            for basin_K in basins_NK[kept & (kernel_N == kernel)]
        ]
    assert refusal.caught[Rule.BEARING][row, column] == pytest.approx(np.mean(caught), abs=0.05)


def test_a_route_says_how_far_out_the_query_lies(fitted: Table) -> None:
    policy = RoutingPolicy(fitted)
    for basin_K in texts(5, 80)[0]:
        route = policy.decide(basin_K, num_tokens=16)
        assert route.beyond_own is not None
        assert route.beyond_foreign is not None
        for share in (0.01, 0.05, 0.2):
            asked = policy.decide(basin_K, num_tokens=16, refuse=share)
            if abs(route.beyond_own - share) > 1e-9:
                assert asked.out_of_domain is (route.beyond_own < share)
            assert asked.choices[0].distance == route.choices[0].distance
            assert (asked.choices[0].distance > asked.choices[0].radius) is asked.out_of_domain


def test_more_may_be_refused_the_larger_the_share(fitted: Table) -> None:
    policy = RoutingPolicy(fitted)
    basin_K = texts(6, 4)[0][0]
    shares = np.geomspace(SHARES[0], SHARES[-1], 50)
    radii = [
        policy.decide(basin_K, num_tokens=11, refuse=share).choices[0].radius for share in shares
    ]
    assert (np.diff(radii) <= 0).all()


def test_a_text_that_says_little_must_lie_nearer(fitted: Table) -> None:
    policy = RoutingPolicy(fitted)
    much_K = POINTS[0]
    little_K = geodesic(BACKGROUND, much_K, 0.1)
    much, little = (policy.decide(basin_K, num_tokens=8) for basin_K in (much_K, little_K))
    assert little.choices[0].radius < much.choices[0].radius


@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 1.0, nan, inf, -0.1])
def test_a_share_without_a_threshold_is_refused_with_the_range(fitted: Table, share: float) -> None:
    with pytest.raises(InvalidRequest, match=r"refuse is .*0\.002 to 0\.5"):
        RoutingPolicy(fitted).decide(POINTS[0], num_tokens=8, refuse=share)


def test_a_table_of_release_0_1_0_refuses_outside_all_radii_and_nothing_else() -> None:
    policy = RoutingPolicy(table(POINTS, radius=0.4))
    route = policy.decide(POINTS[1], num_tokens=8)
    assert (route.out_of_domain, route.beyond_own, route.beyond_foreign) == (False, None, None)
    assert {choice.radius for choice in route.choices} == {0.4}
    with pytest.raises(InvalidRequest, match="radii for the default share alone"):
        policy.decide(POINTS[1], num_tokens=8, refuse=0.05)


def test_too_little_text_refuses_nothing_rather_than_promise_what_it_cannot_keep() -> None:
    sites = table(POINTS).sites
    few = fit_refusal(measured(1, 8, sites, lengths=(8,)))
    for rule in Rule:
        # Of 8 texts the largest bounds the next one with probability 8 / 9 and no better.
        at_one_percent = few.thresholds.excess[rule][:, SHARES.index(0.01)]
        assert at_one_percent.tolist() == [np.pi] * len(LENGTHS)
        assert (few.thresholds.excess[rule][:, SHARES.index(0.2)] < np.pi).all()
    row = few.at_share(Rule.BEARING)[LENGTHS.index(8)]
    assert (row.num_texts, row.num_documents) == (8, 8)
    assert row.caught == 0
    low, high = wilson_interval(row.caught, row.num_documents)
    assert low == 0
    assert high > 0.3


def test_a_kernel_alone_does_not_say_what_it_catches() -> None:
    sites = table(POINTS[:1]).sites
    drawn = measured(1, 80, table(POINTS).sites)
    own = drawn.kernel_N == 0
    basins_NK, _, document_N, num_tokens_N = (each[own] for each in texts(1, 80))
    alone = fit_refusal(
        measure(
            sites,
            basins_NK,
            kernel_N=np.zeros(own.sum(), dtype=np.intp),
            document_N=document_N,
            num_tokens_N=num_tokens_N,
            background_K=BACKGROUND,
        )
    )
    assert all(row.caught is None for row in alone.at_share(Rule.BEARING))
    route = RoutingPolicy(replace(table(POINTS[:1]), refusal=alone)).decide(POINTS[0], num_tokens=8)
    assert route.beyond_own is not None
    assert route.beyond_foreign is None


def test_no_text_at_all_is_refused() -> None:
    nothing = measure(
        table(POINTS).sites,
        np.empty((0, 8)),
        kernel_N=np.empty(0, dtype=np.intp),
        document_N=np.empty(0, dtype=np.intp),
        num_tokens_N=np.empty(0, dtype=np.intp),
        background_K=BACKGROUND,
    )
    with pytest.raises(ConfigError, match="add text"):
        fit_refusal(nothing)


def test_parts_measured_apart_are_what_they_are_together(monkeypatch: pytest.MonkeyPatch) -> None:
    sites = table(POINTS).sites
    whole = measured(1, 40, sites)
    monkeypatch.setattr(threshold_fit, "_BLOCK_TEXTS", 7)
    blocks = measured(1, 40, sites)
    for rule in Rule:
        np.testing.assert_allclose(blocks.excess[rule], whole.excess[rule], rtol=0, atol=1e-12)
        np.testing.assert_allclose(blocks.left_out[rule], whole.left_out[rule], rtol=0, atol=1e-12)
    twice = join([whole, blocks])
    assert len(twice.kernel_N) == 2 * len(whole.kernel_N)


def test_documents_of_a_kernel_weigh_alike_however_many_passages_they_give() -> None:
    """A hundred passages of a strange document move a threshold no more than one does."""
    sites = table(POINTS).sites
    plain = measured(1, 200, sites, lengths=(8,))
    odd_K = geodesic(POINTS[0], BACKGROUND, 0.9)
    found = []
    for num_passages in (1, 100):
        odd = measure(
            sites,
            np.stack([odd_K] * num_passages),
            kernel_N=np.zeros(num_passages, dtype=np.intp),
            document_N=np.full(num_passages, 10_000),
            num_tokens_N=np.full(num_passages, 8),
            background_K=BACKGROUND,
        )
        made: Refusal = fit_refusal(join([plain, odd]))
        found.append(made.thresholds.excess[Rule.GEODESIC][LENGTHS.index(8), SHARES.index(0.2)])
    assert found[1] == pytest.approx(found[0], abs=0.02)


def test_between_lengths_a_threshold_is_interpolated_in_the_logarithm() -> None:
    rows = [[1.0], [3.0]]
    assert at_length((8, 32), rows, 16) == [pytest.approx(2.0)]
    assert at_length((8, 32), rows, 12) == [pytest.approx(1 + 2 * log(1.5) / log(4))]
    assert [at_length((8, 32), rows, n) for n in (0, 1, 8)] == [[1.0]] * 3
    assert [at_length((8, 32), rows, n) for n in (32, 33, 10**6)] == [[3.0]] * 3


def test_a_share_and_its_limit_are_each_others_inverse() -> None:
    limits = QueryLimits(SHARES, [3.0, 2.5, 2.0, 1.8, 1.4, 1.1, 0.9, 0.5])
    for share in np.geomspace(SHARES[0], SHARES[-1], 40):
        assert limits.beyond(limits.limit(share)) == pytest.approx(share)
    assert (limits.beyond(9.0), limits.beyond(0.0)) == (SHARES[0], SHARES[-1])


def test_limits_of_a_table_hold_for_any_length(fitted: Table) -> None:
    assert fitted.refusal is not None
    limits = LimitTable(fitted.refusal.thresholds)
    for num_tokens in (0, 1, 3, 100, 10**6):
        found = limits.of_query(Rule.BEARING, num_tokens=num_tokens, evidence=0.3)
        assert np.isfinite([found.limit(share) for share in SHARES]).all()


@pytest.mark.parametrize(
    ("share", "count", "interval"),
    [(0.0, 10, (0.0, 0.2775)), (0.5, 100, (0.4038, 0.5962)), (0.3, 0, (0.0, 1.0))],
)
def test_an_interval_of_a_share_is_wilsons(
    share: float, count: int, interval: tuple[float, float]
) -> None:
    assert wilson_interval(share, count) == pytest.approx(interval, abs=1e-3)
