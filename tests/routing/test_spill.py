"""A crowded kernel's queries go to the next nearest, never out of a domain that they are in."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.records import Mode, Route, Rule
from constellation.routing.policy import RoutingPolicy
from tests.routing.tables import basins, table

seeds = st.integers(0, 10_000)
NAMES = [f"k{number}" for number in range(6)]
crowds = st.sets(st.sampled_from(NAMES))


def decide(seed: int, radius: float, **options: object) -> Route:
    made = table(basins(seed, 6))
    sites = tuple(replace(site, radii=dict.fromkeys(Rule, radius)) for site in made.sites)
    policy = RoutingPolicy(replace(made, sites=sites))
    return policy.decide(basins(seed + 1, 1)[0], num_tokens=5, **options)  # type: ignore[arg-type]


@given(seeds, st.floats(0.2, 3.0), crowds, crowds)
def test_a_query_spills_to_the_nearest_that_may_have_it(
    seed: int, radius: float, crowded: set[str], excluded: set[str]
) -> None:
    if len(excluded) == len(NAMES):
        return
    calm = decide(seed, radius, excluded=excluded)
    route = decide(seed, radius, excluded=excluded, crowded=crowded)
    allowed = [
        choice.kernel
        for choice in route.choices
        if choice.kernel not in crowded
        and (choice.distance <= choice.radius or not calm.choices[0].distance <= radius)
    ]
    if calm.kernel not in crowded:
        assert route == calm
    elif not allowed:
        assert route == calm  # it waits, or is refused, where it is at home
    else:
        assert (route.kernel, route.reason) == (allowed[0], "spill")
        assert route.kernel != calm.kernel
    assert route.choices == calm.choices
    assert route.kernel not in excluded


@pytest.mark.slow
@given(seeds, crowds, st.sampled_from(NAMES))
def test_a_kernel_that_was_named_keeps_its_queries(
    seed: int, crowded: set[str], pinned: str
) -> None:
    route = decide(seed, 3.0, crowded=crowded, pinned=pinned)
    assert (route.kernel, route.reason) == (pinned, "pinned")


@given(seeds, st.sampled_from([Mode.MIXTURE, Mode.POSTERIOR]))
def test_a_kernel_that_leads_others_keeps_its_queries(seed: int, mode: Mode) -> None:
    assert decide(seed, 3.0, crowded=NAMES, mode=mode).reason == "nearest"
    assert decide(seed, 3.0, crowded=NAMES[:5], mode=mode) == decide(seed, 3.0, mode=mode)
