"""Answers that break off anywhere, any number of times, are what they would have been."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer.text_stream import TextStream
from constellation.kernel.writing.stop_strings import StopStrings
from constellation.records import Segment
from constellation.runtime.continuation import Relay

TOKENS = ["a", "b", "ab", "é", "日本"]
BYTES = [byte for text in TOKENS for byte in (text.encode(), *(bytes([b]) for b in text.encode()))]
"""Whole texts and single bytes, so that tokens end within characters."""

SCRIPTS = st.lists(st.integers(0, len(BYTES) - 1), min_size=1, max_size=24)
STOPS = st.lists(st.sampled_from(["ab", "ba", "aab", "éa", "本"]), max_size=2)
BREAKS = st.lists(st.integers(0, 6), max_size=8)
"""Pieces that arrive before each break."""


def pieces(
    script: Sequence[int], stops: Sequence[str], produced: Sequence[int]
) -> list[tuple[str, list[int], bool]]:
    """Write a text as a kernel does that goes on after `produced`: text, tokens, whether it ends.

    As in a kernel host, text leaves when there is some, with the tokens since the last text.
    """
    stream, watch = TextStream(BYTES.__getitem__), StopStrings(stops)
    for token in produced:
        watch.feed(stream.feed(token))
    said, waiting = [], []
    for place in range(len(produced), len(script)):
        text, is_last = stream.feed(script[place]), place == len(script) - 1
        waiting.append(script[place])
        text = watch.feed(text + stream.flush() if is_last else text)
        if is_last and not watch.stopped:
            text += watch.flush()
        if text or is_last or watch.stopped:
            said.append((text, waiting, is_last or watch.stopped))
            waiting = []
        if watch.stopped:
            break
    return said


@given(SCRIPTS, STOPS, BREAKS)
def test_any_breaks_anywhere_give_the_undisturbed_answer(
    script: list[int], stops: list[str], breaks: list[int]
) -> None:
    whole = pieces(script, stops, ())
    relay, text, ended = Relay(), "", False
    for number, num_pieces in enumerate([*breaks, len(script)]):
        relay.begin(f"kernel {number}", "failover")
        for said, tokens, ends in pieces(script, stops, relay.produced)[:num_pieces]:
            assert not ended
            relay.note(said, tokens, len(tokens))
            text += said
            ended = ends
        if ended:
            break
    assert ended
    assert text == "".join(said for said, _, _ in whole)
    assert relay.produced == [token for _, tokens, _ in whole for token in tokens]
    assert relay.has_ids
    assert relay.text == text


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=12))
def test_segments_say_for_every_token_who_wrote_it(turns: list[tuple[str, int]]) -> None:
    relay, writers = Relay(), []
    for kernel, num_tokens in turns:
        relay.begin(kernel, "failover")
        relay.note("", [7] * num_tokens, num_tokens)
        writers += [kernel] * num_tokens
    segments = relay.segments
    if not segments:
        assert len(set(writers)) <= 1 or len(turns) == 1
        return
    assert segments[0].first == 0
    firsts = [segment.first for segment in segments]
    assert firsts == sorted(set(firsts))
    ends = [*firsts[1:], len(writers)]
    said = [
        segment.kernel
        for segment, end in zip(segments, ends, strict=True)
        for _ in range(segment.first, end)
    ]
    assert said == writers


def test_one_kernel_that_wrote_all_is_no_list_of_segments() -> None:
    relay = Relay()
    relay.begin("a", "nearest")
    relay.note("xy", [1, 2], 2)
    assert relay.segments == ()
    relay.begin("b", "failover")
    relay.begin("c", "failover")  # "b" was lost before it wrote
    assert relay.segments == (
        Segment(kernel="a", first=0, reason="nearest"),
        Segment(kernel="c", first=2, reason="failover"),
    )


@pytest.mark.parametrize("tokens", [(), (5,)])
def test_without_the_ids_of_all_tokens_others_go_on_by_the_text(tokens: tuple[int, ...]) -> None:
    relay = Relay()
    relay.begin("a", "nearest")
    relay.note("say ", (1,), 1)
    assert relay.has_ids
    relay.begin("b", "failover")
    relay.note("it", tokens, 2)
    relay.begin("c", "failover")
    assert relay.started
    assert not relay.has_ids
    assert (relay.text, relay.num_tokens) == ("say it", 3)
    assert [segment.first for segment in relay.segments] == [0, 1, 3]


def test_kernels_that_write_together_begin_a_segment_even_under_the_same_leader() -> None:
    relay = Relay()
    relay.begin("a", "nearest", {"a": 0.75, "b": 0.25})
    relay.note("x", [1], 1)
    relay.begin("a", "failover", {"a": 0.5, "c": 0.5})
    assert relay.segments == (
        Segment(kernel="a", first=0, reason="nearest", weights={"a": 0.75, "b": 0.25}),
        Segment(kernel="a", first=1, reason="failover", weights={"a": 0.5, "c": 0.5}),
    )
