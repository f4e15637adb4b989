"""The strict decoder of LC-B, written for speed: one reader for each tag, without look-back."""

import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from constellation.curricula.hlx.values import (
    DEPTH_MAX,
    INT_MAX,
    NAMED_LEVELS,
    SIZE_MAX,
    Handle,
    Value,
    is_normal_text,
    raised,
    unchecked_handle,
)
from constellation.errors import HlxError

_MOD_64 = 2**64
_unpack_float = struct.Struct(">d").unpack_from
_HANDLE_BYTES = re.compile(rb"&h_[A-Za-z0-9_]+").fullmatch
_NAMED = b"\x03\x07\x00\x01\x00\x01\x05"
"""First bytes of a named object after the tag of an OBJECT."""
_ENTRY = re.compile(
    rb"\x07\x02\x07\x00\x01([\x00-\x7f])\x01\x03([\x01-\x7f])([A-Za-z_][A-Za-z0-9_]*)\x02"
).match
"""First bytes of an entry of a named object, up to the value: rank, length of the key, key."""
_ULEB = re.compile(rb"[\x80-\xff]{0,9}[\x00-\x7f]").match


def decode(data: bytes) -> Value:
    """Return the value of an LC-B byte string.

    Raises:
        HlxError: E_LC_DECODE, E_OVERLONG, E_FIELD_ORDER, E_TRAILING, E_FLOAT_SPECIAL,
            E_HANDLE_FORMAT, E_DEPTH_EXCEEDED or E_SIZE_EXCEEDED, with the byte's position.
    """
    if len(data) > SIZE_MAX:
        _fail("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes", SIZE_MAX)
    data = bytes(data)
    try:
        value, position = _READERS[data[0]](data, 1, DEPTH_MAX)
    except IndexError:
        _fail("E_LC_DECODE", "more bytes: the value has no end", len(data))
    if position != len(data):
        _fail("E_TRAILING", "the end of the input after one value", position)
    return value


# Each reader gets the input, the position after the tag, and how many containers may open; it
# returns a value and the position after the value. Reading past the end raises IndexError.


def _read_array(data: bytes, position: int, levels: int) -> tuple[Value, int]:
    if not levels:
        _fail_depth(position)
    items = []
    while (tag := data[position]) != 6:
        value, position = _READERS[tag](data, position + 1, levels - 1)
        items.append(value)
    return tuple(items), position + 1


def _read_object(data: bytes, position: int, levels: int) -> tuple[Value, int]:
    if levels >= NAMED_LEVELS and data[position] == 3 and data.startswith(_NAMED, position):
        return _read_named(data, position + len(_NAMED), levels)
    if not levels:
        _fail_depth(position)
    fields, position = _read_fields(data, position, levels - 1, {}, -1)
    return raised(fields), position


def _read_named(data: bytes, position: int, levels: int) -> tuple[Value, int]:
    """Read a named object after its first bytes, or the record that has the same first bytes."""
    named: dict[str, Value] = {}
    before = ""
    while entry := _ENTRY(data, position):
        rank, length, key_bytes = entry.groups()
        key = key_bytes.decode()
        if rank[0] != len(named) or length[0] != len(key) or key <= before:
            break
        position = entry.end()
        value, position = _READERS[data[position]](data, position + 1, levels - NAMED_LEVELS)
        if data[position : position + 2] != b"\x08\x08":
            body = {0: rank[0], 1: key, 2: value}
            body, position = _read_fields(data, position, levels - 5, body, 2)
            field, position = _read_fields(data, position, levels - 4, {2: body}, 2)
            return _read_rest(data, position, levels, [*_lowered(named), field])
        position += 2
        named[key] = value
        before = key
    if named and data[position : position + 3] == b"\x06\x08\x08":
        return named, position + 3
    return _read_rest(data, position, levels, _lowered(named))


def _lowered(named: dict[str, Value]) -> list[Any]:
    return [{2: {0: rank, 1: key, 2: value}} for rank, (key, value) in enumerate(named.items())]


def _read_rest(data: bytes, position: int, levels: int, entries: list[Value]) -> tuple[Value, int]:
    """Go on with a contract 3 whose first entries were read, and which is no usual named object."""
    while (tag := data[position]) != 6:
        value, position = _READERS[tag](data, position + 1, levels - 3)
        entries.append(value)
    body: dict[int, Any] = {0: 0, 1: tuple(entries)}
    body, position = _read_fields(data, position + 1, levels - 2, body, 1)
    fields, position = _read_fields(data, position, levels - 1, {3: body}, 3)
    return raised(fields), position


def _read_fields(
    data: bytes, position: int, levels: int, fields: dict[int, Any], last: int
) -> tuple[dict[int, Any], int]:
    """Read the fields of an OBJECT after index `last`, up to its end."""
    while (index := data[position]) != 8:
        start = position
        position += 1
        if index > 127:
            index, position = _read_uleb(data, start)
        if index <= last or index > INT_MAX:
            _fail("E_FIELD_ORDER", f"an index from {last + 1} to 2^63-1", start)
        fields[index], position = _READERS[data[position]](data, position + 1, levels)
        last = index
    return fields, position + 1


def _read_uleb(data: bytes, start: int) -> tuple[int, int]:
    found = _ULEB(data, start)
    if found is None and len(data) - start < 10:
        raise IndexError
    number = _MOD_64
    if found is not None:
        digits = found[0]
        if digits[-1] == 0 and len(digits) > 1:
            _fail("E_OVERLONG", "the shortest form of a number", start)
        number = 0
        for digit in reversed(digits):
            number = number << 7 | digit & 127
    if found is None or number >= _MOD_64:
        raise HlxError("E_LC_DECODE", "a number below 2^64", position=start, unit="byte")
    return number, found.end()


def _read_int(data: bytes, position: int, levels: int) -> tuple[int, int]:
    number = data[position]
    if number < 128:
        return number, position + 1
    number, end = _read_uleb(data, position)
    return (number if number <= INT_MAX else number - _MOD_64), end


def _read_bytes(data: bytes, position: int, levels: int) -> tuple[bytes, int]:
    length = data[position]
    start = position + 1
    if length > 127:
        length, start = _read_uleb(data, position)
    end = start + length
    if end > len(data):
        _fail("E_LC_DECODE", f"{length} bytes after the length", len(data))
    return data[start:end], end


def _read_text(data: bytes, position: int, levels: int) -> tuple[str, int]:
    payload, end = _read_bytes(data, position, levels)
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        _fail("E_LC_DECODE", "a text in UTF-8", position)
    if "\r" in text or not (text.isascii() or is_normal_text(text)):
        _fail("E_LC_DECODE", "a text in NFC without carriage returns", position)
    return text, end


def _read_float(data: bytes, position: int, levels: int) -> tuple[float, int]:
    end = position + 8
    if end > len(data):
        _fail("E_LC_DECODE", "8 bytes of a float", len(data))
    (number,) = _unpack_float(data, position)
    if number - number != 0 or (number == 0 and data[position]):
        _fail("E_FLOAT_SPECIAL", "a finite number other than -0.0", position)
    return number, end


def _read_handle(data: bytes, position: int, levels: int) -> tuple[Handle, int]:
    payload, end = _read_bytes(data, position, levels)
    if not _HANDLE_BYTES(payload):
        _fail("E_HANDLE_FORMAT", "a handle: &h_ and letters, digits or _", position)
    return unchecked_handle(payload.decode()), end


def _read_unknown(data: bytes, position: int, levels: int) -> NoReturn:
    _fail("E_LC_DECODE", "the tag of a value, 00 to 05, 07 or 09 to 0b", position - 1)


_Reader = Callable[[bytes, int, int], tuple[Value, int]]
_READERS: list[_Reader] = [
    lambda data, position, levels: (None, position),
    _read_int,
    _read_float,
    _read_text,
    _read_bytes,
    _read_array,
    _read_unknown,
    _read_object,
    _read_unknown,
    _read_handle,
    lambda data, position, levels: (True, position),
    lambda data, position, levels: (False, position),
    *[_read_unknown] * 244,
]


def _fail_depth(position: int) -> NoReturn:
    _fail("E_DEPTH_EXCEEDED", f"at most {DEPTH_MAX} open ARRAYs and OBJECTs", position - 1)


def _fail(code: str, expected: str, position: int) -> NoReturn:
    raise HlxError(code, expected, position=position, unit="byte")
