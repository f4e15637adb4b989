"""Sources by the name of their file, names that were mistyped, and kernels that come back."""

from dataclasses import replace

import pytest

from constellation.errors import GrowthRefused
from constellation.routing.growth import add_kernel, retire_kernel, unlearn_text
from constellation.routing.sites import KernelTexts
from tests.routing.tables import basins
from tests.routing.test_growth import bits, candidate, table_of


def sources(*names: str) -> KernelTexts:
    """Return a kernel's record with these sources, each of seven texts of its own."""
    texts = KernelTexts(name="k0")
    for number, name in enumerate(names):
        texts = texts.learn(name, basins(number, 7))
    return texts


def test_a_file_that_was_cut_into_parts_is_unlearned_whole() -> None:
    parts = ("act1.txt#0", "act1.txt#1", "act10.txt", "act1.txt.bak", "plays.jsonl:1")
    texts = sources(*parts, "plays.jsonl:2#0", "plays.jsonl:2#1")
    made = table_of(0, texts)
    one = unlearn_text(made, texts, "act1.txt")
    assert one.sites[0].unlearned == ("act1.txt#0", "act1.txt#1")
    by_hand = unlearn_text(unlearn_text(made, texts, "act1.txt#0"), texts, "act1.txt#1")
    assert bits(one) == bits(by_hand)
    lines = unlearn_text(one, texts, "plays.jsonl").sites[0].unlearned[2:]
    assert lines == ("plays.jsonl:1", "plays.jsonl:2#0", "plays.jsonl:2#1")
    half = unlearn_text(made, texts, "act1.txt#1")
    assert unlearn_text(half, texts, "act1.txt").sites[0].unlearned == ("act1.txt#1", "act1.txt#0")


def test_a_mistyped_source_is_answered_with_the_names_that_are_nearest() -> None:
    texts = sources(*(f"z{n}.txt" for n in range(9)), "plays/act1.txt", "plays/act2.txt")
    for wrong in ("act1", "ACT1.TXT", "plays/atc1.txt"):
        with pytest.raises(GrowthRefused, match=r"nearest names: plays/act1\.txt") as refused:
            unlearn_text(table_of(0, texts), texts, wrong)
        assert "constellation sources k0" in str(refused.value)


def test_a_kernel_that_left_comes_back_with_seat_and_all_that_it_had_unlearned() -> None:
    texts = sources("books", "letters")
    made = unlearn_text(table_of(0, texts), texts, "books")
    (site,) = (site for site in made.sites if site.name == "k0")
    alone = replace(made, version=1, temperatures={}, sites=(site,))
    gone = retire_kernel(made, "k0")
    back = add_kernel(gone, alone)
    assert bits(replace(back, sites=back.sites[-1:])) == bits(replace(made, sites=(site,)))
    newcomer = replace(candidate(9).sites[0], seat=site.seat)
    taken = add_kernel(gone, replace(candidate(9), sites=(newcomer,)))
    assert taken.sites[-1].seat == site.seat
    assert add_kernel(taken, alone).sites[-1].seat != site.seat
