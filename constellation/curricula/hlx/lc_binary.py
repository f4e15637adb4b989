"""LC-B, the binary form of HLX-1: an encoder, and a strict decoder that accepts nothing else.

A value has exactly one byte string, and `encode(decode(data)) == data` for all accepted data. Both
functions are written for speed: one loop or one recursion, limited in depth and size before cost.
"""

import re
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from constellation.curricula.hlx.values import (
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    KEY,
    NAMED_LEVELS,
    RESERVED_INDEX,
    SIZE_MAX,
    Handle,
    Value,
    is_normal_text,
    normal_text,
    raised,
)
from constellation.errors import HlxError

_SMALL_INTS = [bytes((1, number)) for number in range(128)]
_TEXT_HEADS = [bytes((3, length)) for length in range(128)]
_BIT_63, _MOD_64 = 2**63, 2**64
_pack_float = struct.Struct(">d").pack
_unpack_float = struct.Struct(">d").unpack_from
_ENTRY = re.compile(
    rb"\x02\x07\x00\x01([\x00-\x7f])\x01\x03([\x01-\x7f])([A-Za-z_][A-Za-z0-9_]*)\x02"
).match


def uleb(number: int) -> bytes:
    """Return the shortest ULEB128 form of a number that is 0 or more."""
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    found.append(number)
    return bytes(found)


def canonical(value: object) -> Value:
    """Return the value of the model that `value` denotes: sorted, in NFC, with tuples.

    Raises:
        HlxError: As for `encode`.
    """
    return decode(encode(value))


def same_value(one: object, other: object) -> bool:
    """Say whether two objects are one HLX value, which 1, 1.0 and True are not."""
    return encode(one) == encode(other)


# --- encoder ------------------------------------------------------------------------------------


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
    if value is None:
        return b"\x00"
    if isinstance(value, bool):
        return b"\x0a" if value else b"\x0b"
    if type(value) is bytes:
        return b"\x04" + uleb(len(value)) + value
    if type(value) is Handle:
        return b"\x09" + uleb(len(value.text)) + value.text.encode()
    kind = type(value).__name__
    raise HlxError("E_LC_ENCODE", f"a value of the model (docs/hlx.md), not Python's {kind}")


# --- decoder ------------------------------------------------------------------------------------


def decode(data: bytes) -> Value:
    """Return the value of an LC-B byte string.

    Raises:
        HlxError: E_LC_DECODE, E_OVERLONG, E_FIELD_ORDER, E_TRAILING, E_FLOAT_SPECIAL,
            E_HANDLE_FORMAT, E_DEPTH_EXCEEDED or E_SIZE_EXCEEDED, with the byte's position.
    """
    if len(data) > SIZE_MAX:
        _fail("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes", SIZE_MAX)
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
    if not levels:
        _fail_depth(position)
    if levels > 1 and (entry := _ENTRY(data, position)):
        rank, length, key = entry.groups()
        if len(key) == length[0]:
            return _read_entry(data, entry.end(), levels, {0: rank[0], 1: key.decode()})
    fields, position = _read_fields(data, position, levels - 1, {}, -1)
    if len(fields) == 1 and 3 in fields:
        return raised(fields), position
    return fields, position


def _read_entry(data: bytes, position: int, levels: int, body: dict[int, Any]) -> tuple[Value, int]:
    """Go on after the head of a named object's entry, which was read at once."""
    body[2], position = _READERS[data[position]](data, position + 1, levels - 2)
    if data[position] != 8:
        body, position = _read_fields(data, position, levels - 2, body, 2)
    else:
        position += 1
    if data[position] == 8:
        entry: dict[int, Any] = {2: body}
        return entry, position + 1
    return _read_fields(data, position, levels - 1, {2: body}, 2)


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
    number = shift = 0
    for position in range(start, start + 10):
        byte = data[position]
        number |= (byte & 127) << shift
        if byte < 128:
            if byte == 0 and position > start:
                _fail("E_OVERLONG", "the shortest form of a number", start)
            if number >= _MOD_64:
                break
            return number, position + 1
        shift += 7
    raise HlxError("E_LC_DECODE", "a number below 2^64", position=start, unit="byte")


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
    try:
        return Handle(payload.decode("latin-1")), end
    except HlxError as error:
        _fail(error.code, error.expected, position)


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
