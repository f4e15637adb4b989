"""Requests sent again: events in, compared with a store that never forgets and counts by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import InvalidRequest
from constellation.runtime.idempotency import Repeats

EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "finish", "give up"]),
        st.integers(0, 5),  # which id
        st.integers(0, 40),  # bytes of the answer
        st.floats(0, 4),  # seconds since the event before
    ),
    max_size=60,
)


@given(EVENTS)
def test_an_answer_is_found_while_it_is_young_and_among_the_newest(
    events: list[tuple[str, int, int, float]],
) -> None:
    store: Repeats[str] = Repeats(kept_s=10.0, bytes_max=100, answers_max=3)
    given_answers: dict[int, tuple[str, int, float]] = {}  # newest last
    running: set[int] = set()
    now_s = 0.0
    for number, (event, key, size, pause_s) in enumerate(events):
        now_s += pause_s
        if event == "ask":
            kept = store.find(key, b"same", now_s=now_s)
            for old in [k for k, (_, _, since_s) in given_answers.items() if now_s - since_s >= 10]:
                del given_answers[old]
            assert (kept and kept.answer) == given_answers.get(key, (None,))[0]
            assert store.is_running(key) == (key in running)
            if kept is None and key not in running:
                store.begin(key, b"same")
                running.add(key)
        elif event == "finish" and key in running:
            running.remove(key)
            store.finish(key, f"answer {number}", size_bytes=size, now_s=now_s)
            given_answers[key] = (f"answer {number}", size, now_s)
            while len(given_answers) > 3 or sum(s for _, s, _ in given_answers.values()) > 100:
                del given_answers[next(iter(given_answers))]
        elif event == "give up":
            store.give_up(key)
            running.discard(key)
        assert store.size_bytes == sum(size for _, size, _ in given_answers.values())
        assert len(store) == len(given_answers)


def test_an_id_stands_for_one_request_under_way_or_answered() -> None:
    store: Repeats[str] = Repeats()
    store.begin(("me", "7"), b"what is asked")
    with pytest.raises(InvalidRequest, match="request_id is '7'"):
        store.find(("me", "7"), b"something else", now_s=0.0)
    store.finish(("me", "7"), "said", size_bytes=4, now_s=0.0)
    with pytest.raises(InvalidRequest):
        store.find(("me", "7"), b"something else", now_s=1.0)
    assert store.find(("you", "7"), b"something else", now_s=1.0) is None  # ids are each client's
    assert store.find(("me", "7"), b"something else", now_s=600.0) is None  # ten minutes later


def test_an_answer_larger_than_all_room_is_not_kept_and_drives_nobody_out() -> None:
    store: Repeats[str] = Repeats(bytes_max=10)
    for key, size in (("small", 4), ("large", 11)):
        store.begin(key, b"")
        store.finish(key, key, size_bytes=size, now_s=0.0)
    assert store.find("large", b"", now_s=0.0) is None
    assert not store.is_running("large")
    kept = store.find("small", b"", now_s=0.0)
    assert kept is not None
    assert kept.answer == "small"
