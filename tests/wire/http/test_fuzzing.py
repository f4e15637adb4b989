"""Whatever is sent, the answer is 2xx, 4xx or 503, errors are typed, and nothing of us shows."""

import json
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.strange_bodies import GOOD, strange_requests
from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.wire.http import bodies, route_bodies
from tests.wire.http.doors import Door

READERS = {
    "/v1/chat/completions": bodies.chat,
    "/v1/completions": bodies.completion,
    "/v1/embeddings": bodies.embeddings,
    "/v1/route": route_bodies.route_request,
}
SEEDS = st.integers(0, 2**32)


def outcome(path: str, body: bytes) -> str:
    """Read a body; return what became of it."""
    try:
        READERS[path](bodies.parse(body))
    except InvalidRequest as error:
        return error.field.partition("[")[0]
    except InvalidPrompt:
        return "prompt"
    return "read"


@pytest.mark.slow
@settings(max_examples=200)
@given(SEEDS)
def test_every_body_is_read_or_refused(seed: int) -> None:
    for path, body in strange_requests(seed, 25):
        assert isinstance(outcome(path, body), str)


def test_strange_bodies_meet_both_answers() -> None:
    """They are no use if nothing, or everything, is refused."""
    seen = Counter(outcome(path, body) for path, body in strange_requests(0, 2000))
    assert 200 < seen["read"] < 1000
    assert len(seen) > 60


@pytest.mark.slow
@settings(max_examples=40)
@given(SEEDS)
def test_the_server_answers_every_body_as_the_law_says(door: Door, seed: int) -> None:
    for path, body in strange_requests(seed, 25):
        answer = door.call("POST", path, body)
        assert 200 <= answer.status < 300 or 400 <= answer.status < 500 or answer.status == 503
        shown = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        assert b"Traceback" not in shown
        if answer.status >= 400:
            error = answer.body["error"]
            assert set(error) >= {"message", "type", "param", "code"}
            assert isinstance(error["message"], str)
    assert door.guard.num_unexpected == 0


@pytest.mark.parametrize("path", sorted(GOOD))
def test_the_body_that_is_changed_is_good(door: Door, path: str) -> None:
    assert door.call("POST", path, dict(GOOD[path])).status == 200
