"""OpenAI's own client against a real HTTP server over a router without models."""

import asyncio
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import openai
import pytest

from constellation import errors
from constellation.errors import KernelUnavailable, Overloaded
from constellation.records import Message
from constellation.wire.http import openapi
from tests.wire.fakes import NAMES
from tests.wire.http.doors import Door

USER = [{"role": "user", "content": "a b c"}]


def test_a_conversation_is_answered_with_its_route(client: openai.OpenAI, door: Door) -> None:
    reply = client.chat.completions.create(
        model="constellation", messages=[{"role": "system", "content": "S"}, *USER], seed=4
    )
    assert reply.object == "chat.completion"
    assert reply.choices[0].message.content == "S\na b c\n"  # the fake says its prompt
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert reply.constellation["route"]["kernel"] == NAMES[0]
    assert [choice["kernel"] for choice in reply.constellation["route"]["choices"]] == [*NAMES]
    assert reply._request_id
    _, sampling, options = door.router.calls[-1]
    assert door.router.messages[-1] == (Message("system", "S"), Message("user", "a b c"))
    assert sampling.seed == 4
    assert np.array_equal(options.basin_K, door.router.basin_of("a b c\n"))


@pytest.mark.parametrize("stream", [False, True])
def test_what_several_kernels_write_says_their_weights(client: openai.OpenAI, stream: bool) -> None:
    said = client.chat.completions.create(
        model="constellation",
        messages=USER,
        stream=stream,
        extra_body={"constellation": {"mode": "posterior"}},
    )
    told: dict[str, Any] = {}
    for part in said if stream else [said]:
        told |= getattr(part, "constellation", None) or {}
    assert told["route"]["mode"] == "posterior"
    assert told["weights"] == {NAMES[0]: 0.75, NAMES[1]: 0.25}
    assert told["lost"] == [NAMES[2]]


def test_a_text_is_continued_by_the_kernel_that_is_named(client: openai.OpenAI, door: Door) -> None:
    reply = client.completions.create(model="poetry", prompt="a b", max_tokens=3)
    assert door.router.messages[-1] == ()
    assert (reply.object, reply.choices[0].text) == ("text_completion", "a b")
    assert reply.model == "poetry"
    assert reply.constellation["route"]["reason"] == "pinned"


def test_a_stream_says_what_the_whole_answer_says(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="constellation",
            messages=USER,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks[:-1]]
    assert "".join(texts) == "a b c\n"
    assert len([text for text in texts if text]) == 3
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[0].constellation["route"]["kernel"] == NAMES[0]
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert (chunks[-1].choices, chunks[-1].usage.completion_tokens) == ([], 3)
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_ends_with_the_line_that_clients_wait_for(door: Door) -> None:
    body = {"model": "constellation", "prompt": "a b", "stream": True}
    answer = door.call("POST", "/v1/completions", body)
    assert answer.headers["content-type"] == "text/event-stream"
    lines = answer.body.decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    events = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert "".join(event["choices"][0]["text"] for event in events) == "a b"
    assert all("usage" not in event for event in events)


def test_models_are_the_constellation_and_its_kernels(client: openai.OpenAI) -> None:
    listed = client.models.list().data
    assert [model.id for model in listed] == ["constellation", *NAMES]
    assert [model.constellation["up"] for model in listed[1:]] == [True, True, False]
    assert client.models.retrieve("poetry").id == "poetry"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


@pytest.mark.parametrize("form", ["float", "base64"])
def test_an_embedding_is_the_basin(client: openai.OpenAI, door: Door, form: str) -> None:
    reply = client.embeddings.create(
        model="constellation", input=["one", "two"], encoding_format=form
    )
    for item, text in zip(reply.data, ["one", "two"], strict=True):
        if form == "base64":
            assert isinstance(item.embedding, str)
        else:
            assert item.embedding == door.router.basin_of(text).tolist()
    assert reply.usage.prompt_tokens == 6


def test_the_client_decodes_what_it_asks_for_by_itself(client: openai.OpenAI, door: Door) -> None:
    reply = client.embeddings.create(model="constellation", input="one")
    assert np.allclose(reply.data[0].embedding, door.router.basin_of("one"), rtol=1e-6)


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model is named 'nobody'") as caught:
        client.completions.create(model="nobody", prompt="x")
    assert caught.value.code == "model_not_found"


def test_an_unknown_model_is_answered_with_those_that_there_are(client: openai.OpenAI) -> None:
    """`constellation` is the one to use, and stands first, whoever says that a name is unknown."""
    with pytest.raises(openai.NotFoundError) as asked:
        client.completions.create(model="gpt-4", prompt="x")
    with pytest.raises(openai.NotFoundError) as looked_up:
        client.models.retrieve("gpt-4")
    for caught in (asked, looked_up):
        assert caught.value.body["constellation"]["known"] == ["constellation", *NAMES]
        assert f"there are: constellation, {NAMES[0]}" in str(caught.value)


def test_a_conversation_with_nothing_in_it_but_null_is_read(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "user", "content": "one", "name": "ann"},
        {"role": "assistant", "content": None, "reasoning_content": None, "tool_calls": None},
        {"role": "user", "content": "two"},
    ]
    reply = client.chat.completions.create(
        model="constellation", messages=messages, extra_body={"thinking": None}
    )
    assert reply.choices[0].message.content == "one\n\ntwo\n"


@pytest.mark.parametrize("stream", [False, True])
def test_a_preset_that_asks_for_too_much_is_answered_and_told(
    client: openai.OpenAI, door: Door, stream: bool
) -> None:
    said = client.chat.completions.create(
        model="constellation",
        messages=USER,
        max_tokens=32_768,
        stream=stream,
        extra_body={"top_k": -1},
    )
    first = next(iter(said)) if stream else said
    assert first.constellation["adjusted"] == {"max_tokens": 4096}
    sampling = door.router.calls[-1][1]
    assert (sampling.tokens_max, sampling.top_k) == (4096, None)


def test_every_chunk_says_which_table_routed_it(client: openai.OpenAI) -> None:
    chunks = client.completions.create(
        model="constellation", prompt="a b", stream=True, stream_options={"include_usage": True}
    )
    assert {chunk.system_fingerprint for chunk in chunks} == {"table-5"}


def test_the_empty_text_of_a_batch_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(
        openai.BadRequestError, match=r"input\[1\] is \\?\"\\?\"; allowed"
    ) as caught:
        client.embeddings.create(model="constellation", input=["a", "", "b"])
    assert caught.value.param == "input[1]"


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/models/python", "/openapi.json"])
def test_head_is_answered_as_get_is_without_the_body(door: Door, path: str) -> None:
    head, get = door.call("HEAD", path), door.call("GET", path)
    assert (head.status, get.status) == (200, 200)
    assert head.headers["content-length"] == get.headers["content-length"]
    assert door.call("HEAD", "/v1/models/nobody").status == 404


def test_a_bad_parameter_is_named(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="from 0 to 2") as caught:
        client.completions.create(model="constellation", prompt="x", temperature=3)
    assert caught.value.param == "temperature"


@pytest.mark.parametrize("stream", [False, True])
def test_what_the_router_refuses_is_named_as_the_caller_named_it(
    client: openai.OpenAI, door: Door, stream: bool
) -> None:
    for ours, theirs in (("top_k", "constellation.top_k"), ("kernel", "model")):
        door.router.failures.append(errors.InvalidRequest(ours, 9, "1 to 3"))
        with pytest.raises(openai.BadRequestError, match=f"{theirs} is 9; allowed") as caught:
            client.completions.create(model="constellation", prompt="x", stream=stream)
        assert caught.value.param == theirs


def test_refusal_out_of_domain_can_be_asked_for(client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        client.completions.create(
            model="constellation",
            prompt="x",
            extra_body={"constellation": {"refuse_out_of_domain": True}},
        )
    assert set(caught.value.body["constellation"]["distances"]) == set(NAMES)


def test_a_full_house_says_when_to_come_back(client: openai.OpenAI, door: Door) -> None:
    door.router.failures.append(Overloaded("the router", depth=9, retry_after_s=0.5))
    with pytest.raises(openai.RateLimitError) as caught:
        client.completions.create(model="constellation", prompt="x")
    assert caught.value.response.headers["retry-after"] == "1"


@pytest.mark.slow
def test_clients_come_back_by_themselves(client: openai.OpenAI, door: Door) -> None:
    door.router.failures += [
        Overloaded("the router", depth=9, retry_after_s=0.001),
        KernelUnavailable("python", "its process was lost"),
    ]
    patient = client.with_options(max_retries=2)
    assert patient.completions.create(model="constellation", prompt="x").choices[0].text == "x"


def test_an_error_inside_a_stream_is_told_in_the_stream(client: openai.OpenAI, door: Door) -> None:
    door.router.failure_after = (2, KernelUnavailable("python", "its process was lost"))
    stream = client.completions.create(model="constellation", prompt="a b c", stream=True)
    assert [next(stream).choices[0].text for _ in range(2)] == ["a", " b"]
    with pytest.raises(openai.APIError, match="its process was lost"):
        next(stream)


def test_an_error_before_the_first_piece_of_a_stream_has_its_status(
    client: openai.OpenAI, door: Door
) -> None:
    door.router.failures.append(KernelUnavailable("python", "its process was lost"))
    with pytest.raises(openai.APIStatusError) as caught:
        client.completions.create(model="constellation", prompt="x", stream=True)
    assert caught.value.status_code == 503


def test_a_mistake_of_ours_is_counted_and_shows_nothing(client: openai.OpenAI, door: Door) -> None:
    before = door.guard.num_unexpected
    door.router.failures.append(ZeroDivisionError("a secret of the inside"))
    with pytest.raises(openai.InternalServerError) as caught:
        client.completions.create(model="constellation", prompt="x")
    assert "secret" not in caught.value.response.text
    assert "Traceback" not in caught.value.response.text
    assert door.guard.num_unexpected == before + 1
    assert door.router.rejected["InternalError"] >= 1


def test_a_reader_that_goes_away_frees_the_answer(client: openai.OpenAI, door: Door) -> None:
    door.soon(door.router.hold.clear)
    stream = client.completions.create(model="constellation", prompt="a b c", stream=True)
    assert next(iter(stream)).choices[0].text == "a"
    stream.close()
    assert door.router.stopped.result(timeout=5) is None
    door.soon(door.router.hold.set)


def test_a_caller_that_gives_up_on_a_whole_answer_frees_it() -> None:
    with Door() as other:
        other.soon(other.router.hold.clear)
        body = b'{"model": "constellation", "prompt": "a b c"}'
        head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}"
        head += "\r\nContent-Type: application/json\r\n\r\n"
        with socket.create_connection(other.address) as caller:
            caller.sendall(head.encode() + body)
            while not other.router.calls:
                other.run(asyncio.sleep(0))
        assert other.router.stopped.result(timeout=5) is None


def test_many_callers_are_served_at_once(client: openai.OpenAI) -> None:
    def ask(number: int) -> str:
        prompt = f"number {number}"
        return client.completions.create(model="constellation", prompt=prompt).choices[0].text

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(64))) == [f"number {number}" for number in range(64)]


def test_the_description_knows_every_endpoint(door: Door) -> None:
    described = door.call("GET", "/openapi.json").body
    assert described == json.loads(json.dumps(openapi.document()))
    for path, methods in described["paths"].items():
        for method in methods:
            endless = path == "/status/events"  # its head is enough
            verb = "HEAD" if endless else method.upper()
            answer = door.call(verb, path.replace("{model}", "python"), b"{}")
            assert answer.status in (200, 400), path


def test_the_description_claims_nothing_of_events_that_they_break() -> None:
    """A stream is events, not one string, which is what a checker read a `type: string` as."""
    for path in ("/v1/chat/completions", "/v1/completions"):
        answers = openapi.document()["paths"][path]["post"]["responses"]["200"]["content"]
        assert answers["text/event-stream"] == {}
        assert answers["application/json"]["schema"]["type"] == "object"


def test_health_says_whether_anybody_can_answer(door: Door) -> None:
    assert door.call("GET", "/health").body == {"status": "serving"}
    with Door() as other:
        table = other.router.table
        sites = tuple(replace(site, endpoint=None) for site in table.sites)
        other.router.table = replace(table, sites=sites)
        answer = other.call("GET", "/health")
    assert answer.status == 503
    assert answer.body["error"]["constellation"]["error"] == errors.ServiceUnavailable.__name__
