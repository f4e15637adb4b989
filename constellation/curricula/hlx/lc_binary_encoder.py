"""The encoder of LC-B, written for speed: one recursion that appends to one buffer."""

import struct
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


def _write(value: Any, out: bytearray, levels: int) -> None:
    kind = type(value)
    if kind is str:
        data = value.encode() if value.isascii() and "\r" not in value else _text_bytes(value)
        length = len(data)
        out += _TEXT_HEADS[length] if length < 128 else b"\x03" + uleb(length)
        out += data
    elif kind is int:
        out += _SMALL_INTS[value] if 0 <= value < 128 else _int(value)
    elif kind is dict:
        _write_object(value, out, levels)
    elif value is None or kind is bool:
        out += _CONSTANTS[value]
    elif kind is tuple or kind is list:
        _check_room(out, levels - 1)
        out.append(5)
        for item in value:
            _write(item, out, levels - 1)
        out.append(6)
    elif kind is float:
        out += _float(value)
    else:
        out += _other_atom(value)


def _write_object(value: dict[Any, Any], out: bytearray, levels: int) -> None:
    if not value:
        _check_room(out, levels - 1)
        out += b"\x07\x08"
    elif type(next(iter(value))) is str:
        _write_named(value, out, levels - NAMED_LEVELS)
    else:
        _check_room(out, levels - 1)
        out.append(7)
        for index in _indices(value):
            if index < 128:
                out.append(index)
            else:
                out += uleb(index)
            _write(value[index], out, levels - 1)
        out.append(8)


def _write_named(value: dict[Any, Any], out: bytearray, levels: int) -> None:
    _check_room(out, levels)
    out += b"\x07\x03\x07\x00\x01\x00\x01\x05"
    for rank, key in enumerate(_keys(value)):
        name = key.encode("ascii")
        length = len(name)
        if rank < 128 and length < 128:
            out += b"\x07\x02\x07\x00\x01%c\x01\x03%c%b\x02" % (rank, length, name)
        else:
            out += b"\x07\x02\x07\x00\x01" + uleb(rank) + b"\x01\x03" + uleb(length) + name
            out.append(2)
        _write(value[key], out, levels)
        out += b"\x08\x08"
    out += b"\x06\x08\x08"


def _check_room(out: bytearray, levels: int) -> None:
    # Looked at when a container opens, so that a value that names one part very often ends here.
    if levels < 0:
        raise HlxError("E_DEPTH_EXCEEDED", f"at most {DEPTH_MAX} levels of LC-B")
    if len(out) > SIZE_MAX:
        raise HlxError("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes of LC-B")


def _keys(value: dict[Any, Any]) -> list[str]:
    for key in value:
        if type(key) is not str or not KEY.fullmatch(key):
            raise HlxError("E_LC_ENCODE", "keys of letters, digits and _ that begin with no digit")
    return sorted(value)


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


def _int(number: int) -> bytes:
    if not INT_MIN <= number <= INT_MAX:
        raise HlxError("E_LC_ENCODE", "an integer from -2^63 to 2^63-1")
    return b"\x01" + uleb(number % _MOD_64)


def _float(number: float) -> bytes:
    if number - number != 0:
        raise HlxError("E_FLOAT_SPECIAL", "a finite number")
    return b"\x02" + _pack_float(number + 0.0)


def _other_atom(value: object) -> bytes:
    if type(value) is bytes:
        return b"\x04" + uleb(len(value)) + value
    if type(value) is Handle:
        return b"\x09" + uleb(len(value.text)) + value.text.encode()
    kind = type(value).__name__
    raise HlxError("E_LC_ENCODE", f"a value of the model (docs/hlx.md), not Python's {kind}")


def uleb(number: int) -> bytes:
    """Return the shortest ULEB128 form of a number that is 0 or more."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)
