"""A family: a kernel and those that were spawned from it share its queries, and nobody else's."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.geometry.bearings import angle, bearing
from constellation.geometry.simplex import distance
from constellation.records import Mode, Route, Rule, Table
from constellation.routing.calibration import calibrate
from constellation.routing.mixture_weights import renewal
from constellation.routing.policy import RoutingPolicy
from constellation.routing.threshold_fit import measure
from tests.routing.tables import BACKGROUND, basins, refusal, several, with_family

seeds = st.integers(0, 10_000)
rules = st.sampled_from(Rule)
SIZES = (1, 3, 2, 4)
ROOT = 1
FAMILY = ("k1", "child", "other")


def before_and_after(seed: int) -> tuple[Table, Table]:
    """Return a table, and the same after its kernel k1 has spawned two."""
    before = replace(several(seed, SIZES), refusal=refusal(seed))
    return before, with_family(before, ROOT, seed + 900, *FAMILY[1:])


def routes(seed: int, rule: Rule, **options: object) -> tuple[Table, np.ndarray, Route, Route]:
    before, after = before_and_after(seed)
    query_K = basins(seed + 500, 1)[0]
    one, other = (
        RoutingPolicy(each).decide(query_K, num_tokens=5, rule=rule, **options)  # type: ignore[arg-type]
        for each in (before, after)
    )
    return after, query_K, one, other


def share_distances(made: Table, query_K: np.ndarray, rule: Rule) -> dict[str, float]:
    """Return the distance to the centre of each member's share, by the plain functions."""
    own_K = bearing(query_K, BACKGROUND)
    return {
        site.name: float(
            distance(query_K, site.share.basin_K)
            if rule is Rule.GEODESIC
            else angle(own_K, site.share.bearing_K)
        )
        for site in made.sites
        if site.share is not None
    }


@given(seeds, rules)
def test_a_family_draws_exactly_the_queries_of_its_root(seed: int, rule: Rule) -> None:
    made, query_K, before, after = routes(seed, rule)
    if before.kernel != "k1":
        assert after.kernel == before.kernel
    else:
        shares = share_distances(made, query_K, rule)
        assert after.kernel == min(FAMILY, key=shares.__getitem__)
    root = {"k1": "k1", "child": "k1", "other": "k1"}
    families = [root.get(name, name) for name in after.kernels]
    assert list(dict.fromkeys(families)) == list(before.kernels)
    distances = dict(zip(before.kernels, before.distances, strict=True))
    assert after.distances == tuple(distances[family] for family in families)
    assert after.out_of_domain == before.out_of_domain
    assert (after.beyond_own, after.beyond_foreign) == (before.beyond_own, before.beyond_foreign)


@given(seeds, rules)
def test_inside_a_family_the_nearest_share_comes_first(seed: int, rule: Rule) -> None:
    made, query_K, _, route = routes(seed, rule)
    shares = share_distances(made, query_K, rule)
    members = [name for name in route.kernels if name in FAMILY]
    assert members == sorted(FAMILY, key=shares.__getitem__)
    first, second = route.kernels[:2]
    if first in FAMILY and second in FAMILY:
        assert route.margin == pytest.approx(shares[second] - shares[first], abs=1e-9)
    else:
        assert route.margin == pytest.approx(route.distances[1] - route.distances[0], abs=1e-9)


@given(seeds, rules)
def test_a_family_weighs_what_its_root_weighed(seed: int, rule: Rule) -> None:
    before, after = before_and_after(seed)
    query_K = basins(seed + 500, 1)[0]
    alone = RoutingPolicy(before).decide(query_K, num_tokens=5, rule=rule, top_k=4)
    among = RoutingPolicy(after).decide(query_K, num_tokens=5, rule=rule, top_k=6)
    weight_of = {choice.kernel: choice.weight for choice in among.choices}
    for choice in alone.choices:
        names = FAMILY if choice.kernel == "k1" else (choice.kernel,)
        assert sum(weight_of[name] for name in names) == pytest.approx(choice.weight, abs=1e-12)
    shares = share_distances(after, query_K, rule)
    nearest_first = sorted(FAMILY, key=shares.__getitem__)
    weights = [weight_of[name] for name in nearest_first]
    assert weights == sorted(weights, reverse=True)


@given(seeds, rules)
def test_a_member_that_is_lost_is_stood_in_for_by_its_family(seed: int, rule: Rule) -> None:
    before, after = before_and_after(seed)
    policy = RoutingPolicy(after)
    at_K = before.sites[ROOT].basins_BK[0]
    free = policy.decide(at_K, num_tokens=5, rule=rule)
    assert free.kernel in FAMILY
    lost = policy.decide(at_K, num_tokens=5, rule=rule, excluded={free.kernel})
    assert (lost.kernel, lost.reason) == (free.kernels[1], "failover")
    assert lost.kernel in FAMILY


@given(seeds, rules)
def test_the_lead_inside_a_family_is_that_of_the_shares(seed: int, rule: Rule) -> None:
    before, after = before_and_after(seed)
    query_K = basins(seed + 500, 1)[0]
    policy = RoutingPolicy(after)
    shares = share_distances(after, query_K, rule)
    nearest = min(FAMILY, key=shares.__getitem__)
    one = RoutingPolicy(before).lead(query_K, "k0", rule=rule)
    for name in FAMILY:
        kernel, gap = policy.lead(query_K, name, rule=rule, excluded={"k0", "k2", "k3"})
        assert kernel == nearest
        assert gap == pytest.approx(shares[name] - shares[nearest], abs=1e-9)
    kernel, gap = policy.lead(query_K, "k0", rule=rule)
    assert (nearest if one[0] == "k1" else one[0], one[1]) == (kernel, gap)


def test_a_family_is_calibrated_as_one_kernel() -> None:
    before, after = before_and_after(4)
    texts = np.concatenate([site.basins_BK for site in before.sites])
    labels = [f"k{n}" for n in np.repeat([0, 1, 2, 3], SIZES)]
    alone = calibrate(before.sites, texts, labels, background_K=BACKGROUND)
    labels[1] = "child"  # a text of a member is one of the family's
    among = calibrate(after.sites, texts, labels, background_K=BACKGROUND)
    assert among.temperatures == alone.temperatures
    assert among.accuracy == alone.accuracy
    assert [among.radii[name] for name in FAMILY] == [alone.radii["k1"]] * 3
    assert [among.arrived[name] for name in FAMILY] == [alone.arrived["k1"]] * 3


def test_what_a_left_out_domain_shows_leaves_out_its_whole_family() -> None:
    before, after = before_and_after(4)
    texts = np.concatenate([site.basins_BK for site in before.sites])
    one, other = (
        measure(
            each.sites,
            texts,
            kernel_N=np.repeat([0, 1, 2, 3], SIZES),
            document_N=np.arange(len(texts)),
            num_tokens_N=np.full(len(texts), 9),
            background_K=BACKGROUND,
        )
        for each in (before, after)
    )
    for rule in Rule:
        np.testing.assert_array_equal(one.left_out[rule], other.left_out[rule])
        np.testing.assert_array_equal(one.excess[rule], other.excess[rule])


@given(seeds)
def test_members_that_write_together_share_the_weight_by_their_shares(seed: int) -> None:
    before, after = before_and_after(seed)
    at_K = before.sites[ROOT].basins_BK[0]
    route = RoutingPolicy(after).decide(at_K, num_tokens=5, mode=Mode.MIXTURE, top_k=2)
    sites = {site.name: site for site in after.sites}
    members = replace(after, sites=tuple(sites[each.kernel] for each in route.choices[:2]))
    renew = renewal(members, rule=Rule.BEARING, phi_weighting=True, basin_of=lambda _: at_K)
    renewed = renew([1, 2, 3])
    np.testing.assert_allclose(renewed, [each.weight for each in route.choices[:2]], atol=1e-12)
    assert set(route.kernels[:2]) < set(FAMILY)
    assert renewed[0] > renewed[1]
