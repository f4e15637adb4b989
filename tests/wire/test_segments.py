"""Who wrote which part of an answer, and whether it may move: through messages and both doors."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from constellation.client import Client
from constellation.client.replies import Answer
from constellation.records import Finish, FinishReason, Piece, Segment
from constellation.v1 import constellation_pb2
from constellation.wire import convert
from constellation.wire.http.openai_replies import Writer
from tests.wire.fakes import FakeRouter, Served
from tests.wire.http.doors import Door

SEGMENTS = (
    Segment(kernel="python", first=0, reason="nearest"),
    Segment(kernel="law", first=17, reason="failover", weights={"law": 0.75, "mail": 0.25}),
    Segment(kernel="poetry", first=40, reason="handoff"),
)
segments = st.lists(
    st.builds(
        Segment,
        kernel=st.text(max_size=9),
        first=st.integers(0, 4096),
        reason=st.text(max_size=9),
        weights=st.dictionaries(st.text(max_size=9), st.floats(0, 1), max_size=3),
    ),
    max_size=4,
)


def finish(*told: Segment) -> Finish:
    return Finish(
        reason=FinishReason.LENGTH, num_prompt_tokens=3, num_tokens=50, elapsed_s=0.5, segments=told
    )


@given(segments, st.text(max_size=9), st.lists(st.integers(0, 2**31), max_size=5))
def test_segments_after_the_last_reply_are_part_of_one_message(
    told: list[Segment], text: str, tokens: list[int]
) -> None:
    piece = Piece(text=text, num_tokens=len(tokens), finish=finish(), tokens=tuple(tokens))
    reply = convert.piece_to_message(piece).SerializeToString()
    whole = reply + convert.segments_to_message(told).SerializeToString()
    answer = Answer()
    read = answer.add(constellation_pb2.GenerateReply.FromString(whole))
    assert (read.text, read.tokens) == (text, tuple(tokens))
    assert read.finish == finish(*told)
    assert convert.piece_from_bytes(whole) == read
    assert convert.piece_from_bytes(convert.piece_to_message(read).SerializeToString()) == read


def test_http_tells_the_segments_with_the_end_of_an_answer_and_only_when_there_are_some() -> None:
    route = FakeRouter().decide(convert.routing_from_message(constellation_pb2.Routing()))
    expected: list[dict[str, Any]] = [
        {
            "kernel": each.kernel,
            "first": each.first,
            "reason": each.reason,
            "weights": dict(each.weights),
        }
        for each in SEGMENTS
    ]
    for is_chat in (True, False):
        writer = Writer(id="1", created_s=0, model="constellation", is_chat=is_chat)
        last = Piece(text="x", num_tokens=1, finish=finish(*SEGMENTS))
        assert writer.whole(route, last)["constellation"]["segments"] == expected
        assert writer.chunk(None, last)["constellation"] == {"segments": expected}
        plain = Piece(text="x", num_tokens=1, finish=finish())
        assert "segments" not in writer.whole(route, plain)["constellation"]
        assert "constellation" not in writer.chunk(None, plain)


def test_an_answer_may_move_when_either_door_is_told_so() -> None:
    with Served() as served, Client(served.endpoint) as stars:
        stars.ask("a", handoff=True)
        stars.ask("a")
        assert [options.handoff for _, _, options in served.router.calls] == [True, False]
    body = {"model": "constellation", "prompt": "a", "constellation": {"handoff": True}}
    with Door() as door:
        door.call("POST", "/v1/completions", body)
        assert door.router.calls[-1][2].handoff
