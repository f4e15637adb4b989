"""Which changes of a set of records are refused, and how a parent's documents are divided."""

from dataclasses import replace

import numpy as np
import pytest

from constellation.domains.fit import FitOptions, fit_coordizer
from constellation.domains.membership import (
    KERNELS_MAX,
    SPLIT_QUERIES_MIN,
    SPLIT_SHARE_MIN,
    add,
    by_name,
    documents_of,
    retire,
    spawn,
    unlearn_source,
)
from constellation.domains.record import Domain, make_domain, unlearn
from constellation.domains.record_file import pack_domain
from constellation.errors import GrowthRefused, IncompatibleKernels, InvalidRequest, UnknownKernel
from constellation.records import FloatArray
from tests.domains.material import WORDS, coordizer, domain, texts


def served() -> tuple[Domain, ...]:
    return (domain("bake"), domain("sail"))


def basins(found: list[str]) -> FloatArray:
    tokens = fit_coordizer(served(), coordizer(), FitOptions())
    return np.stack([tokens.basin(tokens.encode(text)) for text in found])


def halves() -> list[str]:
    """Return queries of the first half of the words of `bake`, and of the second."""
    words = WORDS["bake"].split()
    return [f"{one} {other}" for part in (words[:7], words[7:]) for one in part for other in part]


def spawned(parent: str = "bake", child: str = "rye") -> tuple[Domain, ...]:
    tokens = fit_coordizer(served(), coordizer(), FitOptions())
    return (*served(), spawn(served(), parent, child, basins(halves()), tokens))


def test_a_kernel_joins_under_a_new_name_with_tokens_of_the_same_vocabulary() -> None:
    assert [each.name for each in add(served(), domain("mend"))] == ["bake", "mend", "sail"]
    with pytest.raises(GrowthRefused, match="the name is taken"):
        add(served(), domain("bake"))
    with pytest.raises(IncompatibleKernels):
        add(served(), replace(domain("mend"), tokenizer_hash="other"))
    with pytest.raises(GrowthRefused, match="spawn it from 'bake'"):
        add(served(), by_name(spawned())["rye"])


def test_a_full_table_takes_no_more() -> None:
    full = [replace(domain("bake"), name=f"k{number}") for number in range(KERNELS_MAX)]
    with pytest.raises(GrowthRefused, match=f"{KERNELS_MAX} kernels already"):
        add(full, domain("sail"))
    with pytest.raises(GrowthRefused, match=f"{KERNELS_MAX} kernels already"):
        spawn(full, "k0", "one", basins(halves()), coordizer())


def test_the_last_kernel_stays_and_a_stranger_is_unknown() -> None:
    with pytest.raises(GrowthRefused, match="only kernel"):
        retire([domain("bake")], "bake")
    with pytest.raises(UnknownKernel):
        retire(served(), "walk")


def test_a_kernel_whose_text_is_shared_neither_leaves_nor_unlearns() -> None:
    with pytest.raises(GrowthRefused, match="rye"):
        retire(spawned(), "bake")
    with pytest.raises(GrowthRefused, match="rye"):
        unlearn_source(spawned(), "bake", "0-1.txt")
    with pytest.raises(GrowthRefused, match="shares its queries"):
        unlearn_source(spawned(), "rye", "0-1.txt")


def test_a_spawn_needs_queries_that_can_be_told_apart() -> None:
    tokens = fit_coordizer(served(), coordizer(), FitOptions())
    few_NK = basins(halves()[: SPLIT_QUERIES_MIN - 1])
    with pytest.raises(GrowthRefused, match=f"needs at least {SPLIT_QUERIES_MIN};"):
        spawn(served(), "bake", "rye", few_NK, tokens)
    with pytest.raises(GrowthRefused, match="too similar to be divided"):
        spawn(served(), "bake", "rye", np.repeat(few_NK[:1], 20, axis=0), tokens)
    with pytest.raises(GrowthRefused, match="the name is taken"):
        spawn(served(), "bake", "sail", few_NK, tokens)
    with pytest.raises(UnknownKernel):
        spawn(served(), "walk", "rye", few_NK, tokens)
    with pytest.raises(InvalidRequest):
        spawn(served(), "bake", "../rye", few_NK, tokens)


def test_a_kernel_of_one_document_is_not_divided() -> None:
    alone = make_domain("bake", texts("bake", 1), texts("bake", 1, seed=1), coordizer())
    with pytest.raises(GrowthRefused, match="has 1 documents; a spawn needs 2"):
        spawn([alone, domain("sail")], "bake", "rye", basins(halves()), coordizer())


def test_documents_go_to_the_nearer_centre() -> None:
    """Documents of either half of the words end up with different members."""
    words = WORDS["bake"].split()
    parts = [" ".join(words[:7] * 5), " ".join(words[7:] * 5)] * 6
    record = make_domain(
        "bake",
        [(f"{number}.txt", text) for number, text in enumerate(parts)],
        texts("bake", 4, seed=1),
        coordizer(),
    )
    domains = [record, domain("sail")]
    tokens = fit_coordizer(domains, coordizer(), FitOptions())
    queries_NK = np.stack([tokens.basin(tokens.encode(text)) for text in halves()])
    child = spawn(domains, "bake", "rye", queries_NK, tokens)
    taken = documents_of(by_name([*domains, child]), "rye").tolist()
    assert taken in ([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9, 11])


def test_where_one_side_gets_nothing_the_documents_are_halved() -> None:
    """Queries of another kernel's text: all documents of the parent lie nearer to one centre."""
    tokens = fit_coordizer(served(), coordizer(), FitOptions())
    near = [text for _, text in texts("bake", 16, seed=7)]
    far = [text for _, text in texts("sail", 16, seed=7)]
    child = spawn(served(), "bake", "rye", basins([*near, *far]), tokens)
    named = by_name([*served(), child])
    sizes = [len(documents_of(named, name)) for name in ("bake", "rye")]
    assert min(sizes) >= SPLIT_SHARE_MIN * sum(sizes)
    assert sizes == [6, 6]


def test_a_file_stands_for_its_parts() -> None:
    pairs = [(f"play.txt#{number}", text) for number, (_, text) in enumerate(texts("bake", 6))]
    record = make_domain("bake", [*pairs, *texts("bake", 4)], texts("bake", 4, seed=1), coordizer())
    after = unlearn(record, "play.txt")
    assert after.unlearned == tuple(f"play.txt#{number}" for number in range(6))
    assert after.train.sources == ("0-0.txt", "0-1.txt")
    by_hand = record
    for number in range(6):
        by_hand = unlearn(by_hand, f"play.txt#{number}")
    assert pack_domain(by_hand) == pack_domain(after)
    half = unlearn(record, "play.txt#3")
    rest = tuple(f"play.txt#{number}" for number in (0, 1, 2, 4, 5))
    assert unlearn(half, "play.txt").unlearned == ("play.txt#3", *rest)


@pytest.mark.parametrize("wrong", ["act1", "ACT1.TXT", "plays/atc1.txt"])
def test_a_mistyped_source_is_answered_with_the_names_that_are_nearest(wrong: str) -> None:
    names = [*(f"z{n}.txt" for n in range(9)), "plays/act1.txt", "plays/act2.txt"]
    pairs = [(name, text) for name, (_, text) in zip(names, texts("bake", 11), strict=True)]
    record = make_domain("bake", pairs, texts("bake", 4, seed=1), coordizer())
    with pytest.raises(GrowthRefused, match=r"nearest names: plays/act1\.txt"):
        unlearn(record, wrong)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("0-9.txt", r"it has no source '0-9.txt'; nearest names: .*constellation sources"),
        ("1-0.txt#3", "has no source '1-0.txt#3'"),
    ],
)
def test_a_source_that_is_not_there_is_refused_with_the_nearest(source: str, reason: str) -> None:
    with pytest.raises(GrowthRefused, match=reason):
        unlearn(domain("bake"), source)


def test_all_of_the_text_is_not_unlearned() -> None:
    one = [("a.txt", text) for _, text in texts("bake", 4)]
    other = [("b.txt", text) for _, text in texts("bake", 4, seed=1)]
    with pytest.raises(GrowthRefused, match="remove the kernel instead"):
        unlearn(make_domain("bake", one, other, coordizer()), "a.txt")
    with pytest.raises(GrowthRefused, match="held-out"):
        unlearn(make_domain("bake", one, other, coordizer()), "b.txt")


def test_what_is_unlearned_twice_is_unknown_the_second_time() -> None:
    after = unlearn(domain("bake"), "0-2.txt")
    with pytest.raises(GrowthRefused, match="has no source"):
        unlearn(after, "0-2.txt")
    assert unlearn(after, "0-3.txt").unlearned == ("0-2.txt", "0-3.txt")
