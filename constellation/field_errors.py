"""Turn pydantic's validation errors of a settings file or recipe into plain messages.

A message names the key, its value and the allowed values; for an unknown key, the known key that is
most similar.
"""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a number that is not infinite",
    "bool": "true or false",
    "string": "a text",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "mapping": "a table",
    "model": "a table",
    "path": "a path",
}
"""Prefix of pydantic's error type -> description of the allowed values."""


def field_problems(error: ValidationError, model: type[BaseModel]) -> str:
    """Return one message for all invalid fields, separated by semicolons.

    Args:
        error: Validation error of pydantic.
        model: The class that was validated.
    """
    return "; ".join(_problem(dict(each), model) for each in error.errors())


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint: the known name most similar to `name`, or all known names."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(names)}"


def _problem(found: dict[str, Any], model: type[BaseModel]) -> str:
    place: Sequence[str | int] = found["loc"]
    key = ".".join(map(str, place))
    kind: str = found["type"]
    if kind == "extra_forbidden":
        inner = _model_at(model, place[:-1])
        known = [] if inner is None else inner.model_fields
        return f"{key} is unknown; {did_you_mean(str(place[-1]), known)}"
    if kind == "missing":
        return f"{key} is missing"
    if kind == "value_error":  # raised by a validator of this project, with a plain message
        said = str(found["ctx"]["error"])
        return f"{key}: {said}" if key else said
    return f"{key} is {_shown(found['input'])}; allowed: {_allowed(found)}"


def _allowed(found: dict[str, Any]) -> str:
    facts: dict[str, Any] = found.get("ctx", {})
    bounds = [f"{word} {facts[name]}" for name, word in _BOUNDS.items() if name in facts]
    if bounds:
        return ", ".join(bounds)
    if "expected" in facts:
        return str(facts["expected"])
    kind: str = found["type"]
    named = next((words for name, words in _KINDS.items() if kind.startswith(name)), None)
    if "pattern" in facts or named is None or "length" in kind or kind.endswith("too_short"):
        return str(found["msg"])
    return named


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def _model_at(model: type[BaseModel], place: Sequence[str | int]) -> type[BaseModel] | None:
    """Return the model class of the section at `place`; None without a section, as in a list."""
    inner: type[BaseModel] | None = model
    for part in place:
        if inner is None or part not in inner.model_fields:
            return None
        annotation = inner.model_fields[str(part)].annotation
        kinds = [annotation, *get_args(annotation)]
        inner = next((k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)), None)
    return inner
