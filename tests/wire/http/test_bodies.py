"""What OpenAI's clients send becomes what the constellation means, or is refused by name."""

from typing import Any

import pytest

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import Mode, Rule, Sampling
from constellation.wire.convert import TEXT_BYTES_MAX
from constellation.wire.http import bodies
from constellation.wire.http.chat_prompts import PARTS_MAX

USER = [{"role": "user", "content": "hello"}]


def chat(**fields: Any) -> bodies.Completion:
    return bodies.chat({"model": "constellation", "messages": USER, **fields})


def complete(**fields: Any) -> bodies.Completion:
    return bodies.completion({"model": "constellation", "prompt": "hello", **fields})


def test_what_is_not_given_takes_the_constellations_defaults() -> None:
    asked = complete()
    assert asked.sampling == Sampling()
    assert asked.routing.kernel is None
    assert (asked.prompt, asked.turn, asked.stream) == ("hello", None, False)


def test_a_kernels_name_pins_the_kernel() -> None:
    assert complete(model="poetry").routing.kernel == "poetry"


def test_every_sampling_field_arrives() -> None:
    given = {
        "temperature": 0,
        "top_p": 0.5,
        "max_tokens": 7,
        "min_tokens": 2,
        "stop": ["a", "b"],
        "seed": 3,
        "presence_penalty": -1.5,
        "frequency_penalty": 2,
        "logit_bias": {"5": -100, "70": 1.5},
        "top_k": 9,
        "min_p": 0.1,
        "repetition_penalty": 1.25,
        "logprobs": 4,
    }
    renamed = {"max_tokens": "tokens_max", "min_tokens": "tokens_min"}
    expected: dict[str, Any] = {renamed.get(name, name): value for name, value in given.items()}
    expected |= {"stop": ("a", "b"), "logit_bias": {5: -100, 70: 1.5}}
    assert complete(**given).sampling == Sampling(**expected)


def test_null_is_the_same_as_nothing() -> None:
    names = set(bodies.CompletionRequest.model_fields) - {"model", "prompt"}
    assert complete(**dict.fromkeys(names)) == complete()
    names = set(bodies.ChatRequest.model_fields) - {"model", "messages"}
    assert chat(**dict.fromkeys(names)) == chat()


def test_null_is_nothing_in_fields_that_are_not_known_too() -> None:
    assert complete(thinking=None, constellation={"colour": None}) == complete()
    parts = [{"type": "text", "text": "hello", "cache_control": None}]
    spoken = {"role": "user", "content": parts, "reasoning_content": None}
    assert chat(messages=[spoken]) == chat()


def test_parts_of_messages_have_a_limit_over_the_whole_conversation() -> None:
    part = {"type": "text", "text": "a"}
    full = [{"role": "user", "content": [part] * (PARTS_MAX // 2)}] * 2
    assert chat(messages=full).prompt.count("a") == PARTS_MAX
    one_more = [*full, {"role": "user", "content": [part]}]
    with pytest.raises(InvalidRequest, match=f"messages is {PARTS_MAX + 1} parts; allowed: 4096"):
        chat(messages=one_more)


def test_a_limit_of_tokens_beyond_the_highest_counts_as_the_highest_and_the_reply_says_so() -> None:
    """Presets of editors ask for 8,192 tokens, or for -1, which means no limit."""
    for asked in (4097, 10**30, -1):
        for read, name in ((complete, "max_tokens"), (chat, "max_completion_tokens")):
            got = read(**{name: asked})
            assert (got.sampling.tokens_max, got.adjusted) == (4096, {name: 4096})
    assert complete(max_tokens=4096).adjusted == complete().adjusted == {}


@pytest.mark.parametrize("top_k", [0, -1, None])
def test_a_top_k_that_clients_turn_off_keeps_all_tokens(top_k: int | None) -> None:
    assert complete(top_k=top_k).sampling.top_k is None


def test_one_stop_string_needs_no_list() -> None:
    assert complete(stop="\n").sampling.stop == ("\n",)


def test_both_names_of_the_token_limit_work_and_must_agree() -> None:
    assert chat(max_completion_tokens=5).sampling.tokens_max == 5
    assert chat(max_tokens=5, max_completion_tokens=5).sampling.tokens_max == 5
    with pytest.raises(InvalidRequest, match="max_tokens is 6"):
        chat(max_tokens=6, max_completion_tokens=5)


def test_chat_asks_for_logprobs_in_two_fields() -> None:
    assert chat().sampling.logprobs is None
    assert chat(logprobs=True).sampling.logprobs == 0
    assert chat(logprobs=True, top_logprobs=5).sampling.logprobs == 5
    with pytest.raises(InvalidRequest, match="top_logprobs"):
        chat(top_logprobs=5)


def test_routing_options_stand_in_a_field_of_our_own() -> None:
    given = {"rule": "geodesic", "top_k": 3, "refuse_out_of_domain": True, "explain": True}
    routing = complete(constellation=given | {"mode": "mixture"}).routing
    assert (routing.rule, routing.mode, routing.top_k) == (Rule.GEODESIC, Mode.MIXTURE, 3)
    assert routing.refuse_out_of_domain
    assert routing.refuse is None
    assert routing.explain
    assert complete(constellation={"refuse": 0.05}).routing.refuse == 0.05
    for wrong in (0, 0.001, 0.6, 1, True, "0.05"):
        with pytest.raises(InvalidRequest, match="refuse"):
            complete(constellation={"refuse": wrong})


# --- prompts of conversations ---------------------------------------------------------------------


def test_a_conversation_is_its_texts_each_with_a_line_break() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two", "refusal": None, "annotations": []},
        {
            "role": "user",
            "content": [{"type": "text", "text": "th"}, {"type": "text", "text": "ree"}],
        },
    ]
    asked = chat(messages=messages)
    assert asked.prompt == "be brief\none\ntwo\nthree\n"
    assert asked.turn == "three\n"


def test_an_answer_that_said_nothing_and_names_of_speakers_are_read() -> None:
    """Clients send a conversation back with null for what is not there."""
    asked = chat(
        messages=[
            {"role": "user", "content": "one", "name": "ann"},
            {"role": "assistant", "content": None, "reasoning_content": None, "audio": None},
            {"role": "user", "content": "two"},
        ]
    )
    assert asked.prompt == "one\n\ntwo\n"


def test_without_a_word_of_the_user_everything_decides_the_route() -> None:
    asked = chat(messages=[{"role": "developer", "content": "law"}])
    assert asked.turn == asked.prompt == "law\n"


@pytest.mark.parametrize("content", ["", []])
def test_a_conversation_that_says_nothing_is_refused(content: Any) -> None:
    with pytest.raises(InvalidPrompt, match="is empty"):
        chat(messages=[{"role": "user", "content": content}])


def test_a_conversation_over_the_limit_is_refused() -> None:
    half = {"role": "user", "content": "x" * (TEXT_BYTES_MAX // 2)}
    with pytest.raises(InvalidPrompt, match="bytes"):
        chat(messages=[half, half])


WRONG_MESSAGES: dict[str, tuple[Any, str]] = {
    "none": ([], "messages"),
    "no list": ("hello", "messages"),
    "no object": (["hello"], r"messages\[0\]"),
    "no role": ([{"content": "x"}], r"messages\[0\]\.role"),
    "role": ([{"role": "tool", "content": "x"}], r"messages\[0\]\.role"),
    "role of another type": ([{"role": ["user"], "content": "x"}], r"messages\[0\]\.role"),
    "no content": ([*USER, {"role": "user", "content": None}], r"messages\[1\]\.content"),
    "tool calls": (
        [{"role": "assistant", "content": "x", "tool_calls": [{}]}],
        r"messages\[0\]\.tool_calls",
    ),
    "name": ([{"role": "user", "content": "x", "name": 7}], r"messages\[0\]\.name"),
    "unknown": ([{"role": "user", "content": "x", "mood": 1}], r"messages\[0\]\.mood"),
    "half a character": ([{"role": "user", "content": "\ud800"}], r"messages\[0\]\.content"),
    "image": (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
        r"content\[0\]\.type",
    ),
    "part": ([{"role": "user", "content": [7]}], r"content\[0\]"),
    "part without text": ([{"role": "user", "content": [{"type": "text"}]}], r"\[0\]\.text"),
}


@pytest.mark.parametrize(("messages", "named"), WRONG_MESSAGES.values(), ids=WRONG_MESSAGES)
def test_a_message_that_is_wrong_is_named(messages: Any, named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        chat(messages=messages)


# --- what is refused ------------------------------------------------------------------------------

HARMLESS: dict[str, Any] = {
    "n": 1,
    "user": "ann",
    "store": False,
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "response_format": {"type": "text"},
    "modalities": ["text"],
    "service_tier": "auto",
    "metadata": {},
}


def test_fields_we_do_not_do_pass_where_they_ask_for_nothing() -> None:
    assert chat(**HARMLESS) == chat()


REFUSED: dict[str, Any] = {
    "n": 2,
    "store": True,
    "tools": [{"type": "function"}],
    "tool_choice": "required",
    "response_format": {"type": "json_object"},
    "modalities": ["audio"],
    "service_tier": "priority",
    "metadata": {"a": "b"},
    "audio": {},
    "functions": [{}],
    "reasoning_effort": "high",
    "web_search_options": {},
    "temperature": 2.1,
    "top_p": 0,
    "max_tokens": 0,
    "max_completion_tokens": 0,
    "min_tokens": 4097,
    "top_k": -2,
    "seed": -1,
    "presence_penalty": "1",
    "frequency_penalty": -2.5,
    "logit_bias": {"x": 1},
    "stop": [""],
    "logprobs": 1,
    "top_logprobs": 21,
    "stream": "yes",
    "stream_options": {"include_usage": True},
    "constellation": {"colour": 1},
    "colour": "red",
    "model": 7,
}


@pytest.mark.parametrize(("name", "value"), REFUSED.items(), ids=REFUSED)
def test_what_is_out_of_range_or_not_done_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name) as caught:
        chat(**{name: value})
    assert caught.value.field.startswith(name)


def test_minimum_above_maximum_is_refused_under_the_callers_name() -> None:
    with pytest.raises(InvalidRequest) as caught:
        complete(max_tokens=2, min_tokens=3)
    assert (caught.value.field, caught.value.value) == ("min_tokens", "3")


@pytest.mark.parametrize("name", ["model", "prompt"])
def test_a_field_that_is_missing_is_named(name: str) -> None:
    body = {"model": "constellation", "prompt": "x"}
    del body[name]
    with pytest.raises(InvalidRequest, match=name):
        bodies.completion(body)


SAID = {
    "unknown": ({"temprature": 1}, "temprature is unknown; allowed: .* did you mean temperature?"),
    "unknown and like nothing": ({"zzz": 1}, "zzz is unknown; .* /openapi.json lists"),
    "missing": ({"model": None}, "model is missing; allowed: a text"),
    "out of range": ({"temperature": 3}, "temperature is 3; allowed: a number from 0 to 2"),
    "truth": ({"temperature": True}, "temperature is true; allowed"),
    "null inside": ({"stop": ["a", None]}, r'stop is \["a", null\]; allowed'),
    "an object": ({"logit_bias": {"5": 1e308}}, r'logit_bias is \{"5": 1e\+308\}; allowed'),
    "a letter": ({"stream": "é"}, 'stream is "é"; allowed: true or false'),
    "half a letter": ({"stream": "\ud83d"}, r'stream is "\\ud83d"; allowed: true or false'),
    "many ids": ({"logit_bias": {str(n): 1 for n in range(301)}}, r'logit_bias is \{"0": 1, "1"'),
    "no truth": ({"n": False}, "n is false; allowed: null, 1: one answer"),
}


@pytest.mark.parametrize(("fields", "said"), SAID.values(), ids=SAID)
def test_errors_tell_unknown_missing_and_out_of_range_apart_in_words_of_json(
    fields: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{said}"):
        complete(**fields)


BROKEN = {
    "nothing": b"",
    "no object": b"[]",
    "cut": b'{"a":',
    "no UTF-8": b'{"a":"\xff"}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a number without end": b'{"a":' + b"9" * 5000 + b"}",
    "a tower": b'{"a":' * 70 + b"1" + b"}" * 70,
    "a tall tower": b"[" * 100_000,
}


PYTHONS_WORDS = ("codec", "Expecting", "char ", "list", "dict", "limit", "set_int_max", "None")


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_bytes_that_are_no_json_object_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="the body") as caught:
        bodies.parse(data)
    assert not [word for word in PYTHONS_WORDS if word in str(caught.value)]


# --- embeddings -----------------------------------------------------------------------------------


def test_embeddings_take_one_text_or_many() -> None:
    one = bodies.embeddings({"model": "constellation", "input": "a"})
    many = bodies.embeddings(
        {"model": "constellation", "input": ["a", "b"], "encoding_format": "base64"}
    )
    assert (one.inputs, one.base64) == (("a",), False)
    assert (many.inputs, many.base64) == (("a", "b"), True)


@pytest.mark.parametrize(
    "wrong", ["", "x" * (TEXT_BYTES_MAX + 1), None, 7, ["a"], "\ud83d"], ids=lambda v: str(v)[:5]
)
def test_the_wrong_text_of_a_batch_is_named_by_its_place(wrong: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^input\[2\] is ") as caught:
        bodies.embeddings({"model": "constellation", "input": ["a", "b", wrong, "c"]})
    assert caught.value.field == "input[2]"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("model", "python"),
        ("dimensions", 32),
        ("input", []),
        ("input", [1, 2]),
        ("input", ["x"] * (bodies.INPUTS_MAX + 1)),
        ("encoding_format", "int8"),
    ],
)
def test_embeddings_of_another_kind_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest, match=name):
        bodies.embeddings({"model": "constellation", "input": "a", name: value})
