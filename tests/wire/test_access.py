"""The access log: a line a request from both doors, and no text of anybody's."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from constellation import Client
from constellation.client.retries import RetryPolicy
from constellation.errors import InvalidRequest, Unauthenticated
from constellation.wire.access_log import AccessLog, Entry, note
from constellation.wire.channel import Bind
from tests.support.disks import files_of_at_most
from tests.wire.fakes import Served
from tests.wire.http.doors import Door

SECRET = "what nobody else is to read"
ASKED = {"model": "constellation", "prompt": SECRET, "user": SECRET}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def without(line: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in names}


def test_http_requests_leave_a_line_without_their_text(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    with Door(log=path) as door:
        door.call("POST", "/v1/completions", ASKED, headers={"X-Request-Id": "mine"})
        door.call("POST", "/v1/completions", {**ASKED, "stream": True})
        door.call("POST", "/v1/completions", {**ASKED, "temperature": SECRET})
        door.call("GET", f"/{SECRET.replace(' ', '-')}")
        door.run(_flush(door))
        whole, stream, refused, lost = lines(path)
    facts = {"kernel": "python", "reason": "nearest", "prompt_tokens": 9, "tokens": 6}
    told = {"door": "http", "method": "POST /v1/completions", "status": 200, **facts}
    assert without(whole, "time", "seconds") == {**told, "request_id": "mine"}
    assert without(stream, "time", "seconds", "request_id") == told
    assert (refused["status"], refused["error"]) == (400, "InvalidRequest")
    assert (lost["status"], lost["method"]) == (404, "GET unknown")
    assert 0 <= whole["seconds"] < 10
    assert SECRET.split(" ", maxsplit=1)[0] not in path.read_text()


async def _flush(door: Door) -> None:
    assert door.guard.log is not None
    door.guard.log.flush()


def test_a_caller_that_leaves_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    with Door(log=path) as door:
        door.soon(door.router.hold.clear)
        body = json.dumps({**ASKED, "stream": True}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        with socket.create_connection(door.address, timeout=10) as caller:
            caller.sendall(head + f"\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert caller.recv(15) == b"HTTP/1.1 200 OK"
        assert door.router.stopped.result(timeout=5) is None
        door.wait_until_idle()
        door.run(_flush(door))
        assert [line["status"] for line in lines(path)] == ["CANCELLED"]


def test_prompts_are_written_down_when_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    with Door(log=path, prompts=True) as door:
        door.call("POST", "/v1/completions", ASKED)
        door.run(_flush(door))
        assert [line["prompt"] for line in lines(path)] == [SECRET]


def test_grpc_calls_leave_the_same_line(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"
    with Served(Bind(token="a secret of many characters")) as served:
        served.guard.log = AccessLog(path)
        token = "a secret of many characters"
        with Client(served.endpoint, token=token, retries=RetryPolicy(attempts_max=1)) as stars:
            stars.ask(SECRET)
            list(stars.stream(SECRET))
            stars.score(SECRET)
            served.router.failures.append(InvalidRequest("top_k", 9, "1 to 3"))
            with pytest.raises(InvalidRequest):
                stars.ask(SECRET)
        with Client(served.endpoint, token=token + "!") as stars, pytest.raises(Unauthenticated):
            stars.ask(SECRET)
        served.soon(served.guard.log.flush)
        served.run(asyncio.sleep(0))
        ask, stream, score, refused, stranger = lines(path)
    facts = {"kernel": "python", "reason": "nearest", "prompt_tokens": 9, "tokens": 6}
    assert without(ask, "time", "seconds") == {
        "door": "grpc",
        "method": "Ask",
        "status": "OK",
        **facts,
    }
    assert without(stream, "time", "seconds") == {
        "door": "grpc",
        "method": "Generate",
        "status": "OK",
        **facts,
    }
    assert (score["method"], score["tokens"]) == ("Score", 6)
    assert (refused["status"], refused["error"]) == ("INVALID_ARGUMENT", "InvalidRequest")
    assert (stranger["status"], stranger["error"]) == ("UNAUTHENTICATED", "Unauthenticated")
    assert SECRET not in path.read_text()


def test_a_file_that_has_grown_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"

    async def write() -> None:
        log = AccessLog(path, file_bytes_max=2000)
        for number in range(40):
            log.write({"number": number, "padding": "x" * 80})
            log.flush()

    asyncio.run(write())
    older = path.with_name("access.jsonl.1")
    assert 0 < older.stat().st_size < 2200
    assert path.stat().st_size < 2000
    numbers = [line["number"] for file in (older, path) for line in lines(file)]
    assert numbers == list(range(40 - len(numbers), 40))


def test_a_log_that_cannot_be_written_refuses_nobody(tmp_path: Path) -> None:
    with Door(log=tmp_path / "gone" / "access.jsonl") as door:
        door.call("GET", "/health")
        door.run(_flush(door))
        assert door.call("GET", "/health").status == 200


@pytest.mark.slow
def test_lines_come_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "access.jsonl"

    async def write() -> None:
        with Entry(AccessLog(path), "http", "GET /health") as entry:
            note(kernel="python")
            entry.status = 200
        assert not path.exists()
        timers = asyncio.get_running_loop()
        done = timers.create_future()
        timers.call_later(0.6, done.set_result, None)
        await done

    asyncio.run(write())
    assert [line["kernel"] for line in lines(path)] == ["python"]


def test_without_a_log_nothing_is_noted() -> None:
    with Entry(None, "http", "GET /health") as entry:
        note(kernel="python")
    assert entry.facts == {}


def test_a_log_goes_on_in_a_folder_that_was_removed_and_has_no_half_line(tmp_path: Path) -> None:
    path, lost = tmp_path / "logs" / "access.jsonl", []
    log = AccessLog(path, on_lost=lambda: lost.append(1))

    async def write(method: str) -> None:
        log.write({"method": method})
        log.flush()

    asyncio.run(write("first"))
    with files_of_at_most(path.stat().st_size + 3):
        asyncio.run(write("too much"))
    assert [line["method"] for line in lines(path)] == ["first"]
    assert lost == [1]
    path.unlink()
    path.parent.rmdir()
    asyncio.run(write("later"))
    assert [line["method"] for line in lines(path)] == ["later"]
