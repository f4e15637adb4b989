"""Sources by the name of their file, and the names nearest to one that was mistyped."""

import pytest

from constellation.routing.source_names import nearest_names, parts_of

PARTS = ("act1.txt#0", "act1.txt#1", "act10.txt", "act1.txt.bak", "plays.jsonl:1")
NAMES = (*PARTS, "plays.jsonl:2#0", "plays.jsonl:2#1")


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("act1.txt", ("act1.txt#0", "act1.txt#1")),
        ("act1.txt#1", ("act1.txt#1",)),
        ("act10.txt", ("act10.txt",)),
        ("plays.jsonl", ("plays.jsonl:1", "plays.jsonl:2#0", "plays.jsonl:2#1")),
        ("plays.jsonl:2", ("plays.jsonl:2#0", "plays.jsonl:2#1")),
        ("act1", ()),
        ("plays", ()),
    ],
)
def test_a_file_stands_for_its_parts_and_a_part_for_itself(
    source: str, parts: tuple[str, ...]
) -> None:
    assert parts_of(source, NAMES) == parts


def test_the_other_parts_of_a_file_are_found_when_one_is_gone() -> None:
    left = [name for name in NAMES if name != "act1.txt#1"]
    assert parts_of("act1.txt", left) == ("act1.txt#0",)


@pytest.mark.parametrize("wrong", ["act1", "ACT1.TXT", "plays/atc1.txt"])
def test_the_names_nearest_to_a_mistyped_one_come_first(wrong: str) -> None:
    names = [*(f"z{n}.txt" for n in range(9)), "plays/act1.txt", "plays/act2.txt"]
    assert nearest_names(wrong, names, most=2)[0] == "plays/act1.txt"
    assert len(nearest_names(wrong, names, most=5)) == 5
