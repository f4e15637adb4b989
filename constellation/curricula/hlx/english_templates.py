"""English sentences for values of some frequent shapes, each with its way back.

A template has a pattern for sentences, a function from the pattern's groups to the value, and a
function from a value to the sentence, which is None for values of other shapes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from constellation.curricula.hlx.number_words import WORDS_MAX, number_of_words, words
from constellation.curricula.hlx.values import INT_MAX, INT_MIN, Handle

_INTEGER = r"(?:0|-?[1-9][0-9]{0,18})"
_FLOAT = r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17}(?:e[+-][0-9]{1,3})?|e[+-][0-9]{1,3})"
_ITEM = rf"(?:nothing|true|false|{_FLOAT}|{_INTEGER}|'[A-Za-z0-9 _-]*')"
_NAME = r"[A-Za-z0-9_]+"
_LENGTH_MAX = 10_000
"""Most characters of a sentence by a template; a longer value has a sentence without one."""
_STAGES = {"vert": "vertex", "frag": "fragment", "comp": "compute"}
_HANDLES = {stage: Handle(f"&h_{name}") for name, stage in _STAGES.items()}
_STAGE = rf"a (?:{'|'.join(_HANDLES)})"


@dataclass(frozen=True)
class _Template:
    pattern: re.Pattern[str]
    read: Callable[[re.Match[str]], Any]
    write: Callable[[Any], str | None]


def write(value: Any) -> str | None:
    """Return the sentence of a value that has one of the shapes, or None."""
    for template in _TEMPLATES:
        text = template.write(value)
        # A sentence is used only if its pattern accepts it: handles, say, may have any length.
        if text is not None and len(text) <= _LENGTH_MAX and template.pattern.fullmatch(text):
            return text
    return None


def read(text: str) -> Any:
    """Return the value of a sentence that follows a template, or None."""
    for template in _TEMPLATES if len(text) <= _LENGTH_MAX else ():
        if match := template.pattern.fullmatch(text):
            return template.read(match)
    return None


def _joined(parts: list[str]) -> str:
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)


# --- "List of 42, 'test' and true" --------------------------------------------------------------


def _write_list(value: Any) -> str | None:
    if type(value) is not tuple or not value:
        return None
    items = [_item(each) for each in value]
    return f"List of {_joined([item for item in items if item])}" if all(items) else None


def _item(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return f"'{value}'" if re.fullmatch(r"[A-Za-z0-9 _-]*", value) else None
    return repr(value) if type(value) in (int, float) else None


def _read_list(match: re.Match[str]) -> Any:
    return tuple(_read_item(text) for text in re.findall(_ITEM, match[1]))


def _read_item(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text.startswith("'"):
        return text[1:-1]
    return int(text) if re.fullmatch(_INTEGER, text) else float(text)


_CONSTANTS = {"nothing": None, "true": True, "false": False}


# --- "User profile with name Alice and age 30" --------------------------------------------------


def _write_profile(value: Any) -> str | None:
    if type(value) is not dict or list(value) != ["age", "name"]:
        return None
    age, name = value["age"], value["name"]
    if type(age) is not int or type(name) is not str:
        return None
    return f"User profile with name {name} and age {age}"


def _read_profile(match: re.Match[str]) -> Any:
    return {"age": int(match[2]), "name": match[1]}


# --- "Integer literal forty-two" ----------------------------------------------------------------


def _write_literal(value: Any) -> str | None:
    number = _only_field(value, 14)
    if type(number) is not int:
        return None
    return f"Integer literal {words(number) if abs(number) <= WORDS_MAX else number}"


def _read_literal(match: re.Match[str]) -> Any:
    number = number_of_words().get(match[1])
    if number is None:
        number = int(match[1]) if re.fullmatch(_INTEGER, match[1]) else None
    return None if number is None or not INT_MIN <= number <= INT_MAX else {14: {0: number}}


def _only_field(value: Any, contract: int) -> Any:
    body = value.get(contract) if type(value) is dict and len(value) == 1 else None
    return body.get(0) if type(body) is dict and len(body) == 1 else None


# --- "Search for documents" ---------------------------------------------------------------------


def _write_search(value: Any) -> str | None:
    body = value.get(1000) if type(value) is dict and len(value) == 1 else None
    if type(body) is not dict or list(body) != [0, 1] or body[0] != "search":
        return None
    return f"Search for {body[1].name}" if isinstance(body[1], Handle) else None


def _read_search(match: re.Match[str]) -> Any:
    return {1000: {0: "search", 1: Handle(f"&h_{match[1]}")}}


# --- "Pipeline cube with a vertex and a fragment stage" -----------------------------------------


def _write_pipeline(value: Any) -> str | None:
    body = value.get(902) if type(value) is dict and len(value) == 1 else None
    if type(body) is not dict or list(body) != [0, 1, 2, 3] or type(body[1]) is not tuple:
        return None
    stages = [_STAGES.get(getattr(each, "name", "")) for each in body[1]]
    name, rest = body[0], (body[2], body[3])
    if type(name) is not str or not stages or not all(stages) or rest != ((), Handle("&h_fb")):
        return None
    return f"Pipeline {name} with {_joined([f'a {each}' for each in stages])} stage"


def _read_pipeline(match: re.Match[str]) -> Any:
    stages = tuple(_HANDLES[each[2:]] for each in re.findall(_STAGE, match[2]))
    return {902: {0: match[1], 1: stages, 2: (), 3: Handle("&h_fb")}}


def _list_of(item: str) -> str:
    return rf"({item}(?:(?:, {item})* and {item})?)"


_TEMPLATES = (
    _Template(re.compile(f"List of {_list_of(_ITEM)}"), _read_list, _write_list),
    _Template(
        re.compile(r"User profile with name ([A-Za-z]+) and age (0|[1-9][0-9]{0,2})"),
        _read_profile,
        _write_profile,
    ),
    _Template(
        re.compile(r"Integer literal (-?[0-9]{1,19}|[a-z]+(?:[ -][a-z]+){0,5})"),
        _read_literal,
        _write_literal,
    ),
    _Template(re.compile(rf"Search for ({_NAME})"), _read_search, _write_search),
    _Template(
        re.compile(rf"Pipeline ({_NAME}) with {_list_of(_STAGE)} stage"),
        _read_pipeline,
        _write_pipeline,
    ),
)
