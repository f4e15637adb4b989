"""A replay says of every query exactly what a router decides that serves the release."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.registry_messages import Snapshot
from actors.router.host import RouterHost
from actors.spec import RouterOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ArtifactError
from constellation.records import Route, RoutingOptions, Rule
from constellation.releases.query_file import Query
from constellation.releases.replay import (
    MovedPair,
    ReleaseRouter,
    Terms,
    replay,
    report,
)
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import load_table, save_table
from tests.releases.conftest import publish
from tests.routing.tables import refusal
from tests.support.artifacts import MODULES, PROMPTS, documents_of
from tests.support.coordizers import Fixed

TERMS = Terms(rule=Rule.BEARING, top_k=2, phi_weighting=True)
ALL_TERMS = [
    TERMS,
    Terms(rule=Rule.GEODESIC, top_k=240, phi_weighting=True),
    Terms(rule=Rule.BEARING, top_k=3, phi_weighting=False),
]
STRANGE = ["  ", "\n", "a", " a ", "\ufeff", "日本語のテキスト", "🙂" * 50, "\0", "x" * 5000]


def some_queries() -> list[Query]:
    """Return texts of all domains and lengths, and strange ones."""
    draw = np.random.default_rng(0)
    texts = [part for modules in MODULES.values() for part in documents_of(modules)]
    starts = draw.integers(0, 1200, len(texts))
    lengths = draw.integers(1, 300, len(texts))
    cut = [
        text[start : start + length]
        for text, start, length in zip(texts, starts, lengths, strict=True)
    ]
    every = [text for text in [*cut, *STRANGE, *PROMPTS.values()] if text]
    return [Query(line=number, text=text) for number, text in enumerate(every, start=1)]


QUERIES = some_queries()


@pytest.fixture
def two(store: ReleaseStore, workshop: Path) -> ReleaseStore:
    """Return a store whose second release has other sites, gauges, thresholds and coordinates."""
    publish(store, workshop)
    store.switch(1)
    coordizer = Coordizer.load(workshop / "coordizer")
    old = coordizer.coordinates
    counts_VK = old.counts_VK.copy()
    counts_VK[::3] = counts_VK[::3, ::-1]
    fresh = coordizer.with_coordinates(replace(old, counts_VK=counts_VK))
    fresh.save(workshop / "coordizer")
    path = workshop / "table.msgpack"
    table = load_table(path)
    sites = [
        replace(site, phi_gauge=gauge)
        for site, gauge in zip(table.sites, (0.1, 0.9, None), strict=True)
    ]
    changed = replace(table, coordizer_hash=fresh.hash, sites=tuple(sites[::-1]))
    save_table(path, replace(changed, refusal=refusal(0)))
    publish(store, workshop)
    return store


def live_routes(folder: Path, terms: Terms, queries: list[Query]) -> Iterator[Route]:
    """Return what a router that serves a folder decides, without a process of its own."""
    table = load_table(folder / "table.msgpack")
    # Kernels are up, though nobody calls them here.
    up = tuple(replace(site, endpoint=f"127.0.0.1:{n}") for n, site in enumerate(table.sites, 1))
    options = RouterOptions(rule=terms.rule, top_k=terms.top_k, phi_weighting=terms.phi_weighting)

    async def ask() -> list[Route]:
        router = RouterHost(Fixed(Coordizer.load(folder / "coordizer")), options, token=None)
        await router.update(Snapshot(table=replace(table, sites=up), health={}, registry_pid=1))
        try:
            asked = [await router.route(query.text or "", RoutingOptions()) for query in queries]
        finally:
            await router._links.close()
        return [route for route, _ in asked]

    yield from asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.parametrize("terms", ALL_TERMS, ids=str)
def test_every_route_of_a_replay_is_the_live_one_to_the_bit(
    two: ReleaseStore, terms: Terms
) -> None:
    before = live_routes(two.folder(1), terms, QUERIES)
    after = live_routes(two.folder(2), terms, QUERIES)
    replayed = list(replay(two, 2, QUERIES, terms))
    assert [each.before for each in replayed] == list(before)
    assert [each.after for each in replayed] == list(after)
    moved = [each for each in replayed if each.moved]
    assert 10 < len(moved) < len(replayed)
    assert len(replayed) == len(QUERIES)


def test_a_router_that_has_kernels_down_is_another_matter(two: ReleaseStore) -> None:
    """Of the table's endpoints nothing is read: a release has none."""
    assert all(site.endpoint is None for site in load_table(two.folder(1) / "table.msgpack").sites)
    router = ReleaseRouter(two.folder(1), TERMS)
    route = router.decide(router.evidence(PROMPTS["mail"]))
    assert (route.kernel, route.reason) == ("mail", "nearest")


@pytest.mark.slow
def test_a_report_counts_what_moves_and_lists_as_many_as_wanted(two: ReleaseStore) -> None:
    queries = [*QUERIES, Query(line=len(QUERIES) + 1, text=None)]
    told = report(two, 2, queries, TERMS, listed_max=5)
    moved = [each for each in replay(two, 2, QUERIES, TERMS) if each.moved]
    assert (told.before, told.after) == (1, 2)
    assert (told.num_queries, told.num_passed_over) == (len(QUERIES), 1)
    assert told.num_moved == len(moved) == sum(pair.num_queries for pair in told.pairs)
    assert [each.line for each in told.moved] == [each.line for each in moved[:5]]
    assert told.pairs == tuple(
        sorted(told.pairs, key=lambda pair: (-pair.num_queries, pair.before, pair.after))
    )
    first = told.pairs[0]
    assert first.num_queries == sum(
        (each.before.kernel, each.after.kernel) == (first.before, first.after) for each in moved
    )
    outside = [
        (each.before.out_of_domain, each.after.out_of_domain)
        for each in replay(two, 2, QUERIES, TERMS)
    ]
    assert told.num_newly_out_of_domain == outside.count((False, True))
    assert told.num_no_longer_out_of_domain == outside.count((True, False))
    assert told.num_newly_out_of_domain + told.num_no_longer_out_of_domain > 0
    assert report(two, 2, QUERIES, TERMS, listed_max=0).moved == ()


@pytest.mark.slow
def test_the_way_back_moves_the_same_queries(two: ReleaseStore) -> None:
    there = report(two, 2, QUERIES, TERMS)
    two.switch(2)
    back = report(two, 1, QUERIES, TERMS)
    two.switch(1)
    assert back.num_moved == there.num_moved
    assert {(pair.after, pair.before, pair.num_queries) for pair in back.pairs} == {
        (pair.before, pair.after, pair.num_queries) for pair in there.pairs
    }
    same = report(two, 1, QUERIES, TERMS)
    assert (same.num_moved, same.pairs, same.moved) == (0, (), ())
    assert there.pairs
    assert isinstance(there.pairs[0], MovedPair)


def test_queries_are_read_one_at_a_time(two: ReleaseStore) -> None:
    """A log of any length is replayed in the memory of one of its queries."""
    taken: list[int] = []

    def endless() -> Iterator[Query]:
        for query in QUERIES:
            taken.append(query.line)
            yield query

    each = replay(two, 2, endless(), TERMS)
    next(each)
    next(each)
    assert taken == [1, 2]


def test_without_a_current_release_there_is_nothing_to_compare_with(
    store: ReleaseStore, workshop: Path
) -> None:
    publish(store, workshop)
    with pytest.raises(ArtifactError, match="no release is current"):
        report(store, 1, QUERIES, TERMS)
    store.switch(1)
    assert report(store, 1, QUERIES[:2], TERMS).num_moved == 0


def test_a_release_whose_files_do_not_belong_together_is_refused(two: ReleaseStore) -> None:
    mixed = replace(two.read(1), table=two.read(2).table)
    version = two.write(mixed).version
    with pytest.raises(ArtifactError, match="made with another coordizer"):
        list(replay(two, version, QUERIES, TERMS))
