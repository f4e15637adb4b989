"""JSON bodies -> records. What OpenAI's API knows and we do not do is refused by name.

A field of theirs that we have no counterpart for passes only at the value that asks for nothing,
so that nobody gets an answer that quietly ignores what was asked.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Final, Literal, NoReturn

from pydantic import BeforeValidator, Field

from constellation.errors import InvalidPrompt, InvalidRequest
from constellation.records import (
    STOPS_MAX,
    TOKENS_MAX,
    Mode,
    RoutingOptions,
    Rule,
    Sampling,
)
from constellation.records import Message as RoleMessage
from constellation.wire import convert
from constellation.wire.http.body_model import (
    Bare,
    Body,
    Flag,
    OpenAIBody,
    Text,
    integer,
    number,
    only,
    refused,
    text,
)
from constellation.wire.http.chat_prompts import (
    MESSAGES_MAX,
    NO_TOOLS,
    PARTS_MAX,
    Message,
    chat_prompt,
)

MODEL: Final = "constellation"
"""The model that is all kernels together; a kernel's name pins that kernel."""
INPUTS_MAX: Final = 2048
"""Texts of one request for embeddings."""
NUM_OUTCOMES: Final = 64
"""Numbers in an embedding: a point of the simplex."""
BIASES_MAX: Final = 300
"""Tokens of a `logit_bias`."""

_NESTING_MAX = 64
_NO_LIMIT = -1
"""What some clients send as `max_tokens` or `top_k` when they mean no limit."""


def _check_size(bias: Any) -> Any:
    if isinstance(bias, dict) and len(bias) > BIASES_MAX:  # before each entry gets its own error
        raise ValueError("too many tokens")
    return bias


Prompt = Annotated[Text, Field(json_schema_extra={"minLength": 1})]
Stop = Annotated[str, text()]
TokenLimit = Annotated[
    Literal[-1] | Annotated[int, Field(ge=1)] | None,
    Field(
        description=f"a whole number from 1 on, or -1 for no limit; above {TOKENS_MAX} it counts "
        "as that"
    ),
]
Note = Annotated[str | None, text(0)]
"""A text that says who asks, not for what."""
TokenId = Annotated[str, Field(pattern="^(0|[1-9][0-9]{0,8})$")]
LogitBias = Annotated[
    dict[TokenId, Annotated[float, Field(ge=-100, le=100)]],
    Field(max_length=BIASES_MAX, json_schema_extra={"additionalProperties": False}),
    BeforeValidator(_check_size),
]


class Routing(Body):
    """How the request is to be routed."""

    rule: Annotated[Rule | None, Field(strict=False, description=" or ".join(Rule))] = None
    mode: Annotated[Mode | None, Field(strict=False, description=", ".join(Mode))] = None
    top_k: Annotated[int | None, integer(1, 240)] = None
    refuse_out_of_domain: Flag = None
    refuse: Annotated[float | None, number(0.002, 0.5)] = None
    explain: Flag = None
    handoff: Flag = None


class StreamOptions(OpenAIBody):
    """What a stream holds beside the answer."""

    include_usage: Flag = None
    include_obfuscation: Any = only(False, why="chunks are not padded")


class TextRequest(OpenAIBody):
    """What both endpoints that answer with text take."""

    model: Annotated[str, text()]
    stream: Flag = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float | None, number(0, 2)] = None
    top_p: Annotated[float | None, number(1e-6, 1)] = None
    max_tokens: TokenLimit = None
    min_tokens: Annotated[int | None, integer(0, TOKENS_MAX)] = None
    stop: Annotated[
        Stop | Annotated[list[Stop], Field(max_length=STOPS_MAX)] | None,
        Field(description=f"a text of 1 to 256 characters, or a list of 0 to {STOPS_MAX} of them"),
    ] = None
    seed: Annotated[int | None, integer(0, 2**63 - 1)] = None
    presence_penalty: Annotated[float | None, number(-2, 2)] = None
    frequency_penalty: Annotated[float | None, number(-2, 2)] = None
    logit_bias: Annotated[
        LogitBias | None,
        Field(description="an object from token ids to numbers from -100 to 100"),
    ] = None
    # 0 and -1: all tokens, as if the field were not given.
    top_k: Annotated[int | None, integer(_NO_LIMIT, 65_536)] = None
    min_p: Annotated[float | None, number(0, 1 - 1e-6)] = None
    repetition_penalty: Annotated[float | None, number(0.5, 2)] = None
    constellation: Routing | None = None
    n: Any = only(1, why="one answer a request")
    user: Note = None


class ChatRequest(TextRequest):
    """A request to /v1/chat/completions."""

    messages: Annotated[
        list[Message],
        Field(
            min_length=1,
            max_length=MESSAGES_MAX,
            fail_fast=True,
            description=f"a list of 1 to {MESSAGES_MAX} messages",
        ),
    ]
    max_completion_tokens: TokenLimit = None
    logprobs: Flag = None
    top_logprobs: Annotated[int | None, integer(0, 20)] = None
    safety_identifier: Note = None
    prompt_cache_key: Note = None
    prompt_cache_retention: Note = None
    service_tier: Any = only("auto", "default", why="all requests are served alike")
    store: Any = only(False, why="nothing is stored")
    metadata: Any = only({}, why="nothing is stored")
    modalities: Any = only(["text"], why="kernels write text")
    audio: Any = only(why="kernels write text")
    response_format: Any = only({"type": "text"}, why="kernels write free text")
    prediction: Any = only(why="nothing is predicted")
    reasoning_effort: Any = only("none", why="kernels do not deliberate")
    verbosity: Any = only(why="kernels take no instruction on length; use max_tokens")
    web_search_options: Any = only(why="kernels search nothing")
    parallel_tool_calls: Any = only(True, False, why=NO_TOOLS)
    tools: Any = only([], why=NO_TOOLS)
    tool_choice: Any = only("none", "auto", why=NO_TOOLS)
    functions: Any = only([], why=NO_TOOLS)
    function_call: Any = only("none", "auto", why=NO_TOOLS)


class CompletionRequest(TextRequest):
    """A request to /v1/completions."""

    prompt: Annotated[
        Prompt | Annotated[list[Prompt], Field(min_length=1, max_length=1)],
        Field(description="a text that UTF-8 can carry, or a list of one"),
    ]
    logprobs: Annotated[int | None, integer(0, 20)] = None
    best_of: Any = only(1, why="one answer a request")
    echo: Any = only(False, why="the prompt is not repeated")
    suffix: Any = only("", why="kernels write forwards only")


class EmbeddingsRequest(OpenAIBody):
    """A request to /v1/embeddings."""

    named_by_place: ClassVar[frozenset[str]] = frozenset({"input"})

    model: Annotated[
        Literal["constellation"],
        Field(description=f"{MODEL}: a basin is the same for every kernel"),
    ]
    input: Annotated[
        Prompt | Annotated[list[Prompt], Field(min_length=1, max_length=INPUTS_MAX)],
        Field(description=f"a text, or a list of 1 to {INPUTS_MAX} texts"),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Field(description="float or base64")
    ] = None
    dimensions: Any = only(NUM_OUTCOMES, why=f"a basin has {NUM_OUTCOMES} outcomes")
    user: Note = None


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
    messages: tuple[RoleMessage, ...] = ()
    """Of a conversation: who said what."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Embeddings:
    """One request for basins."""

    inputs: tuple[str, ...]
    base64: bool


# --- reading --------------------------------------------------------------------------------------


def parse(data: bytes) -> Mapping[str, Any]:
    """Return the JSON object in `data`, or raise `InvalidRequest`."""
    try:
        body = json.loads(data.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("the body", _why_broken(error), "a JSON object in UTF-8") from None
    if not isinstance(body, dict):
        raise refused("the body", body, "a JSON object")
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


def chat(body: Mapping[str, Any]) -> Completion:
    """Read a request to /v1/chat/completions."""
    _check_num_parts(body.get("messages"))
    asked = ChatRequest.read(body)
    said = chat_prompt(asked.messages)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise refused("top_logprobs", asked.top_logprobs, "null, or with logprobs true")
    logprobs = (asked.top_logprobs or 0) if asked.logprobs else None
    limits = {"max_completion_tokens": asked.max_completion_tokens}
    read = _completion(asked, said.prompt, said.turn, logprobs, limits)
    return replace(read, messages=said.messages)


def _check_num_parts(messages: Any) -> None:
    """Refuse messages with too many parts, before each part is read."""
    spoken = messages if isinstance(messages, list) else []
    contents = (each.get("content") for each in spoken if isinstance(each, dict))
    num_parts = sum(len(content) for content in contents if isinstance(content, list))
    if num_parts > PARTS_MAX:
        allowed = f"{PARTS_MAX} parts of all messages together"
        raise InvalidRequest("messages", Bare(f"{num_parts} parts"), allowed)


def completion(body: Mapping[str, Any]) -> Completion:
    """Read a request to /v1/completions."""
    asked = CompletionRequest.read(body)
    prompt = asked.prompt if isinstance(asked.prompt, str) else asked.prompt[0]
    return _completion(asked, convert.check_text("prompt", prompt), None, asked.logprobs, {})


def _completion(
    asked: TextRequest,
    prompt: str,
    turn: str | None,
    logprobs: int | None,
    limits: Mapping[str, int | None],
) -> Completion:
    if asked.stream_options is not None and not asked.stream:
        wanted = asked.stream_options.model_dump(exclude_none=True)
        raise refused("stream_options", wanted, "null, or with stream true")
    given = {"max_tokens": asked.max_tokens, **limits}
    counted = {name: _token_limit(limit) for name, limit in given.items() if limit is not None}
    if len(set(counted.values())) > 1:
        raise refused("max_tokens", counted["max_tokens"], "what max_completion_tokens is")
    return Completion(
        model=asked.model,
        prompt=prompt,
        turn=turn,
        sampling=_sampling(asked, next(iter(counted.values()), None), logprobs),
        routing=_routing(asked),
        stream=bool(asked.stream),
        include_usage=asked.stream_options is not None and bool(asked.stream_options.include_usage),
        adjusted={name: limit for name, limit in counted.items() if limit != given[name]},
    )


def _token_limit(limit: int) -> int:
    return limit if 1 <= limit <= TOKENS_MAX else TOKENS_MAX


_SAMPLED = [each.name for each in fields(Sampling) if each.name in TextRequest.model_fields]
"""Fields that have one name in a body and in `Sampling`."""


def _sampling(asked: TextRequest, tokens_max: int | None, logprobs: int | None) -> Sampling:
    values: dict[str, Any] = {name: getattr(asked, name) for name in _SAMPLED}
    values |= {"tokens_max": tokens_max, "tokens_min": asked.min_tokens, "logprobs": logprobs}
    if asked.top_k is not None and asked.top_k < 1:
        values["top_k"] = None
    if asked.stop is not None:
        values["stop"] = (asked.stop,) if isinstance(asked.stop, str) else tuple(asked.stop)
    if asked.logit_bias is not None:
        values["logit_bias"] = {int(token): bias for token, bias in asked.logit_bias.items()}
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return Sampling(**given)
    except InvalidRequest as error:  # of the one rule between two fields
        raise refused("min_tokens", asked.min_tokens, error.allowed) from None


def _routing(asked: TextRequest) -> RoutingOptions:
    options = (
        {} if asked.constellation is None else asked.constellation.model_dump(exclude_none=True)
    )
    return RoutingOptions(kernel=None if asked.model == MODEL else asked.model, **options)


_FIELD_OF = {
    "kernel": "model",
    "tokens_max": "max_tokens",
    "tokens_min": "min_tokens",
    **{name: f"constellation.{name}" for name in Routing.model_fields},
}
"""Names of fields as the router knows them -> as callers of HTTP do."""


def as_asked(error: InvalidRequest) -> InvalidRequest:
    """Return an error of the router's under the name of the field that the caller sent."""
    name = _FIELD_OF.get(error.field, error.field)
    return InvalidRequest(name, Bare(error.value), error.allowed)


def embeddings(body: Mapping[str, Any]) -> Embeddings:
    """Read a request to /v1/embeddings."""
    asked = EmbeddingsRequest.read(body)
    if isinstance(asked.input, str):
        inputs: tuple[str, ...] = (convert.check_text("input", asked.input),)
    else:
        inputs = tuple(_batched(text, f"input[{place}]") for place, text in enumerate(asked.input))
    return Embeddings(inputs=inputs, base64=asked.encoding_format == "base64")


def _batched(text: str, path: str) -> str:
    """Return one text of several, or raise the error that names its place."""
    try:
        return convert.check_text("input", text)
    except InvalidPrompt as error:
        raise refused(path, text, f"a text of 1 to {error.limit} {error.unit}") from None
