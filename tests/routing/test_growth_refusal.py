"""Theorems about growth and refusal: what a kernel that joins or leaves does to thresholds."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.records import Rule, Table
from constellation.routing.growth import add_kernel, retire_kernel, spawn_kernel
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import pack_table, unpack_table
from tests.routing.tables import basins, refusal, table
from tests.routing.test_growth import bits, candidate, kept, queries_of, rules, seeds


def refusing(seed: int, count: int) -> Table:
    """Return a table with thresholds."""
    made = table(basins(seed, count, concentration=3.0), radius=0.5)
    return replace(made, refusal=refusal(seed))


@given(seeds, st.integers(1, 8), rules)
@settings(max_examples=20)
def test_a_kernel_that_joins_keeps_its_thresholds_and_changes_no_others(
    seed: int, count: int, rule: Rule
) -> None:
    before = refusing(seed, count)
    made, of_its_own = candidate(seed + 1), refusal(seed + 2, level=0.6)
    site = replace(made.sites[0], thresholds=of_its_own.thresholds)
    own = replace(made, sites=(site,), refusal=of_its_own)
    after = add_kernel(before, own)
    assert kept(before, after)
    assert after.refusal is before.refusal
    assert after.sites[-1].thresholds is of_its_own.thresholds
    # It refuses by its own thresholds, and nothing is a stranger now that was none before.
    alone = RoutingPolicy(replace(own, temperatures=before.temperatures), rule=rule)
    old, new = (RoutingPolicy(each, rule=rule) for each in (before, after))
    for query_K in basins(seed + 3, 40):
        outside = [each.decide(query_K, num_tokens=9).out_of_domain for each in (old, alone, new)]
        assert outside[2] is (outside[0] and outside[1])
    assert bits(retire_kernel(after, "new")) == bits(before)


@given(seeds, st.integers(1, 6), rules)
@settings(max_examples=15)
def test_a_split_widens_the_thresholds_of_both_and_gives_them_back(
    seed: int, count: int, rule: Rule
) -> None:
    before = refusing(seed, count)
    own_NK = queries_of(before, "k0", seed, rule)
    after = spawn_kernel(before, "k0", "child", own_NK)
    assert kept(before, after, "k0")
    old, new = (RoutingPolicy(each, rule=rule) for each in (before, after))
    for query_K in [*own_NK, *basins(seed + 3, 20)]:
        for share in (0.01, 0.05):
            if not old.decide(query_K, num_tokens=9, refuse=share).out_of_domain:
                assert not new.decide(query_K, num_tokens=9, refuse=share).out_of_domain
    # As after a restart: what a table remembers is in its file.
    back = retire_kernel(unpack_table(pack_table(after)), "child")
    assert bits(back) == bits(before)


def test_a_kernel_without_thresholds_takes_those_of_the_table_it_joins() -> None:
    after = add_kernel(refusing(0, 3), candidate(1))
    route = RoutingPolicy(after).decide(basins(5, 1)[0], num_tokens=9)
    assert after.sites[-1].thresholds is None
    assert len({choice.radius for choice in route.choices}) == 1
