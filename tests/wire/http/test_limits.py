"""Who may call the HTTP door, how much they may send, and how long they may take."""

import asyncio
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from constellation.errors import DeploymentError
from constellation.wire.channel import MESSAGE_BYTES_MAX, Bind
from constellation.wire.convert import TEXT_BYTES_MAX
from constellation.wire.http import connection
from constellation.wire.http.connection import PIPELINED_MAX
from tests.wire.http.doors import Answer, Door

TOKEN = "a secret of many characters"
ASKED = {"model": "constellation", "prompt": "a b"}


@pytest.fixture(scope="module")
def guarded() -> Iterator[Door]:
    with Door(Bind(token=TOKEN)) as door:
        yield door


def ask(door: Door, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return door.call("POST", "/v1/completions", ASKED, headers=sent)


def exchange(door: Door, data: bytes) -> bytes:
    """Send bytes as they are; return all that comes back until the server closes."""
    with socket.create_connection(door.address, timeout=10) as caller:
        caller.sendall(data)
        return b"".join(iter(lambda: caller.recv(65_536), b""))


def problem_in(reply: bytes) -> dict[str, Any]:
    head, _, body = reply.partition(b"\r\n\r\n")
    assert b"application/json" in head
    error: dict[str, Any] = json.loads(body)["error"]
    return error


# --- who -----------------------------------------------------------------------------------------

WRONG = {
    "missing": {},
    "empty": {"Authorization": ""},
    "no scheme": {"Authorization": TOKEN},
    "another": {"Authorization": "Bearer another secret of many characters"},
    "prefix": {"Authorization": f"Bearer {TOKEN[:-1]}"},
    "longer": {"Authorization": f"Bearer {TOKEN}x"},
    "not ASCII": {"Authorization": "Bearer \xe9"},
    "other header": {"X-Api-Key": TOKEN},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", "/openapi.json", "/nothing"])
def test_a_missing_and_a_wrong_token_get_the_same_answer(
    guarded: Door, headers: dict[str, str], path: str
) -> None:
    answer = guarded.call("POST", path, ASKED, headers=headers)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.body["error"]["code"] == "invalid_api_key"
    assert guarded.router.calls == []


def test_the_token_opens_the_door_and_health_needs_none(guarded: Door) -> None:
    assert ask(guarded, Authorization=f"Bearer {TOKEN}").status == 200
    guarded.router.calls.clear()
    assert guarded.call("GET", "/health").status == 200


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer "])
def test_the_scheme_is_read_without_regard_to_letter_case(guarded: Door, scheme: str) -> None:
    assert ask(guarded, Authorization=f"{scheme} {TOKEN}").status == 200
    assert ask(guarded, Authorization=f"{scheme} {TOKEN}x").status == 401
    guarded.router.calls.clear()


def test_names_and_words_of_headers_are_read_without_regard_to_letter_case(door: Door) -> None:
    headers = {
        "CONTENT-TYPE": "Application/JSON; Charset=UTF-8",
        "content-encoding": "Identity",
        "IDEMPOTENCY-KEY": "one",
        "X-REQUEST-ID": "mine",
    }
    data = json.dumps(ASKED).encode()
    answer = door.call("POST", "/v1/completions", data, headers=headers)
    assert (answer.status, answer.headers["x-request-id"]) == (200, "mine")
    assert door.router.callers[-1].request_id == "one"


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8", "[::1]"])
def test_names_of_loopback_are_answered(door: Door, host: str) -> None:
    assert ask(door, Host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "[::2]", ""])
def test_a_name_that_was_made_to_point_here_is_refused(door: Door, host: str) -> None:
    answer = ask(door, Host=host)
    assert answer.status == 400
    assert answer.body["error"]["param"] == "the Host header"


def test_pages_of_other_sites_are_kept_out(door: Door) -> None:
    preflight = door.call("OPTIONS", "/v1/completions", headers={"Origin": "http://evil.example"})
    form = ask(door, Content_Type="text/plain", Origin="http://evil.example")
    plain = ask(door, Origin="http://evil.example")
    assert (preflight.status, form.status) == (405, 400)
    for answer in (preflight, form, plain):
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_replies_do_not_say_what_the_server_is_made_of(door: Door) -> None:
    answer = ask(door)
    assert answer.headers["server"] == "constellation"
    assert answer.headers["x-request-id"].startswith("req-")
    assert ask(door, X_Request_Id="mine-7").headers["x-request-id"] == "mine-7"
    assert ask(door, X_Request_Id="no id").headers["x-request-id"].startswith("req-")


def test_a_port_that_is_taken_is_named(door: Door) -> None:
    with pytest.raises(DeploymentError, match="--http-port"), Door(Bind(port=door.address[1])):
        pass


# --- how much ------------------------------------------------------------------------------------


def test_a_body_over_the_limit_is_refused(door: Door) -> None:
    answer = door.call("POST", "/v1/completions", b"x" * (MESSAGE_BYTES_MAX + 1))
    assert answer.status == 413
    assert answer.body["error"]["constellation"]["limit_bytes"] == MESSAGE_BYTES_MAX


def test_a_text_over_the_limit_is_refused(door: Door) -> None:
    body = {**ASKED, "prompt": "é" * (TEXT_BYTES_MAX // 2 + 1)}
    answer = door.call("POST", "/v1/completions", body)
    assert answer.status == 400
    assert answer.body["error"]["code"] == "context_length_exceeded"


def test_what_is_compressed_is_refused(door: Door) -> None:
    assert ask(door, Content_Encoding="gzip").body["error"]["param"] == "Content-Encoding"


def test_connections_beyond_the_limit_are_told_to_come_back() -> None:
    with Door(connections_max=3) as door, ExitStack() as held:
        for _ in range(3):
            caller = held.enter_context(socket.create_connection(door.address, timeout=10))
            caller.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert caller.recv(12) == b"HTTP/1.1 200"
        reply = exchange(door, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 1\r\n" in reply
        assert problem_in(reply)["constellation"]["depth"] == 3
        assert "3 connections open" in problem_in(reply)["message"]
        held.close()
        door.wait_until_idle()
        assert door.call("GET", "/health").status == 200


BROKEN = {
    "no HTTP": b"hello\r\n\r\n",
    "no target": b"GET\r\n\r\n",
    "bad header": b"GET / HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
    "bad length": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n"
    b"Content-Length: 2\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}


LONG = {
    "target": b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("data", LONG.values(), ids=LONG)
def test_a_head_that_is_too_long_has_a_status_and_a_sentence_of_its_own(
    door: Door, data: bytes
) -> None:
    reply = exchange(door, data)
    assert reply[:13] in (b"HTTP/1.1 431 ", b"HTTP/1.0 431 ")
    assert "8190 bytes" in problem_in(reply)["message"]


def test_an_upgrade_that_a_caller_offers_is_not_made(door: Door) -> None:
    """Some clients offer HTTP/2 with the first request, body and all."""
    offered = ask(door, Connection="Upgrade, HTTP2-Settings", Upgrade="h2c")
    assert (offered.status, offered.body["choices"][0]["text"]) == (200, "a b")
    reply = exchange(door, b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_broken_http_is_answered_with_an_error_object(door: Door, data: bytes) -> None:
    reply = exchange(door, data)
    assert reply[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")
    assert problem_in(reply)["type"] == "invalid_request_error"
    assert b"aiohttp" not in reply
    assert door.call("GET", "/health").status == 200


def test_a_broken_body_is_answered_with_an_error_object(door: Door) -> None:
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reply = exchange(door, head + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n\r\n")
    assert reply[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")
    assert problem_in(reply)["message"]


ENDLESS = {
    "target": b"GET /" + b"x" * 100_000,
    "header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 100_000,
    "headers": b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: 1\r\n" * 15_000,
}


@pytest.mark.parametrize("data", ENDLESS.values(), ids=ENDLESS)
def test_a_head_that_does_not_end_is_not_gathered(door: Door, data: bytes) -> None:
    assert exchange(door, data).startswith(b"HTTP/1.1 431 ")


def test_requests_that_do_not_wait_for_answers_are_answered_in_turn_up_to_a_limit() -> None:
    health = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Door() as door:
        door.soon(door.router.hold.clear)
        body = json.dumps(ASKED).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        asked = head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + body
        with socket.create_connection(door.address, timeout=10) as caller:
            caller.sendall(asked + health * (PIPELINED_MAX - 1))
            while not door.router.calls:
                door.run(asyncio.sleep(0))
            door.soon(door.router.hold.set)
            replies = b""
            while replies.count(b"HTTP/1.1 200") < PIPELINED_MAX:
                replies += caller.recv(65_536)
            assert b"serving" not in replies.partition(b"text_completion")[0]
        door.soon(door.router.hold.clear)
        refused = exchange(door, asked + health * (PIPELINED_MAX + 1))
        assert refused.startswith(b"HTTP/1.1 400 ")
        door.wait_until_idle()


# --- how long ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_cut_off() -> None:
    with Door(stall_s=0.2) as door:
        door.router.num_repeats = 200_000
        body = json.dumps({**ASKED, "stream": True}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect(door.address)
            caller.sendall(head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert door.router.stopped.result(timeout=10) is None
            door.wait_until_idle()
        assert door.guard.num_unexpected == 0


@pytest.mark.slow
def test_a_reader_that_takes_no_whole_answer_is_cut_off() -> None:
    """Answers of 2.7 MB: the system's own buffers take the first ones."""
    with Door(stall_s=0.2) as door:
        body = json.dumps({"model": "constellation", "input": ["x"] * 2048}).encode()
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        request = head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        with socket.socket() as caller:
            caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            caller.connect(door.address)
            caller.sendall(request * 8)
            while not door.router.calls:
                door.run(asyncio.sleep(0))
            door.wait_until_idle()
        assert len(door.router.calls) < 8 * 2048
        assert door.guard.num_unexpected == 0


@pytest.mark.slow
def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with Door(stall_s=0.2) as door:
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        reply = exchange(door, head + b"\r\nContent-Length: 10\r\n\r\n{")
        assert reply.startswith(b"HTTP/1.1 408 ")
        assert door.guard.num_unexpected == 0


@pytest.mark.slow
def test_a_caller_that_sends_no_whole_head_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_IDLE_S", 0.2)
    with Door() as door:
        for begun in (b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX:"):
            assert exchange(door, begun) == b""
        once = exchange(door, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert once.count(b"HTTP/1.1 200") == 1
        door.wait_until_idle()


@pytest.mark.slow
def test_the_rest_of_a_body_that_is_refused_is_not_waited_for() -> None:
    with Door(Bind(token=TOKEN)) as door:
        head = (
            b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n"
        )
        assert exchange(door, head + b"x" * 1000).startswith(b"HTTP/1.1 401 ")
        door.wait_until_idle()


def test_a_server_that_stops_finishes_what_runs() -> None:
    with Door() as door:
        body = json.dumps({**ASKED, "stream": True}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        door.soon(door.router.hold.clear)
        with socket.create_connection(door.address, timeout=10) as caller:
            caller.sendall(head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            begun = caller.recv(65_536)
            stopping = asyncio.run_coroutine_threadsafe(door.door.stop(grace_s=5), door._loop)
            door.soon(door.router.hold.set)
            rest = b"".join(iter(lambda: caller.recv(65_536), b""))
        assert b"[DONE]" in begun + rest
        assert stopping.result(timeout=5) is None
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(door.address, timeout=1)
