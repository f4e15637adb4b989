"""Theorems about growth: what a table may change when a kernel joins or leaves it.

Each holds for both rules, over random tables and queries.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import GrowthRefused, IncompatibleKernels, UnknownKernel
from constellation.geometry.bearings import bearing
from constellation.geometry.seats import neighbour_ring
from constellation.records import FloatArray, KernelSite, Route, Rule, Table
from constellation.routing.calibration import site_distances
from constellation.routing.growth import (
    KERNELS_MAX,
    SPLIT_QUERIES_MIN,
    UNLEARNED_MAX,
    add_kernel,
    retire_kernel,
    spawn_kernel,
    unlearn_text,
)
from constellation.routing.policy import RoutingPolicy
from constellation.routing.sites import KernelTexts
from constellation.wire.table_file import pack_table, unpack_table
from tests.routing.tables import BACKGROUND, basins, table

seeds = st.integers(0, 10_000)
rules = st.sampled_from(Rule)


def candidate(seed: int, name: str = "new") -> Table:
    """Return the table of one kernel alone, as its training leaves it."""
    (basin_K,) = basins(seed, 1)
    site = KernelSite(
        name=name,
        basin_K=basin_K,
        bearing_K=bearing(basin_K, BACKGROUND),
        radii={Rule.GEODESIC: 0.5, Rule.BEARING: 0.75},
        phi_gauge=0.25,
    )
    return replace(table(basins(seed, 1)), version=1, sites=(site,))


def bits(of: Table) -> bytes:
    """Return all of a table but its version."""
    return pack_table(replace(of, version=1))


def kept(before: Table, after: Table, *touched: str) -> bool:
    """Return whether every kernel of `before` but those named is in `after`, to the bit."""

    def rest(of: Table) -> bytes:
        names = {site.name for site in before.sites} - set(touched)
        return bits(replace(of, sites=tuple(site for site in of.sites if site.name in names)))

    return rest(before) == rest(after)


def moves(before: Table, after: Table, queries_NK: FloatArray, rule: Rule) -> set[tuple[str, str]]:
    """Return the (old kernel, new kernel) of every query whose route changed."""
    old, new = (RoutingPolicy(each, rule=rule) for each in (before, after))
    pairs = {
        (old.decide(query_K, num_tokens=9).kernel, new.decide(query_K, num_tokens=9).kernel)
        for query_K in queries_NK
    }
    return {(one, other) for one, other in pairs if one != other}


def queries_of(of: Table, name: str, seed: int, rule: Rule) -> FloatArray:
    """Return queries that route to a kernel: its basin, blurred, and as often as a split needs."""
    names = [site.name for site in of.sites]
    own_K = of.sites[names.index(name)].basin_K
    drawn_NK = np.random.default_rng(seed).dirichlet(own_K * 60 + 1e-3, 60) + 1e-9
    drawn_NK[0] = own_K
    drawn_NK /= drawn_NK.sum(axis=1, keepdims=True)
    distances_NM = site_distances(drawn_NK, of.sites, background_K=BACKGROUND, rule=rule)
    own_NK: FloatArray = drawn_NK[distances_NM.argmin(axis=1) == names.index(name)]
    return np.tile(own_NK, (-(-SPLIT_QUERIES_MIN // len(own_NK)), 1))


# --- add ----------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 12), rules)
@settings(max_examples=30)
def test_an_added_kernel_draws_queries_and_moves_none_between_others(
    seed: int, count: int, rule: Rule
) -> None:
    before = table(basins(seed, count))
    after = add_kernel(before, candidate(seed + 1))
    assert kept(before, after)
    assert after.version == before.version + 1
    assert all(new == "new" for _, new in moves(before, after, basins(seed + 2, 60), rule))
    here_K = after.sites[-1].basin_K
    assert RoutingPolicy(after, rule=rule).decide(here_K, num_tokens=9).kernel == "new"


@given(seeds, st.integers(1, 12))
def test_adding_and_then_retiring_gives_back_every_bit(seed: int, count: int) -> None:
    before = table(basins(seed, count))
    after = retire_kernel(add_kernel(before, candidate(seed + 1)), "new")
    assert bits(after) == bits(before)
    assert after.version == before.version + 2


@given(seeds, st.integers(1, 30))
def test_an_added_kernel_takes_a_free_seat_and_keeps_what_was_measured(
    seed: int, count: int
) -> None:
    before = table(basins(seed, count))
    (measured,) = candidate(seed + 1).sites
    joined = add_kernel(before, candidate(seed + 1)).sites[-1]
    assert joined.seat not in {site.seat for site in before.sites}
    assert joined.radii == measured.radii
    assert joined.phi_gauge == measured.phi_gauge
    np.testing.assert_array_equal(joined.basin_K, measured.basin_K)


def test_a_table_without_seats_stays_without() -> None:
    before = table(basins(0, 3))
    bare = replace(before, sites=tuple(replace(site, seat=None) for site in before.sites))
    assert add_kernel(bare, candidate(9)).sites[-1].seat is None
    queries = queries_of(bare, "k0", 0, Rule.BEARING)
    assert spawn_kernel(bare, "k0", "child", queries).sites[-1].seat is None


# --- spawn and retire ---------------------------------------------------------------------------


@given(seeds, st.integers(1, 10), rules)
@settings(max_examples=30)
def test_after_a_spawn_a_changed_route_has_parent_or_child_as_old_or_new(
    seed: int, count: int, rule: Rule
) -> None:
    before = table(basins(seed, count), radius=0.4)
    own_NK = queries_of(before, "k0", seed, rule)
    after = spawn_kernel(before, "k0", "child", own_NK)
    assert kept(before, after, "k0")
    for pair in moves(before, after, np.concatenate([basins(seed + 2, 60), own_NK]), rule):
        assert {"k0", "child"} & set(pair)


@given(seeds, st.integers(1, 6), rules)
@settings(max_examples=15)
def test_a_split_gives_both_a_share_and_makes_no_query_a_stranger(
    seed: int, count: int, rule: Rule
) -> None:
    before = table(basins(seed, count, concentration=3.0), radius=0.5)
    own_NK = queries_of(before, "k0", seed, rule)
    after = spawn_kernel(before, "k0", "child", own_NK)
    old, new = (RoutingPolicy(each, rule=rule) for each in (before, after))
    routes = [new.decide(query_K, num_tokens=9) for query_K in own_NK]
    counts = [sum(route.kernel == name for route in routes) for name in ("k0", "child")]
    assert min(counts) > 0
    for query_K in [*own_NK, *basins(seed + 3, 20)]:
        if not old.decide(query_K, num_tokens=9).out_of_domain:
            assert not new.decide(query_K, num_tokens=9).out_of_domain


@given(seeds, st.integers(1, 20))
@settings(max_examples=15)
def test_a_child_sits_in_the_ring_around_its_parent(seed: int, count: int) -> None:
    before = table(basins(seed, count))
    after = spawn_kernel(before, "k0", "child", queries_of(before, "k0", seed, Rule.BEARING))
    parent, child = after.sites[0], after.sites[-1]
    assert parent.seat == before.sites[0].seat == 0
    assert child.seat in neighbour_ring(0)
    assert child.seat not in {site.seat for site in before.sites}
    assert child.phi_gauge == parent.phi_gauge


@given(seeds, st.integers(1, 4), st.integers(1, 5), st.data())
@settings(max_examples=15)
def test_spawned_kernels_may_leave_in_any_order_and_every_bit_comes_back(
    seed: int, count: int, num_spawned: int, data: st.DataObject
) -> None:
    before = grown = table(basins(seed, count, concentration=3.0), radius=0.5)
    spawned: list[str] = []
    for number in range(num_spawned):
        parent = data.draw(st.sampled_from([site.name for site in grown.sites]))
        queries_NK = queries_of(grown, parent, seed + number, Rule.GEODESIC)
        grown = spawn_kernel(grown, parent, f"child{number}", queries_NK)
        spawned.append(f"child{number}")
    for name in data.draw(st.permutations(spawned)):
        # As after a restart: what a table remembers is in its file.
        grown = retire_kernel(unpack_table(pack_table(grown)), name)
    assert bits(grown) == bits(before)


@given(seeds, st.integers(2, 10), rules, st.booleans())
@settings(max_examples=30)
def test_after_a_retirement_only_its_own_and_its_parents_queries_move(
    seed: int, count: int, rule: Rule, spawned: bool
) -> None:
    before = table(basins(seed, count), radius=0.4)
    leaving = "k1"
    if spawned:
        leaving = "child"
        before = spawn_kernel(before, "k0", leaving, queries_of(before, "k0", seed, rule))
    after = retire_kernel(before, leaving)
    touched = {leaving, "k0"} if spawned else {leaving}
    assert kept(before, after, *touched)
    for pair in moves(before, after, basins(seed + 2, 60), rule):
        assert touched & set(pair)


def test_a_child_whose_parent_left_gives_nothing_to_a_namesake() -> None:
    before = table(basins(3, 3), radius=0.5)
    queries_NK = queries_of(before, "k0", 0, Rule.BEARING)
    orphan = retire_kernel(spawn_kernel(before, "k0", "child", queries_NK), "k0")
    assert orphan.sites[-1].split is None
    namesake = add_kernel(orphan, candidate(11, "k0"))
    assert bits(retire_kernel(namesake, "child")) == bits(
        replace(namesake, sites=(*namesake.sites[:2], namesake.sites[3]))
    )


# --- growth to 240 ------------------------------------------------------------------------------


def test_it_grows_to_240_kernels_and_back_to_the_bits_it_came_from() -> None:
    before = grown = table(basins(0, 8, concentration=3.0), radius=0.5)
    while len(grown.sites) < KERNELS_MAX:
        number = len(grown.sites)
        if number % 2:
            grown = add_kernel(grown, candidate(number, f"k{number}"))
        else:
            parent = f"k{number // 2}"
            queries_NK = queries_of(grown, parent, number, Rule.GEODESIC)
            grown = spawn_kernel(grown, parent, f"k{number}", queries_NK)
    assert sorted(site.seat for site in grown.sites if site.seat is not None) == list(range(240))
    for rule in Rule:
        policy = RoutingPolicy(grown, rule=rule)
        for site in grown.sites:
            assert policy.decide(site.basin_K, num_tokens=9).kernel == site.name
    with pytest.raises(GrowthRefused, match="240"):
        add_kernel(grown, candidate(999))
    with pytest.raises(GrowthRefused, match="240"):
        spawn_kernel(grown, "k0", "new", np.empty((0, 0)))
    for number in np.random.default_rng(0).permutation(np.arange(8, KERNELS_MAX)):
        grown = retire_kernel(grown, f"k{number}")
    assert bits(grown) == bits(before)


# --- what is refused ----------------------------------------------------------------------------


def _at_the_background(given: Table) -> Table:
    site = replace(given.sites[0], basin_K=BACKGROUND)
    return replace(given, sites=(site,))


def _without_radius(given: Table) -> Table:
    site = replace(given.sites[0], radii={Rule.GEODESIC: 0.5})
    return replace(given, sites=(site,))


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda c: replace(c, coordizer_hash="f" * 64), IncompatibleKernels, "'new'"),
        (lambda c: candidate(5, "k1"), GrowthRefused, "taken"),
        (lambda c: replace(c, sites=c.sites * 2), GrowthRefused, "alone"),
        (_at_the_background, GrowthRefused, "background"),
        (_without_radius, GrowthRefused, "radius"),
    ],
)
def test_a_kernel_that_does_not_fit_is_refused(
    spoil: Callable[[Table], Table], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        add_kernel(table(basins(0, 3)), spoil(candidate(5)))


def test_a_split_that_says_nothing_is_refused() -> None:
    before = table(basins(0, 3))
    alike = np.repeat(before.sites[0].basin_K[None], SPLIT_QUERIES_MIN, axis=0)
    with pytest.raises(GrowthRefused, match="alike"):
        spawn_kernel(before, "k0", "child", alike)
    with pytest.raises(GrowthRefused, match="ask it more"):
        spawn_kernel(before, "k0", "child", alike[1:])
    with pytest.raises(GrowthRefused, match="taken"):
        spawn_kernel(before, "k0", "k1", alike)
    with pytest.raises(UnknownKernel, match="k9"):
        spawn_kernel(before, "k9", "child", alike)


def test_who_is_not_there_or_alone_cannot_leave() -> None:
    with pytest.raises(UnknownKernel, match="k9"):
        retire_kernel(table(basins(0, 2)), "k9")
    with pytest.raises(GrowthRefused, match="only kernel"):
        retire_kernel(table(basins(0, 1)), "k0")


def test_routes_say_the_version_that_decided() -> None:
    after = add_kernel(table(basins(0, 3)), candidate(5))
    route: Route = RoutingPolicy(after).decide(basins(1, 1)[0], num_tokens=9)
    assert route.table_version == after.version == 8


# --- unlearn ------------------------------------------------------------------------------------

SOURCES = ("books", "letters", "notes", "songs")


def texts_of(seed: int, *names: str) -> KernelTexts:
    """Return a kernel's record with these sources; each has the same texts whatever others are."""
    texts = KernelTexts(name="k0")
    for name in names:
        texts = texts.learn(name, basins(seed + SOURCES.index(name), 7))
    return texts


def table_of(seed: int, texts: KernelTexts) -> Table:
    """Return a table whose first kernel has this text."""
    made = table(basins(seed + 50, 4))
    basin_K = texts.basin()
    first = replace(made.sites[0], basin_K=basin_K, bearing_K=bearing(basin_K, BACKGROUND))
    return replace(made, sites=(first, *made.sites[1:]))


@given(seeds, st.permutations(SOURCES), st.integers(1, 3), rules)
@settings(max_examples=40)
def test_what_was_unlearned_is_to_the_bit_as_if_never_read(
    seed: int, order: list[str], count: int, rule: Rule
) -> None:
    texts = texts_of(seed, *SOURCES)
    before = after = table_of(seed, texts)
    for source in order[:count]:
        after = unlearn_text(unpack_table(pack_table(after)), texts, source)
    never = table_of(seed, texts_of(seed, *order[count:]))
    assert kept(before, after, "k0")
    assert after.sites[0].unlearned == tuple(order[:count])
    assert after.version == before.version + count
    forgot = replace(after.sites[0], unlearned=())
    assert bits(replace(after, sites=(forgot, *after.sites[1:]))) == bits(never)
    # The route as a whole is what it would have been: by any query, under both rules.
    queries_NK = basins(seed + 99, 60)
    assert moves(never, after, queries_NK, rule) == set()
    assert all("k0" in pair for pair in moves(before, after, queries_NK, rule))


def test_what_cannot_be_unlearned_is_refused_and_says_why() -> None:
    texts = texts_of(0, *SOURCES)
    made = table_of(0, texts)
    forgot = unlearn_text(made, texts, "books")
    for source in ("books", "poems"):  # gone already, never there
        with pytest.raises(GrowthRefused, match=r"of 3 sources the first: letters, notes, songs"):
            unlearn_text(forgot, texts, source)
    with pytest.raises(GrowthRefused, match="not this table's"):
        unlearn_text(made, texts_of(1, *SOURCES), "books")
    alone = texts_of(0, "books")
    with pytest.raises(GrowthRefused, match="all its text"):
        unlearn_text(table_of(0, alone), alone, "books")
    with pytest.raises(UnknownKernel):
        unlearn_text(made, replace(texts, name="k9"), "books")
    full = replace(made.sites[0], unlearned=tuple(f"gone-{n}" for n in range(UNLEARNED_MAX)))
    with pytest.raises(GrowthRefused, match=f"{UNLEARNED_MAX} sources"):
        unlearn_text(replace(made, sites=(full, *made.sites[1:])), texts, "books")


@pytest.mark.parametrize("rule", Rule)
def test_a_kernel_that_shares_its_queries_keeps_its_text_until_the_other_has_left(
    rule: Rule,
) -> None:
    texts = texts_of(3, *SOURCES)
    made = table_of(3, texts)
    spawned = spawn_kernel(made, "k0", "child", queries_of(made, "k0", 1, rule))
    with pytest.raises(GrowthRefused, match="spawned"):
        unlearn_text(spawned, texts, "books")
    with pytest.raises(GrowthRefused, match="spawned"):
        unlearn_text(spawned, replace(texts, name="child"), "books")
    alone = retire_kernel(spawned, "child")
    assert bits(unlearn_text(alone, texts, "books")) == bits(unlearn_text(made, texts, "books"))
    # In the other order the kernel's memory of its text outlives the split.
    forgot = unlearn_text(made, texts, "books")
    again = spawn_kernel(forgot, "k0", "child", queries_of(forgot, "k0", 1, rule))
    assert bits(retire_kernel(again, "child")) == bits(forgot)
