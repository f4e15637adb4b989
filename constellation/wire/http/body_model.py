"""Base class of the JSON bodies, and the error of ours that names what is wrong with one.

A field that is null counts as not given, as OpenAI's clients mean null: in a field that no model
declares too, since those clients send every field that they know. Messages speak JSON: null, not
None. The description of a field says what the field may hold; errors and the OpenAPI document
show it.
"""

import difflib
import json
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from constellation.errors import InvalidRequest
from constellation.wire.convert import TEXT_BYTES_MAX

NAME_LENGTH_MAX = 256
"""Longest text of a field that is no prompt, in characters."""


def is_encodable(value: str) -> bool:
    """Say whether UTF-8 can carry a text: JSON can spell halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_encodable(value: str) -> str:
    value.encode()  # raises a ValueError
    return value


def number(low: float, high: float) -> Any:
    """Declare a number in [low, high]."""
    return Field(ge=low, le=high, description=f"a number from {low:g} to {high:g}")


def integer(low: int, high: int) -> Any:
    """Declare a whole number in [low, high]."""
    return Field(ge=low, le=high, description=f"a whole number from {low} to {high}")


def text(length_min: int = 1) -> Any:
    """Declare a text that is no prompt."""
    words = f"a text of {length_min} to {NAME_LENGTH_MAX} characters that UTF-8 can carry"
    return Field(min_length=length_min, max_length=NAME_LENGTH_MAX, description=words)


def only(*values: Any, why: str) -> Any:
    """Declare a field of OpenAI's without a counterpart here: these values ask for nothing."""
    shown = ", ".join(["null", *map(json.dumps, values)])
    enum: dict[str, Any] = {"enum": [None, *values]}
    return Field(default=None, description=f"{shown}: {why}", json_schema_extra=enum)


Flag = Annotated[bool | None, Field(description="true or false")]
# How long a prompt may be is checked by `check_text`, whose error gives the length.
Text = Annotated[
    str,
    AfterValidator(_check_encodable),
    Field(
        description="a text that UTF-8 can carry", json_schema_extra={"maxLength": TEXT_BYTES_MAX}
    ),
]
"""A text of a prompt."""


class Body(BaseModel):
    """A JSON object of a request. Types are strict and fields that are not declared are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    named_by_place: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold a list of plain values and whose errors name the place in the list."""

    @classmethod
    def read(cls, body: Any) -> Self:
        """Return a body as its model.

        Raises:
            InvalidRequest: Names the first field that is unknown or holds what the field may not
                hold, else one that is missing.
        """
        try:
            return cls.model_validate(body)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False, include_input=False)
            names = [name for name in body if body[name] is not None]

            def order(each: Any) -> tuple[int, int]:
                name = each["loc"][0] if each["loc"] else None
                # Of the types that a field may have, the error furthest inside says most.
                return names.index(name) if name in names else len(names), -len(each["loc"])

            first = min(found, key=order)
            raise _named(cls, body, first["loc"], first["type"]) from None

    @model_validator(mode="before")
    @classmethod
    def _drop_null(cls, body: Any) -> Any:
        """Return the fields that are given; of those that are not declared, one is enough."""
        if not isinstance(body, dict):
            return body
        given = {name: value for name, value in body.items() if value is not None}
        for name in [name for name in given if name not in cls.model_fields][1:]:
            del given[name]
        return given


class OpenAIBody(Body):
    """A JSON object that may hold fields of OpenAI's without a counterpart here."""

    @field_validator("*")
    @classmethod
    def _check_only(cls, value: Any, info: ValidationInfo) -> Any:
        extra = cls.model_fields[str(info.field_name)].json_schema_extra
        if isinstance(extra, dict) and "enum" in extra:
            known: Any = extra["enum"]
            if not any(type(value) is type(each) and value == each for each in known):
                raise ValueError(info.field_name)  # equality alone takes true for 1
        return value


def refused(field: str, value: Any, allowed: str) -> InvalidRequest:
    """Return the error for a field that holds what it may not hold, with the value as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return InvalidRequest(field, Bare(text if is_encodable(text) else json.dumps(value)), allowed)


def missing(field: str, allowed: str) -> InvalidRequest:
    """Return the error for a field that must be given and is absent, or null."""
    return InvalidRequest(field, Bare("missing"), allowed)


def allowed_in(model: type[Body], name: str) -> str:
    """Return in words what a field may hold."""
    declared = model.model_fields[name]
    return declared.description or _object_words(_model_in(declared.annotation))


def shortened(name: str) -> str:
    """Return a caller's name for something, made fit for a message."""
    return ascii(name)[1:-1][:64]


class Bare(str):
    """A text that an error shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _named(
    model: type[Body], value: Any, location: tuple[int | str, ...], kind: str
) -> InvalidRequest:
    """Follow a location of pydantic's from field to field, leaving out its names of types."""
    path, name = "", ""
    inner: type[Body] | None = model
    for part in location:
        if isinstance(value, list) and isinstance(part, int):
            if inner is None and name not in model.named_by_place:
                break
            path, value = f"{path}[{part}]", value[part]
        elif isinstance(value, dict) and inner is not None:
            if kind == "extra_forbidden" and part not in inner.model_fields:
                return _unknown(path, str(part), inner.model_fields)
            if part in inner.model_fields:
                model, name = inner, str(part)
                path, value = f"{path}.{name}".lstrip("."), value.get(name)
                inner = _model_in(model.model_fields[name].annotation)
                if value is None:
                    return missing(path, allowed_in(model, name))
    if isinstance(value, dict) and inner is not None and kind == "string_unicode":
        strange = next(each for each in value if not is_encodable(each))
        return _unknown(path, strange, inner.model_fields)
    if path.endswith("]"):
        return refused(path, value, _object_words(inner))
    return refused(path, value, allowed_in(model, name))


def _unknown(path: str, name: str, known: Iterable[str]) -> InvalidRequest:
    """Return the error for a field that is not declared, with the declared one most like it."""
    near = difflib.get_close_matches(name[:NAME_LENGTH_MAX], known, n=1)
    hint = f"did you mean {near[0]}?" if near else "/openapi.json lists the fields that are known"
    field = f"{path}.{shortened(name)}".lstrip(".")
    return InvalidRequest(field, Bare("unknown"), f"no field of this name; {hint}")


def _model_in(annotation: Any) -> type[Body] | None:
    """Return the model that a field holds, by itself or in a list; None where there is none."""
    if isinstance(annotation, type) and issubclass(annotation, Body):
        return annotation
    inner = (_model_in(each) for each in get_args(annotation))
    return next((each for each in inner if each is not None), None)


def _object_words(model: type[Body] | None) -> str:
    if model is None:
        return "a text that UTF-8 can carry"
    return f"an object with the fields {', '.join(model.model_fields)}"
