"""The value model of HLX-1: which Python objects are HLX values, limits, contracts as a view.

| kind | Python |
|---|---|
| NULL, BOOL, INT, FLOAT, TEXT, BYTES | None, bool, int, float, str, bytes |
| ARRAY | tuple (encoders accept lists, too) |
| OBJECT: record, named object | dict with int keys, dict with str keys; `{}` is both |
| HANDLE | `Handle` |

Python's `==` ignores the difference between True, 1 and 1.0; `lc_binary.same_value` does not.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from constellation.errors import HlxError

DEPTH_MAX = 64
"""Most ARRAYs and OBJECTs of the binary form that are open at one place."""
SIZE_MAX = 2**20
"""Most bytes of the binary form of a value."""
TEXT_MAX = 16 * SIZE_MAX
"""Most characters of a text form; the longest texts of a value are about 11 times its bytes."""
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
RESERVED_INDEX = 8
"""Index that no field has: the byte 08 ends an OBJECT."""
NAMED_LEVELS = 5
"""Levels of the binary form that one named object opens: OBJECT, OBJECT, ARRAY, OBJECT, OBJECT."""

KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""Keys of named objects."""
HANDLE = re.compile(r"&h_[A-Za-z0-9_]+")
"""Texts of handles."""


@dataclass(frozen=True, slots=True, order=True)
class Handle:
    """A reference to a stored value; never equal to a text.

    Attributes:
        text: The whole text, such as "&h_ast".
    """

    text: str

    def __post_init__(self) -> None:
        if not HANDLE.fullmatch(self.text):
            raise HlxError("E_HANDLE_FORMAT", "a handle: &h_ and letters, digits or _")

    @property
    def name(self) -> str:
        """Return the text without `&h_`."""
        return self.text[3:]


def unchecked_handle(text: str) -> Handle:
    """Return a handle of a text that was checked already; twice as fast as `Handle(text)`."""
    handle = object.__new__(Handle)
    object.__setattr__(handle, "text", text)
    return handle


Value = (
    None
    | bool
    | int
    | float
    | str
    | bytes
    | Handle
    | tuple["Value", ...]
    | dict[int, "Value"]
    | dict[str, "Value"]
)
"""An HLX value."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A record with one field whose value is a record: a view of a value, not a kind.

    Attributes:
        id: Index of the one field, at least 1.
        fields: Fields of the inner record.
    """

    id: int
    fields: Mapping[int, Value]


def contract_view(value: object) -> Contract | None:
    """Return the contract that a value is, or None for any other value."""
    if type(value) is not dict or len(value) != 1:
        return None
    (index, body), *_ = value.items()
    if type(index) is not int or index < 1 or type(body) is not dict:
        return None
    if body and type(next(iter(body))) is not int:
        return None
    return Contract(index, body)


def kind_name(value: Value) -> str:
    """Return the kind of a value: null, bool, int, float, text, bytes, handle, array, object."""
    return _KIND_NAMES[type(value)]


_KIND_NAMES: dict[type, str] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "float",
    str: "text",
    bytes: "bytes",
    Handle: "handle",
    tuple: "array",
    dict: "object",
}


def normal_text(text: str) -> str:
    """Return a text in the only form that HLX knows: NFC, with LF at the end of lines."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_normal_text(text: str) -> bool:
    """Say whether a text is in NFC and without carriage returns."""
    return "\r" not in text and (text.isascii() or unicodedata.is_normalized("NFC", text))


def raised(fields: dict[int, Any]) -> Value:
    """Return the named object that a record denotes, or the record if the record denotes none.

    A named object is stored as contract 3 with @0 = 0 and @1 = an array of contracts 2, one for
    each key: @0 = the key's rank, @1 = the key, @2 = the value.
    """
    if len(fields) != 1 or 3 not in fields:
        return fields
    body = fields[3]
    if type(body) is not dict or len(body) != 2 or 0 not in body:
        return fields
    rank, entries = body[0], body.get(1)
    if type(rank) is not int or rank != 0 or type(entries) is not tuple or not entries:
        return fields
    named: dict[str, Value] = {}
    before = ""
    for expected, entry in enumerate(entries):
        found = _entry(entry, expected)
        if found is None or found[0] <= before:
            return fields
        before = found[0]
        named[before] = found[1]
    return named


def _entry(entry: Any, expected: int) -> tuple[str, Value] | None:
    """Return key and value of one lowered entry of a named object, or None."""
    if type(entry) is not dict or len(entry) != 1:
        return None
    body = entry.get(2)
    if type(body) is not dict or len(body) != 3:
        return None
    rank, key = body.get(0), body.get(1)
    if type(rank) is not int or rank != expected or type(key) is not str or 2 not in body:
        return None
    return (key, body[2]) if KEY.fullmatch(key) else None
