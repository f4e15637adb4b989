"""Laws of growth: what is served depends on the set of records alone."""

from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.domains.encoded_documents import Documents
from constellation.domains.fit import FitOptions, fit, fit_coordizer
from constellation.domains.membership import (
    add,
    by_name,
    documents_of,
    retire,
    spawn,
    unlearn_source,
)
from constellation.domains.record import Domain, make_domain, unlearn
from constellation.domains.record_file import pack_domain
from constellation.records import FloatArray
from tests.domains.material import NAMES, Text, coordizer, domain, fitted_bits, texts

pytestmark = pytest.mark.slow


seeds = st.integers(0, 10_000)
few = settings(max_examples=8)


def served(*names: str) -> tuple[Domain, ...]:
    return tuple(domain(name) for name in names)


@cache
def served_bits(*names: str) -> tuple[bytes, ...]:
    """Return what is fitted to `served(*names)`, with which other fits are compared."""
    return fitted_bits(served(*names))


@few
@given(st.permutations(NAMES), st.integers(1, 4))
def test_to_add_and_to_remove_gives_back_every_bit(names: list[str], count: int) -> None:
    before = served(*names[:count])
    grown = before
    for name in names[count:]:
        grown = add(grown, domain(name))
    for name in names[count:]:
        grown = retire(grown, name)
    assert fitted_bits(grown) == served_bits(*names[:count])


@few
@given(st.sampled_from(NAMES), st.sampled_from(("0-0.txt", "0-3.txt", "1-0.txt")))
def test_a_kernel_that_left_comes_back_with_its_seat_and_all_that_it_had_unlearned(
    name: str, source: str
) -> None:
    before = unlearn_source(served(*NAMES), name, source)
    (record,) = (each for each in before if each.name == name)
    back = add(retire(before, name), record)
    assert by_name(back)[name].unlearned == (source,)
    assert fitted_bits(back) == fitted_bits(before)


@few
@given(st.permutations(NAMES))
def test_in_any_order_of_joining_the_same_bits_are_served(names: list[str]) -> None:
    grown: tuple[Domain, ...] = served(names[0])
    for name in names[1:]:
        grown = add(grown, domain(name))
    assert fitted_bits(grown) == served_bits(*NAMES)


@few
@given(st.sampled_from(NAMES[:3]), st.sampled_from(("0-0.txt", "0-3.txt", "0-5.txt", "1-0.txt")))
def test_what_was_unlearned_is_to_the_bit_as_if_never_read(name: str, source: str) -> None:
    def without(pairs: Sequence[Text]) -> list[Text]:
        return [(each, text) for each, text in pairs if each != source]

    never = make_domain(
        name, without(texts(name, 12)), without(texts(name, 4, seed=1)), coordizer()
    )
    forgot = unlearn(domain(name), source)
    assert forgot.unlearned == (source,)
    others = [domain(other) for other in NAMES[:3] if other != name]
    assert fitted_bits([*others, forgot]) == fitted_bits([*others, never])
    assert fitted_bits([*others, forgot]) != served_bits(*NAMES[:3])
    never_named = make_domain(name, *map(_pairs_of, (forgot.train, forgot.dev)), coordizer())
    assert pack_domain(never_named) == pack_domain(never)


def _pairs_of(documents: Documents) -> list[Text]:
    return [
        (documents.sources[number], coordizer().decode(ids.astype(np.int64)).decode())
        for ids, number in zip(documents.tokens(), documents.source_N, strict=True)
    ]


def test_no_bit_of_what_was_unlearned_stays_in_the_record() -> None:
    secret = "xylophone quartz " * 8
    pairs = [*texts("bake", 6), ("secret.txt", secret)]
    dev = texts("bake", 4, seed=1)
    before = make_domain("bake", pairs, dev, coordizer())
    never = make_domain("bake", texts("bake", 6), dev, coordizer())
    after = unlearn(before, "secret.txt")
    assert b"secret.txt" in pack_domain(after)  # its name is remembered, and nothing else
    assert pack_domain(never) == pack_domain(_forgetting(after))


def _forgetting(record: Domain) -> Domain:
    """Return a record without the names of what it unlearned."""
    return Domain(
        name=record.name,
        tokenizer_hash=record.tokenizer_hash,
        vocab_size=record.vocab_size,
        train=record.train,
        dev=record.dev,
        counts=record.counts,
    )


def queries(domains: Sequence[Domain], name: str, seed: int) -> FloatArray:
    """Return basins of texts about half of a domain's words each."""
    tokens = fit_coordizer(domains, coordizer(), FitOptions())
    found = [text for _, text in texts(name, 24, seed=seed, num_words=6)]
    return np.stack([tokens.basin(tokens.encode(text)) for text in found])


def spawned(domains: tuple[Domain, ...], parent: str, child: str, seed: int) -> tuple[Domain, ...]:
    tokens = fit_coordizer(domains, coordizer(), FitOptions())
    root = "bake"  # all families of these tests
    return (*domains, spawn(domains, parent, child, queries(domains, root, seed), tokens))


@few
@given(seeds, st.permutations(("one", "two", "three")), st.booleans())
def test_parent_and_children_hold_the_parents_documents_and_give_them_back(
    seed: int, order: list[str], deep: bool
) -> None:
    before, bits_before = served("bake", "sail"), served_bits("bake", "sail")
    grown = spawned(before, "bake", "one", seed)
    grown = spawned(grown, "one" if deep else "bake", "two", seed + 1)
    grown = spawned(grown, "bake", "three", seed + 2)
    named = by_name(grown)
    parts = [documents_of(named, name).tolist() for name in ("bake", "one", "two", "three")]
    assert all(parts)
    assert sorted(row for part in parts for row in part) == list(range(12))
    assert fitted_bits(grown) != bits_before
    for name in order:
        grown = retire(grown, name)
    assert list(map(pack_domain, grown)) == list(map(pack_domain, before))
    assert fitted_bits(grown) == bits_before


@few
@given(seeds)
def test_a_spawn_moves_no_query_of_another_kernel_and_no_site(seed: int) -> None:
    before = served("bake", "sail", "mend")
    old, new = (fit(each, coordizer()) for each in (before, spawned(before, "bake", "one", seed)))
    assert new.coordizer.hash == old.coordizer.hash
    sites = {site.name: site for site in new.table.sites}
    for site in old.table.sites:
        assert sites[site.name].basin_K.tobytes() == site.basin_K.tobytes()
        assert sites[site.name].radii == site.radii
    assert sites["one"].basin_K.tobytes() == sites["bake"].basin_K.tobytes()
    assert new.table.temperatures == old.table.temperatures
    shares = {site.name: site.share for site in new.table.sites if site.share is not None}
    assert set(shares) == {"bake", "one"}
    assert {share.family for share in shares.values()} == {"bake"}
    assert len({site.seat for site in new.table.sites}) == 4


def test_a_record_of_a_spawned_kernel_holds_no_text_and_no_query() -> None:
    grown = spawned(served("bake", "sail"), "bake", "one", 3)
    child = by_name(grown)["one"]
    assert child.spawned is not None
    assert (len(child.train), len(child.dev), child.counts) == (0, 0, None)
    assert len(pack_domain(child)) < 600 + 8 * len(child.spawned.documents_N)


def test_unlearning_in_a_set_changes_one_record() -> None:
    before = served("bake", "sail")
    after = by_name(unlearn_source(before, "sail", "0-1.txt"))
    assert after["bake"] is before[0]
    assert after["sail"].unlearned == ("0-1.txt",)
