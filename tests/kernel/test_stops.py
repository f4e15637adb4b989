"""A stop string is found wherever pieces begin and end, and nothing of it is let through."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.kernel.writing.stop_strings import StopStrings

letters = st.text("ab", max_size=12)
stops = st.lists(st.text("ab", min_size=1, max_size=5), max_size=4)


def through(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    watch = StopStrings(stops)
    sent = "".join(watch.feed(piece) for piece in pieces)
    return (sent if watch.stopped else sent + watch.flush()), watch.stopped


def character_by_character(stops: list[str], text: str) -> tuple[str, bool]:
    for end in range(1, len(text) + 1):
        complete = [stop for stop in stops if text[:end].endswith(stop)]
        if complete:
            return text[: end - max(map(len, complete))], True
    return text, False


@given(stops, st.lists(letters, max_size=6))
def test_pieces_make_no_difference(stops: list[str], pieces: list[str]) -> None:
    assert through(stops, pieces) == character_by_character(stops, "".join(pieces))


@given(stops, st.lists(letters, max_size=6))
def test_what_was_let_through_is_never_part_of_a_stop_string(
    stops: list[str], pieces: list[str]
) -> None:
    watch, sent = StopStrings(stops), ""
    expected, _ = character_by_character(stops, "".join(pieces))
    for piece in pieces:
        sent += watch.feed(piece)
        assert expected.startswith(sent)


@pytest.mark.parametrize(
    ("stops", "pieces", "sent"),
    [
        (["\n\n"], ["one", "\n", "two\n", "\nthree"], "one\ntwo"),
        (["abcdef", "cd"], ["abc", "def"], "ab"),  # "cd" is complete first
        (["bc", "abc"], ["a", "b", "c"], ""),  # both are, at the same character
        (["é!"], ["th", "é", "?"], "thé?"),
    ],
)
def test_examples(stops: list[str], pieces: list[str], sent: str) -> None:
    assert through(stops, pieces)[0] == sent


def test_text_that_no_stop_begins_with_is_not_held_back() -> None:
    watch = StopStrings(["stop"])
    assert [watch.feed(text) for text in ("go", " st", "ay ", "s")] == ["go", " ", "stay ", ""]
    assert watch.flush() == "s"
