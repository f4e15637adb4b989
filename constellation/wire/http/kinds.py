"""Kinds of values in a JSON body: one declaration checks them and describes them.

`null` counts as not given everywhere, as OpenAI's clients mean it: also in a field that is not
known here, since clients send all fields that they know. Errors speak JSON: null, not None.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from constellation.errors import InvalidRequest

Body = Mapping[str, Any]
"""A JSON object."""

TEXT_SHOWN_MAX = 256
"""Longest text of a field that is no prompt."""


class Bare(str):
    """A text that an error shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def refused(field: str, value: Any, allowed: str) -> InvalidRequest:
    """Return the error for a field that holds what it may not; the value is shown as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return InvalidRequest(field, Bare(text if encodable(text) else json.dumps(value)), allowed)


def missing(field: str, allowed: str) -> InvalidRequest:
    """Return the error for a field that must be given and is not, or is null."""
    return InvalidRequest(field, Bare("missing"), allowed)


def unknown(field: str, name: str, known: Iterable[str]) -> InvalidRequest:
    """Return the error for a field that is not known here, with the known one most like it."""
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else "/openapi.json lists the fields that are known"
    return InvalidRequest(field, Bare("unknown"), f"no field of this name; {hint}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """What a field may hold."""

    allowed: str
    """In words, for who sent something else."""
    schema: Mapping[str, Any]
    """The same as JSON Schema, `null` left out."""
    accepts: Callable[[Any], bool]
    """True for what may stand there; ranges that the records check are left to them."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(low: float, high: float) -> Kind:
    """A number in [low, high]."""
    return Kind(
        allowed=f"a number from {low:g} to {high:g}",
        schema={"type": "number", "minimum": low, "maximum": high},
        accepts=lambda value: _is_number(value) and low <= value <= high,
    )


def integer(low: int, high: int) -> Kind:
    """A whole number in [low, high]."""
    return Kind(
        allowed=f"a whole number from {low} to {high}",
        schema={"type": "integer", "minimum": low, "maximum": high},
        accepts=lambda value: _is_number(value) and isinstance(value, int) and low <= value <= high,
    )


def flag() -> Kind:
    """True or false."""
    return Kind(
        allowed="true or false",
        schema={"type": "boolean"},
        accepts=lambda value: isinstance(value, bool),
    )


def text(length_min: int = 1, length_max: int = TEXT_SHOWN_MAX) -> Kind:
    """A text that UTF-8 can carry."""
    return Kind(
        allowed=f"a text of {length_min} to {length_max} characters that UTF-8 can carry",
        schema={"type": "string", "minLength": length_min, "maxLength": length_max},
        accepts=lambda value: (
            isinstance(value, str) and length_min <= len(value) <= length_max and encodable(value)
        ),
    )


def only(*values: Any, why: str) -> Kind:
    """A field that is known and means something we do not do: these values ask for nothing."""
    shown = ", ".join(["null", *(json.dumps(value) for value in values)])
    return Kind(
        allowed=f"{shown}: {why}",
        schema={"enum": [None, *values]},
        accepts=lambda value: any(type(value) is type(v) and value == v for v in values),
    )


def any_of(*kinds: Kind) -> Kind:
    """One of several kinds."""
    return Kind(
        allowed=", or ".join(kind.allowed for kind in kinds),
        schema={"anyOf": [dict(kind.schema) for kind in kinds]},
        accepts=lambda value: any(kind.accepts(value) for kind in kinds),
    )


def list_of(kind: Kind, length_min: int, length_max: int) -> Kind:
    """A list."""
    return Kind(
        allowed=f"a list of {length_min} to {length_max}, each {kind.allowed}",
        schema={
            "type": "array",
            "items": dict(kind.schema),
            "minItems": length_min,
            "maxItems": length_max,
        },
        accepts=lambda value: (
            isinstance(value, list)
            and length_min <= len(value) <= length_max
            and all(kind.accepts(item) for item in value)
        ),
    )


def object_of(fields: Mapping[str, Kind]) -> Kind:
    """An object; its fields are checked by `check`, so that the one that is wrong is named."""
    return Kind(
        allowed=f"an object with the fields {', '.join(fields)}",
        schema=object_schema(fields),
        accepts=lambda value: isinstance(value, dict),
    )


def object_schema(fields: Mapping[str, Kind], *required: str) -> dict[str, Any]:
    """Return the JSON Schema of an object; fields that are not required may be null."""
    return {
        "type": "object",
        "properties": {
            name: dict(kind.schema) if name in required else _nullable(kind.schema)
            for name, kind in fields.items()
        },
        "required": list(required),
        "additionalProperties": False,
    }


def _nullable(schema: Mapping[str, Any]) -> dict[str, Any]:
    return dict(schema) if "enum" in schema else {"anyOf": [dict(schema), {"type": "null"}]}


def check(body: Body, fields: Mapping[str, Kind], *, path: str = "") -> dict[str, Any]:
    """Return the fields that are given.

    Args:
        body: An object of the request.
        fields: Those that may stand in it.
        path: Put before the names in errors, such as "messages[0].".

    Raises:
        InvalidRequest: Names a field that is unknown or holds what it may not.
    """
    given = {}
    for name, value in body.items():
        if value is None:
            continue
        if name not in fields:
            raise unknown(f"{path}{shortened(name)}", name[:TEXT_SHOWN_MAX], fields)
        if not fields[name].accepts(value):
            raise refused(f"{path}{name}", value, fields[name].allowed)
        given[name] = value
    return given


def required(given: Body, name: str, fields: Mapping[str, Kind], *, path: str = "") -> Any:
    """Return a field that must be given, or raise `InvalidRequest`."""
    if name not in given:
        raise missing(f"{path}{name}", fields[name].allowed)
    return given[name]


def encodable(value: str) -> bool:
    """Say whether UTF-8 can carry a text: JSON can spell halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def shortened(name: str) -> str:
    """Return a caller's name for something, made fit for a message."""
    return ascii(name)[1:-1][:64]
