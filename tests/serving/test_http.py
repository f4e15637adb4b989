"""OpenAI's own client against a real constellation."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import openai
import pytest

from cluster.state_file import RunState
from constellation import Client
from constellation.settings import Settings
from tests.support.artifacts import PROMPTS

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def client(constellation: RunState) -> Iterator[openai.OpenAI]:
    assert constellation.http is not None
    with openai.OpenAI(base_url=constellation.http, api_key="none", max_retries=2) as client:
        yield client


@pytest.mark.parametrize("domain", PROMPTS)
def test_a_conversation_goes_where_its_last_word_belongs(
    client: openai.OpenAI, domain: str
) -> None:
    others = [prompt for name, prompt in PROMPTS.items() if name != domain]
    messages = [{"role": "user", "content": text} for text in (others[0], PROMPTS[domain])]
    reply = client.chat.completions.create(
        model="constellation", messages=messages, max_tokens=4, seed=1
    )
    assert reply.constellation["route"]["kernel"] == domain
    assert reply.constellation["route"]["reason"] == "nearest"
    assert reply.usage is not None
    assert reply.usage.completion_tokens <= 4


def test_both_doors_give_the_same_answer(client: openai.OpenAI, constellation: RunState) -> None:
    prompt = PROMPTS["mail"]
    with Client(constellation.endpoint) as stars:
        expected = stars.ask(prompt, tokens_max=12, seed=3, temperature=0.7)
    options = {"model": "constellation", "max_tokens": 12, "seed": 3, "temperature": 0.7}
    completion = client.completions.create(prompt=prompt, **options)
    streamed = client.completions.create(prompt=prompt, stream=True, **options)
    said = client.chat.completions.create(messages=[{"role": "user", "content": prompt}], **options)
    chunks = client.chat.completions.create(
        messages=[{"role": "user", "content": prompt}], stream=True, **options
    )
    assert completion.choices[0].text == expected.text
    assert completion.usage.prompt_tokens == expected.finish.num_prompt_tokens
    assert "".join(chunk.choices[0].text for chunk in streamed) == expected.text
    chat_text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert chat_text == said.choices[0].message.content


def test_a_kernel_that_is_named_answers(client: openai.OpenAI, constellation: RunState) -> None:
    listed = [model.id for model in client.models.list()]
    assert listed == ["constellation", *constellation.kernels]
    reply = client.completions.create(model="numbers", prompt=PROMPTS["mail"], max_tokens=2)
    assert reply.constellation["route"]["kernel"] == "numbers"
    assert reply.constellation["route"]["reason"] == "pinned"


def test_an_embedding_is_the_basin(client: openai.OpenAI, constellation: RunState) -> None:
    texts = list(PROMPTS.values())
    reply = client.embeddings.create(model="constellation", input=texts)
    with Client(constellation.endpoint) as stars:
        basins_NK = [stars.basin(text).basin_K for text in texts]
    assert np.allclose([item.embedding for item in reply.data], basins_NK, rtol=1e-6)


def test_stop_strings_and_logprobs_arrive(client: openai.OpenAI) -> None:
    options = {"model": "mail", "prompt": PROMPTS["mail"], "max_tokens": 24, "temperature": 0}
    plain = client.completions.create(**options, logprobs=2)
    text = plain.choices[0].text
    stop = text[len(text) // 2 :][:2]
    ended = client.completions.create(**options, stop=stop)
    assert ended.choices[0].text == text[: text.index(stop)]
    assert ended.choices[0].finish_reason == "stop"
    told = plain.choices[0].logprobs
    assert told is not None
    assert len(told.token_logprobs) == plain.usage.completion_tokens
    assert "".join(told.tokens) == text
    assert all(len(top) == 2 for top in told.top_logprobs)


def test_what_cannot_be_done_is_refused_with_its_reason(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there are: constellation, mail, network"):
        client.completions.create(model="nobody", prompt="x")
    with pytest.raises(openai.BadRequestError, match="max_tokens"):
        client.completions.create(model="mail", prompt="x", max_tokens=0)
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="mail", prompt="word " * 500)
    assert caught.value.code == "context_length_exceeded"


def test_a_reader_that_goes_away_frees_the_slot(
    client: openai.OpenAI, constellation: RunState, settings: Settings
) -> None:
    """The kernel has two slots and four places to wait: more streams than that come and go."""
    for number in range(settings.kernel.slots + settings.kernel.queue_max + 2):
        stream = client.completions.create(
            model="mail", prompt="a", max_tokens=100, seed=number, stream=True
        )
        assert len(list(islice(stream, 2))) == 2
        stream.close()
    once = client.with_options(max_retries=0)
    assert once.completions.create(model="mail", prompt="a", max_tokens=1).choices
    with Client(constellation.endpoint) as stars:
        assert stars.status().num_unexpected_errors == 0


def test_the_access_log_tells_of_both_doors_without_their_text(
    client: openai.OpenAI, constellation: RunState, settings: Settings
) -> None:
    with Client(constellation.endpoint) as stars:
        stars.ask("a sentence nobody else says", tokens_max=1)
    client.completions.create(
        model="constellation",
        prompt="a sentence nobody else says",
        max_tokens=1,
        extra_headers={"X-Request-Id": "the-last-one"},
    )
    path = settings.run_dir / "logs" / "access.jsonl"
    lines = _lines_until(path, "the-last-one")
    ask = next(line for line in reversed(lines) if line["door"] == "grpc")
    assert (ask["method"], ask["status"], ask["tokens"]) == ("Ask", "OK", 1)
    assert lines[-1]["status"] == 200
    assert "nobody" not in json.dumps(lines[-2:])


def _lines_until(path: Path, request_id: str) -> list[dict[str, object]]:
    """Return the lines of the log once that of a request is there; they come in batches."""
    for _ in range(100_000):
        if path.exists() and request_id in path.read_text():
            return [json.loads(line) for line in path.read_text().splitlines()]
    raise AssertionError(f"no line about {request_id}")
