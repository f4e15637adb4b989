"""The endpoints as an OpenAPI document, from the same models that check the bodies."""

from collections.abc import Mapping
from typing import Any

from constellation.wire.http import bodies
from constellation.wire.http.body_model import Body
from constellation.wire.http.route_bodies import RouteRequest

Json = dict[str, Any]


def document() -> Json:
    """Return the document, OpenAPI 3.1."""
    named = {"Error": _ERROR}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Constellation",
            "version": "1",
            "description": "A subset of OpenAI's API. Embeddings are basins: points of the simplex "
            "of 64 outcomes, made for telling domains of text apart, not for fine similarity.",
        },
        "paths": {
            "/health": _get("health", _object(status=_TEXT), {"503": "no kernel can answer"}),
            "/v1/models": _get("models", _list_of(_MODEL), {}),
            "/v1/models/{model}": _model_path(),
            "/v1/chat/completions": _post("chat", bodies.ChatRequest, named),
            "/v1/completions": _post("complete", bodies.CompletionRequest, named),
            "/v1/embeddings": _post("embed", bodies.EmbeddingsRequest, named),
            "/v1/route": _post("route", RouteRequest, named),
            "/status.json": _get("status", _STATUS, {}),
            "/status/events": _events(),
        },
        "components": {
            "schemas": named,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _object(**fields: Json) -> Json:
    return {"type": "object", "properties": fields, "required": list(fields)}


def _list_of(item: Json) -> Json:
    return _object(object={"const": "list"}, data={"type": "array", "items": item})


_REF = "#/components/schemas/{model}"
_TEXT: Json = {"type": "string"}
_TEXT_OR_NULL: Json = {"type": ["string", "null"]}
_COUNT: Json = {"type": "integer", "minimum": 0}
_ERROR = _object(error=_object(message=_TEXT, type=_TEXT, param=_TEXT_OR_NULL, code=_TEXT_OR_NULL))
_MODEL = _object(id=_TEXT, object={"const": "model"}, created=_COUNT, owned_by=_TEXT)
_USAGE = _object(prompt_tokens=_COUNT, completion_tokens=_COUNT, total_tokens=_COUNT)
_NUMBER: Json = {"type": "number"}
_NUMBER_OR_NULL: Json = {"type": ["number", "null"]}
_OBJECT: Json = {"type": "object"}
_OBJECTS: Json = {"type": "array", "items": _OBJECT}
_CHOICE = _object(kernel=_TEXT, distance=_NUMBER, weight=_NUMBER, radius=_NUMBER)
_INFLUENCE = _object(text=_TEXT, position=_COUNT, shift=_NUMBER)
_ROUTE = _object(
    kernel=_TEXT,
    reason=_TEXT,
    rule=_TEXT,
    mode=_TEXT,
    margin=_NUMBER,
    num_tokens=_COUNT,
    out_of_domain={"type": "boolean"},
    no_evidence={"type": "boolean"},
    beyond_own=_NUMBER_OR_NULL,
    beyond_foreign=_NUMBER_OR_NULL,
    table_version=_COUNT,
    choices={"type": "array", "items": _CHOICE},
    influences={"type": "array", "items": _INFLUENCE},
)
_STATUS = _object(
    version=_TEXT,
    time=_NUMBER,
    router=_OBJECT,
    routers=_OBJECTS,
    registry=_OBJECT,
    problem=_TEXT,
    release=_OBJECT,
    releases=_OBJECTS,
    traffic=_OBJECT,
    kernels=_OBJECTS,
    recent=_OBJECTS,
    nodes=_OBJECTS,
    training={"type": ["object", "null"]},
)
_REFUSALS = {
    "400": "a field is unknown, missing or holds what it may not; `param` names it",
    "401": "the token is missing or wrong",
    "404": "no model has this name",
    "413": "the body is over 4 MiB",
    "422": "the query is out of every kernel's domain, and refusal was asked for",
    "429": "all places are taken; Retry-After says when to come back",
    "503": "no kernel can answer now",
    "504": "the deadline passed",
}


def _answer(name: str) -> Json:
    if name == "route":
        return _ROUTE
    if name == "embed":
        vector = {"anyOf": [_TEXT, {"type": "array", "items": {"type": "number"}}]}
        return _list_of(_object(object={"const": "embedding"}, index=_COUNT, embedding=vector))
    kind = "chat.completion" if name == "chat" else "text_completion"
    key = "message" if name == "chat" else "text"
    choice: Json = _object(index=_COUNT, finish_reason={"enum": ["stop", "length"]})
    choice["required"].append(key)
    choices = {"type": "array", "items": choice, "minItems": 1, "maxItems": 1}
    route = _object(route=_object(kernel=_TEXT, reason=_TEXT))
    return _object(
        id=_TEXT,
        object={"const": kind},
        created=_COUNT,
        model=_TEXT,
        choices=choices,
        usage=_USAGE,
        constellation=route,
    )


def _content(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _replies(schema: Json, refusals: Mapping[str, str]) -> Json:
    error = _content({"$ref": _REF.format(model="Error")})
    said = {"default": "an error", **refusals}
    return {
        "200": {"description": "the answer", "content": _content(schema)},
        **{code: {"description": text, "content": error} for code, text in said.items()},
    }


def _get(name: str, schema: Json, refusals: Mapping[str, str]) -> Json:
    return {"get": {"operationId": name, "responses": _replies(schema, refusals)}}


def _events() -> Json:
    """Describe the stream, whose events hold the parts of the status that changed."""
    path = _get("status_events", _STATUS, {"429": _REFUSALS["429"]})
    path["get"]["responses"]["200"]["content"] = {"text/event-stream": {}}
    return path


def _model_path() -> Json:
    path = _get("model", _MODEL, {"404": "no model has this name"})
    path["get"]["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": _TEXT}]
    return path


def _post(name: str, body: type[Body], named: Json) -> Json:
    replies = _replies(_answer(name), _REFUSALS)
    if issubclass(body, bodies.TextRequest):
        replies["200"]["content"]["text/event-stream"] = {}  # 3.1 has no words for events
    schema = body.model_json_schema(ref_template=_REF)
    named |= schema.pop("$defs", {})
    return {
        "post": {
            "operationId": name,
            "requestBody": {"required": True, "content": _content(schema)},
            "responses": replies,
        }
    }
