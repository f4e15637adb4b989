"""The encoder of LC-B, written for speed: one recursion that appends to one buffer."""

import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from constellation.curricula.hlx.values import (
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    KEY,
    NAMED_LEVELS,
    RESERVED_INDEX,
    SIZE_MAX,
    Handle,
    is_normal_text,
    normal_text,
)
from constellation.errors import HlxError

_SMALL_INTS = [bytes((1, number)) for number in range(128)]
_SMALL_ULEBS = [bytes((number,)) for number in range(128)]
_TEXT_HEADS = [bytes((3, length)) for length in range(128)]
_CONSTANTS = {None: b"\x00", True: b"\x0a", False: b"\x0b"}
_MOD_64 = 2**64
_pack_float = struct.Struct(">d").pack


def encode(value: object) -> bytes:
    """Return the LC-B form of a value.

    Lists count as tuples, keys are sorted, texts become NFC with LF, and -0.0 becomes 0.0.

    Raises:
        HlxError: E_LC_ENCODE for no value of the model, E_FLOAT_SPECIAL, E_FIELD_RESERVED,
            E_DEPTH_EXCEEDED, E_SIZE_EXCEEDED.
    """
    out = bytearray()
    _write(value, out, DEPTH_MAX)
    if len(out) > SIZE_MAX:
        raise HlxError("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes of LC-B")
    return bytes(out)


# Each writer appends the bytes of a value of one type; `levels` is how many containers may open.


def _write(value: Any, out: bytearray, levels: int) -> None:
    _WRITERS.get(type(value), _write_unknown)(value, out, levels)


def _write_constant(value: bool | None, out: bytearray, levels: int) -> None:
    out += _CONSTANTS[value]


def _write_int(value: int, out: bytearray, levels: int) -> None:
    if 0 <= value < 128:
        out += _SMALL_INTS[value]
    elif INT_MIN <= value <= INT_MAX:
        out += b"\x01" + uleb(value % _MOD_64)
    else:
        raise HlxError("E_LC_ENCODE", "an integer from -2^63 to 2^63-1")


def _write_float(value: float, out: bytearray, levels: int) -> None:
    if value - value != 0:
        raise HlxError("E_FLOAT_SPECIAL", "a finite number")
    out += b"\x02" + _pack_float(value + 0.0)


def _write_text(value: str, out: bytearray, levels: int) -> None:
    data = value.encode() if value.isascii() and "\r" not in value else _text_bytes(value)
    length = len(data)
    out += _TEXT_HEADS[length] if length < 128 else b"\x03" + uleb(length)
    out += data


def _write_bytes(value: bytes, out: bytearray, levels: int) -> None:
    out += b"\x04" + uleb(len(value)) + value


def _write_handle(value: Handle, out: bytearray, levels: int) -> None:
    out += b"\x09" + uleb(len(value.text)) + value.text.encode()


def _write_array(value: Iterable[Any], out: bytearray, levels: int) -> None:
    levels -= 1
    _check_room(out, levels)
    out.append(5)
    for item in value:
        _WRITERS.get(type(item), _write_unknown)(item, out, levels)
    out.append(6)


def _write_object(value: dict[Any, Any], out: bytearray, levels: int) -> None:
    if value and type(next(iter(value))) is str:
        _write_named(value, out, levels - NAMED_LEVELS)
        return
    levels -= 1
    _check_room(out, levels)
    out.append(7)
    for index in _indices(value):
        if index < 128:
            out.append(index)
        else:
            out += uleb(index)
        item = value[index]
        _WRITERS.get(type(item), _write_unknown)(item, out, levels)
    out.append(8)


def _write_named(value: dict[Any, Any], out: bytearray, levels: int) -> None:
    _check_room(out, levels)
    out += b"\x07\x03\x07\x00\x01\x00\x01\x05"
    for rank, key in enumerate(_keys(value)):
        out += b"\x07\x02\x07\x00\x01" + uleb(rank)
        out += _short_key(key) if len(key) < 64 else _key(key)
        item = value[key]
        _WRITERS.get(type(item), _write_unknown)(item, out, levels)
        out += b"\x08\x08"
    out += b"\x06\x08\x08"


def _keys(value: dict[Any, Any]) -> list[str]:
    for key in value:
        if type(key) is not str:
            raise HlxError("E_LC_ENCODE", "either texts or integers as keys, not both")
    return sorted(value)


def _key(key: str) -> bytes:
    """Return the bytes of an entry between its rank and its value."""
    if not KEY.fullmatch(key):
        raise HlxError("E_LC_ENCODE", "keys of letters, digits and _ that begin with no digit")
    return b"\x01\x03" + uleb(len(key)) + key.encode() + b"\x02"


_short_key = lru_cache(maxsize=4_096)(_key)


def _check_room(out: bytearray, levels: int) -> None:
    # Looked at when a container opens, so that a value that names one part very often ends here.
    if levels < 0:
        raise HlxError("E_DEPTH_EXCEEDED", f"at most {DEPTH_MAX} levels of LC-B")
    if len(out) > SIZE_MAX:
        raise HlxError("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes of LC-B")


def _indices(value: dict[Any, Any]) -> list[int]:
    for index in value:
        if type(index) is not int or not 0 <= index <= INT_MAX:
            raise HlxError("E_LC_ENCODE", "either texts or integers from 0 to 2^63-1 as keys")
        if index == RESERVED_INDEX:
            raise HlxError("E_FIELD_RESERVED", "a field index other than 8")
    return sorted(value)


def _text_bytes(text: str) -> bytes:
    if not is_normal_text(text):
        text = normal_text(text)
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise HlxError("E_LC_ENCODE", "a text without lone surrogates") from error


def _write_unknown(value: object, out: bytearray, levels: int) -> None:
    kind = type(value).__name__
    raise HlxError("E_LC_ENCODE", f"a value of the model (docs/hlx.md), not Python's {kind}")


_WRITERS: dict[type, Callable[[Any, bytearray, int], None]] = {
    type(None): _write_constant,
    bool: _write_constant,
    int: _write_int,
    float: _write_float,
    str: _write_text,
    bytes: _write_bytes,
    Handle: _write_handle,
    tuple: _write_array,
    list: _write_array,
    dict: _write_object,
}


def uleb(number: int) -> bytes:
    """Return the shortest ULEB128 form of a number that is 0 or more."""
    if number < 128:
        return _SMALL_ULEBS[number]
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
