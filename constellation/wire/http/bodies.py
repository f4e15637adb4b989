"""JSON bodies -> records. What OpenAI's API knows and we do not do is refused by name.

A field of theirs that we have no counterpart for passes only at the value that asks for nothing,
so that nobody gets an answer that quietly ignores what was asked.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NoReturn

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import (
    STOPS_MAX,
    TOKENS_MAX,
    Message,
    Mode,
    RoutingOptions,
    Rule,
    Sampling,
)
from constellation.wire import convert
from constellation.wire.http import kinds
from constellation.wire.http.chat_prompts import MESSAGES, chat_prompt

MODEL: Final = "constellation"
"""The model that is all kernels together; a kernel's name pins that kernel."""
INPUTS_MAX: Final = 2048
"""Texts of one request for embeddings."""
NUM_OUTCOMES: Final = 64
"""Numbers in an embedding: a point of the simplex."""

_NESTING_MAX = 64
_TEXT = kinds.Kind(
    allowed="a text that UTF-8 can carry",
    schema={"type": "string", "minLength": 1, "maxLength": convert.TEXT_BYTES_MAX},
    # How long it may be is `check_text`'s to say, whose error gives the length.
    accepts=lambda value: isinstance(value, str) and kinds.encodable(value),
)

_ROUTING: Mapping[str, kinds.Kind] = {
    "rule": kinds.Kind(
        allowed=" or ".join(Rule),
        schema={"enum": [None, *Rule]},
        accepts=lambda value: isinstance(value, str) and value in list(Rule),
    ),
    "mode": kinds.Kind(
        allowed=", ".join(Mode),
        schema={"enum": [None, *Mode]},
        accepts=lambda value: isinstance(value, str) and value in list(Mode),
    ),
    "top_k": kinds.integer(1, 240),
    "refuse_out_of_domain": kinds.flag(),
    "refuse": kinds.number(0.002, 0.5),
    "explain": kinds.flag(),
    "handoff": kinds.flag(),
}

_STOP = kinds.text()
_BIAS = kinds.Kind(
    allowed="an object from token ids to numbers from -100 to 100",
    schema={
        "type": "object",
        "propertyNames": {"pattern": "^(0|[1-9][0-9]{0,8})$"},
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
        "maxProperties": 300,
    },
    accepts=lambda value: isinstance(value, dict) and all(map(_is_token, value)),
)


def _is_token(name: str) -> bool:
    return name.isascii() and name.isdigit() and str(int(name[:9])) == name


_NO_LIMIT = -1
"""What some clients send as `max_tokens` or `top_k` when they mean no limit."""
_TOKENS_MAX = kinds.Kind(
    allowed=f"a whole number from 1 on, or -1 for no limit; above {TOKENS_MAX} it counts as that",
    schema={"anyOf": [{"const": _NO_LIMIT}, {"type": "integer", "minimum": 1}]},
    accepts=lambda value: (
        isinstance(value, int)
        and (value >= 1 or value == _NO_LIMIT)
        and not isinstance(value, bool)
    ),
)
_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

_SAMPLING: Mapping[str, kinds.Kind] = {
    "temperature": kinds.number(0, 2),
    "top_p": kinds.number(1e-6, 1),
    "max_tokens": _TOKENS_MAX,
    "min_tokens": kinds.integer(0, TOKENS_MAX),
    "stop": kinds.any_of(_STOP, kinds.list_of(_STOP, 0, STOPS_MAX)),
    "seed": kinds.integer(0, 2**63 - 1),
    "presence_penalty": kinds.number(-2, 2),
    "frequency_penalty": kinds.number(-2, 2),
    "logit_bias": _BIAS,
    "top_k": kinds.integer(_NO_LIMIT, 65_536),  # 0 and -1: all tokens, as if it were not given
    "min_p": kinds.number(0, 1 - 1e-6),
    "repetition_penalty": kinds.number(0.5, 2),
}
_SAMPLING_NAMES = {"max_tokens": "tokens_max", "min_tokens": "tokens_min"}

_STREAM_OPTIONS: Mapping[str, kinds.Kind] = {
    "include_usage": kinds.flag(),
    "include_obfuscation": kinds.only(False, why="chunks are not padded"),
}
_IGNORED = kinds.text(0)  # says who asks, not for what
_COMMON: Mapping[str, kinds.Kind] = {
    "model": kinds.text(),
    "stream": kinds.flag(),
    "stream_options": kinds.object_of(_STREAM_OPTIONS),
    **_SAMPLING,
    "constellation": kinds.object_of(_ROUTING),
    "n": kinds.only(1, why="one answer a request"),
    "user": _IGNORED,
}
_NO_TOOLS = "kernels call no tools"
CHAT: Final[Mapping[str, kinds.Kind]] = {
    **_COMMON,
    "messages": MESSAGES,
    "max_completion_tokens": _TOKENS_MAX,
    "logprobs": kinds.flag(),
    "top_logprobs": kinds.integer(0, 20),
    "safety_identifier": _IGNORED,
    "prompt_cache_key": _IGNORED,
    "prompt_cache_retention": _IGNORED,
    "service_tier": kinds.only("auto", "default", why="all requests are served alike"),
    "store": kinds.only(False, why="nothing is stored"),
    "metadata": kinds.only({}, why="nothing is stored"),
    "modalities": kinds.only(["text"], why="kernels write text"),
    "audio": kinds.only(why="kernels write text"),
    "response_format": kinds.only({"type": "text"}, why="kernels write free text"),
    "prediction": kinds.only(why="nothing is predicted"),
    "reasoning_effort": kinds.only("none", why="kernels do not deliberate"),
    "verbosity": kinds.only(why="kernels take no instruction on length; use max_tokens"),
    "web_search_options": kinds.only(why="kernels search nothing"),
    "parallel_tool_calls": kinds.only(True, False, why=_NO_TOOLS),
    "tools": kinds.only([], why=_NO_TOOLS),
    "tool_choice": kinds.only("none", "auto", why=_NO_TOOLS),
    "functions": kinds.only([], why=_NO_TOOLS),
    "function_call": kinds.only("none", "auto", why=_NO_TOOLS),
}
"""Fields of a request to /v1/chat/completions."""

COMPLETION: Final[Mapping[str, kinds.Kind]] = {
    **_COMMON,
    "prompt": kinds.any_of(_TEXT, kinds.list_of(_TEXT, 1, 1)),
    "logprobs": kinds.integer(0, 20),
    "best_of": kinds.only(1, why="one answer a request"),
    "echo": kinds.only(False, why="the prompt is not repeated"),
    "suffix": kinds.only("", why="kernels write forwards only"),
}
"""Fields of a request to /v1/completions."""

EMBEDDINGS: Final[Mapping[str, kinds.Kind]] = {
    "model": kinds.Kind(
        allowed=f"{MODEL}: a basin is the same for every kernel",
        schema={"enum": [MODEL]},
        accepts=lambda value: isinstance(value, str) and value == MODEL,
    ),
    "input": kinds.Kind(
        allowed=f"a text, or a list of 1 to {INPUTS_MAX} texts",
        schema=kinds.any_of(_TEXT, kinds.list_of(_TEXT, 1, INPUTS_MAX)).schema,
        # What the list holds is `embeddings`'s to check, whose error names the place in it.
        accepts=lambda value: (
            _TEXT.accepts(value) or (isinstance(value, list) and 1 <= len(value) <= INPUTS_MAX)
        ),
    ),
    "encoding_format": kinds.Kind(
        allowed="float or base64",
        schema={"enum": [None, "float", "base64"]},
        accepts=lambda value: isinstance(value, str) and value in ("float", "base64"),
    ),
    "dimensions": kinds.only(NUM_OUTCOMES, why=f"a basin has {NUM_OUTCOMES} outcomes"),
    "user": _IGNORED,
}
"""Fields of a request to /v1/embeddings."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One request for text, from either endpoint."""

    model: str
    prompt: str
    turn: str | None
    """What decides the route when that is not the whole prompt."""
    sampling: Sampling
    routing: RoutingOptions
    stream: bool
    include_usage: bool
    adjusted: Mapping[str, int] = field(default_factory=dict)
    """Limits that were asked for beyond what there is -> what counts instead."""
    messages: tuple[Message, ...] = ()
    """Of a conversation: who said what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """One request for basins."""

    inputs: tuple[str, ...]
    base64: bool


def parse(data: bytes) -> kinds.Body:
    """Return the JSON object in `data`, or raise `InvalidRequest`."""
    try:
        body = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body", _why_broken(error), "a JSON object in UTF-8") from None
    if not isinstance(body, dict):
        raise kinds.refused("the body", body, "a JSON object")
    _check_nesting(body)
    return body


def _why_broken(error: ValueError | RecursionError) -> str:
    """Return why bytes are no JSON, without the words of Python's."""
    if isinstance(error, UnicodeDecodeError):
        return f"no UTF-8 at byte {error.start}"
    if isinstance(error, json.JSONDecodeError):
        return f"no JSON at line {error.lineno}, column {error.colno}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error)[:80] if isinstance(error, _NoJson) else "a number of too many digits"


class _NoJson(ValueError):
    """What Python's reader takes for JSON and is none."""


def _refuse_constant(name: str) -> NoReturn:
    raise _NoJson(f"no JSON: {name}")


def _check_nesting(body: Any) -> None:
    level = [body]
    for _ in range(_NESTING_MAX):
        inner = (value.values() if isinstance(value, dict) else value for value in level)
        level = [item for items in inner for item in items if isinstance(item, dict | list)]
        if not level:
            return
    raise InvalidRequest("the body", "nested deeper", f"{_NESTING_MAX} levels")


def chat(body: kinds.Body) -> Completion:
    """Read a request to /v1/chat/completions."""
    given = kinds.check(body, CHAT)
    said = chat_prompt(kinds.required(given, "messages", CHAT))
    top = given.pop("top_logprobs", None)
    wanted = given.pop("logprobs", False)
    if top is not None and not wanted:
        raise kinds.refused("top_logprobs", top, "null, or with logprobs true")
    num_logprobs = (top or 0) if wanted else None
    asked = _completion(given, CHAT, said.prompt, said.turn, num_logprobs)
    return replace(asked, messages=said.messages)


def completion(body: kinds.Body) -> Completion:
    """Read a request to /v1/completions."""
    given = kinds.check(body, COMPLETION)
    prompt = kinds.required(given, "prompt", COMPLETION)
    text = convert.check_text("prompt", prompt if isinstance(prompt, str) else prompt[0])
    return _completion(given, COMPLETION, text, None, given.pop("logprobs", None))


def _completion(
    given: dict[str, Any],
    known: Mapping[str, kinds.Kind],
    prompt: str,
    turn: str | None,
    logprobs: int | None,
) -> Completion:
    model = kinds.required(given, "model", known)
    adjusted = _adjust_limits(given)
    streaming = given.get("stream", False)
    if "stream_options" in given and not streaming:
        wanted = given["stream_options"]
        raise kinds.refused("stream_options", wanted, "null, or with stream true")
    options = kinds.check(given.get("stream_options", {}), _STREAM_OPTIONS, path="stream_options.")
    return Completion(
        model=model,
        prompt=prompt,
        turn=turn,
        sampling=_sampling(given, logprobs),
        routing=_routing(given.get("constellation", {}), model),
        stream=streaming,
        include_usage=options.get("include_usage", False),
        adjusted=adjusted,
    )


def _adjust_limits(given: dict[str, Any]) -> dict[str, int]:
    """Make one limit of tokens of two fields, and no `top_k` of one that means all tokens.

    Returns:
        Limits that were brought down to what there is, and what counts.
    """
    if given.get("top_k", 1) < 1:
        del given["top_k"]
    adjusted = {}
    for name in _TOKEN_LIMITS:
        if name in given and not 1 <= given[name] <= TOKENS_MAX:
            adjusted[name] = given[name] = TOKENS_MAX
    if "max_completion_tokens" in given:
        limit = given.pop("max_completion_tokens")
        if given.setdefault("max_tokens", limit) != limit:
            raise kinds.refused("max_tokens", given["max_tokens"], "what max_completion_tokens is")
    return adjusted


def _sampling(given: dict[str, Any], logprobs: int | None) -> Sampling:
    readers: dict[str, Callable[[Any], Any]] = {
        "stop": lambda value: (value,) if isinstance(value, str) else tuple(value),
        "logit_bias": lambda value: {int(token): bias for token, bias in value.items()},
    }
    values = {
        _SAMPLING_NAMES.get(name, name): readers.get(name, lambda value: value)(given[name])
        for name in _SAMPLING
        if name in given
    }
    try:
        return Sampling(**values, logprobs=logprobs)
    except InvalidRequest as error:
        named = {ours: theirs for theirs, ours in _SAMPLING_NAMES.items()}
        name = named.get(error.field, error.field)
        raise kinds.refused(name, given.get(name), error.allowed) from None


def _routing(body: kinds.Body, model: str) -> RoutingOptions:
    given = kinds.check(body, _ROUTING, path="constellation.")
    if "rule" in given:
        given["rule"] = Rule(given["rule"])
    if "mode" in given:
        given["mode"] = Mode(given["mode"])
    return RoutingOptions(kernel=None if model == MODEL else model, **given)


_FIELD_OF = {
    "kernel": "model",
    "tokens_max": "max_tokens",
    "tokens_min": "min_tokens",
    **{name: f"constellation.{name}" for name in _ROUTING},
}
"""Names of fields as the router knows them -> as callers of HTTP do."""


def as_asked(error: InvalidRequest) -> InvalidRequest:
    """Return an error of the router's under the name of the field that the caller sent."""
    name = _FIELD_OF.get(error.field, error.field)
    return InvalidRequest(name, kinds.Bare(error.value), error.allowed)


def embeddings(body: kinds.Body) -> Embeddings:
    """Read a request to /v1/embeddings."""
    given = kinds.check(body, EMBEDDINGS)
    kinds.required(given, "model", EMBEDDINGS)
    texts = kinds.required(given, "input", EMBEDDINGS)
    if isinstance(texts, str):
        inputs: tuple[str, ...] = (convert.check_text("input", texts),)
    else:
        inputs = tuple(_batched(text, f"input[{place}]") for place, text in enumerate(texts))
    return Embeddings(inputs=inputs, base64=given.get("encoding_format") == "base64")


def _batched(text: Any, path: str) -> str:
    """Return one text of several, or raise the error that names its place."""
    if not _TEXT.accepts(text):
        raise kinds.refused(path, text, _TEXT.allowed)
    try:
        return convert.check_text("input", text)
    except InvalidPrompt as error:
        allowed = f"a text of 1 to {error.limit} {error.unit}"
        raise kinds.refused(path, text, allowed) from None
