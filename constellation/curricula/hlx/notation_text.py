"""Read and write the text forms that `notations.py` describes as tables."""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from constellation.curricula.hlx.notations import BRACKET_HEX, SPACES, Notation
from constellation.curricula.hlx.text_scanner import Key, TextScanner
from constellation.curricula.hlx.values import HANDLE, KEY, NAMED_LEVELS, Handle, contract_view
from constellation.errors import HlxError

_HEX_INTEGER = re.compile(r"(-?)0x(?!00[0-9a-f])((?:[0-9a-f]{2}){1,8})(?![0-9a-f])")
_TOP_CONTRACT = re.compile(r"\[[0-9]+\|")

Part = TypeVar("Part")


# --- reading ------------------------------------------------------------------------------------


class NotationReader(TextScanner):
    """Reads one value in one of the notations."""

    def __init__(self, text: str, notation: Notation) -> None:
        self.notation = notation
        self.code = notation.code
        self.spaces = SPACES if notation.free_spaces else None
        super().__init__(text)
        if notation.ascii_only and not text.isascii():
            first = next(place for place, each in enumerate(text) if not each.isascii())
            self.fail("ASCII characters only", position=first)

    def fail(self, expected: str, code: str | None = None, position: int | None = None) -> NoReturn:
        """Raise an error, which for a foreign character in place of a glyph is E_UNKNOWN_GLYPH."""
        place = self.position if position is None else position
        found = self.text[place : place + 1]
        if self.notation.glyphs and not found.isascii() and found not in self.notation.glyphs:
            code = code if code in ("E_SIZE_EXCEEDED", "E_DEPTH_EXCEEDED") else "E_UNKNOWN_GLYPH"
        super().fail(expected, code, place)

    def value(self) -> Any:
        """Read one value."""
        self.spend(1)
        notation = self.notation
        for literal, value in ((notation.null, None), (notation.true, True)):
            if self.take(literal):
                return value
        if self.take(notation.false):
            return False
        if self.take(notation.bytes_open):
            return self._bytes()
        return self._text_or_more()

    def _bytes(self) -> bytes:
        data = self.hex_bytes()
        if not self.text.startswith(self.notation.bytes_close, self.position):
            self.fail("pairs of hexadecimal digits and the end of the bytes")
        self.position += len(self.notation.bytes_close)
        return data

    def _text_or_more(self) -> Any:
        notation = self.notation
        if self.sees('"'):
            start = self.position
            text = self.string()
            return text if notation.handle else self._text_or_handle(text, start)
        if notation.handle and self.take(notation.handle):
            return self.handle_name()
        number = self._hex_integer() if notation.hex_integers else self.number()
        return self._container() if number is None else number

    def _text_or_handle(self, text: str, start: int) -> str | Handle:
        if not text.startswith("&h_"):
            return text
        if not HANDLE.fullmatch(text):
            self.fail("a handle: &h_ and letters, digits or _", "E_HANDLE_FORMAT", start)
        return Handle(text)

    def _hex_integer(self) -> int | float | None:
        """Read an integer in hexadecimal digits, or a float."""
        start = self.position
        found = self.match(_HEX_INTEGER)
        if found is None:
            decimal = self.number()
            if type(decimal) is int:
                self.fail("an integer in hexadecimal digits, such as 0x2a", position=start)
            return decimal
        number = int(found[1] + found[2], 16)
        if not -(2**63) <= number < 2**63 or found[0] == "-0x00":
            self.fail("an integer from -2^63 to 2^63-1", position=found.start())
        return number

    def _container(self) -> Any:
        notation = self.notation
        if self.take(notation.array[0]):
            with self.levels(1):
                return tuple(self.parts(self.value, notation.separator, notation.array[1]))
        if self.take(notation.record[0]):
            if self.sees_pattern(notation.contract_start):
                return self._contract()
            if notation.record != notation.named or self.sees_pattern(notation.record_start):
                return self._record()
            return self._named()
        if self.take(notation.named[0]):
            return self._named()
        return self.fail("a value")

    def _named(self) -> Any:
        """Read the rest of a named object, or of the empty object."""
        notation = self.notation
        if self.take(notation.named[1]):
            with self.levels(1):
                return {}
        with self.levels(NAMED_LEVELS):
            return self.pairs(self._key, notation.separator, notation.named[1])

    def _contract(self) -> Any:
        """Read the rest of a contract after the mark that opens it."""
        notation = self.notation
        self.expect(notation.contract[0])
        start = self.position
        index = self.index()
        if index == 0:
            self.fail("the id of a contract, at least 1", "E_CONTRACT_STRUCTURE", start)
        self.expect_each(notation.contract[1])
        with self.levels(2):
            if self._closes():
                return {index: {}}
            if notation.contract_fields:
                self.expect(notation.contract_fields)
            close = notation.contract_close
            fields = self.pairs(self.field, notation.field_separator, close[0])
            self.expect_each(close[1:])
            return {index: fields}

    def expect_each(self, marks: str) -> None:
        """Move past the characters of `marks`, between which spaces may stand if any may."""
        for mark in marks.replace(" ", "") if self.spaces else marks:
            self.expect(mark)

    def _closes(self) -> bool:
        close = self.notation.contract_close
        if not self.take(close[0]):
            return False
        self.expect_each(close[1:])
        return True

    def _record(self) -> Any:
        with self.levels(1):
            notation = self.notation
            return self.pairs(self.field, notation.field_separator, notation.record[1])

    def field(self) -> int:
        """Read the marked index of a field."""
        self.spend(1)
        return self._between(self.notation.field, self.index)

    def _between(self, marks: tuple[str, str], read_key: Callable[[], Key]) -> Key:
        """Read an index or a key between its marks; no spaces stand inside of quotes."""
        before, after = marks
        self.skip_spaces()
        spaces, self.spaces = self.spaces, None
        self.expect(before)
        key = read_key()
        if after.startswith('"'):
            self.expect('"')
            after = after[1:]
        self.spaces = spaces
        self.expect_each(after)
        return key

    def _key(self) -> str:
        key = self._between(self.notation.key, self._bare_key)
        self.spend(15 + len(key))
        return key

    def _bare_key(self) -> str:
        quoted_key = self.notation.quoted_key
        quoted = quoted_key is not None and self.sees('"')
        key = self.string() if quoted else self.need(KEY, "a key of letters, digits or _")
        if quoted != (key == quoted_key):
            self.fail(f"the key {quoted_key} in quotes, and other keys without quotes")
        return key

    def parts(self, read: Callable[[], Part], separator: str, close: str) -> list[Part]:
        """Read parts with `separator` between them up to `close`."""
        found: list[Part] = []
        if self.take(close):
            return found
        while True:
            found.append(read())
            if self.take(close):
                return found
            self.expect(separator)

    def pairs(self, read_key: Callable[[], Key], separator: str, close: str) -> dict[Key, Any]:
        """Read one or more keys with values, in ascending order of the keys, up to `close`."""
        found: dict[Key, Any] = {}
        before: Key | None = None
        while True:
            self.skip_spaces()
            start = self.position
            before = self.in_order(read_key(), before, start)
            found[before] = self.value()
            if self.take(close):
                return found
            self.expect(separator)


def read(text: str, notation: Notation) -> Any:
    """Return the value of a text that holds nothing else.

    Raises:
        HlxError: With the position of the first character that is wrong.
    """
    reader = NotationReader(text, notation)
    value = reader.value()
    reader.end()
    return value


def read_bracket_hex(text: str) -> Any:
    """Return the value of a text in bracket-hex, such as `[14|0:0x2a]`."""
    if _TOP_CONTRACT.match(text) and text.endswith("]"):
        return read("{" + text[1:-1] + "}", BRACKET_HEX)
    reader = NotationReader(text, BRACKET_HEX)
    reader.expect("[")
    value = reader.value()
    reader.expect("]")
    reader.end()
    return value


# --- writing ------------------------------------------------------------------------------------


def write(value: Any, notation: Notation) -> str:
    """Return the canonical text of a canonical value.

    Raises:
        HlxError: E_HANDLE_FORMAT for a text that the notation would show as a handle.
    """
    out: list[str] = []
    _write(value, notation, out.append)
    return "".join(out)


def write_bracket_hex(value: Any) -> str:
    """Return the canonical text of a canonical value in bracket-hex."""
    text = write(value, BRACKET_HEX)
    return f"[{text[1:-1]}]" if contract_view(value) else f"[{text}]"


def _write(value: Any, notation: Notation, out: Callable[[str], None]) -> None:
    if type(value) is tuple:
        out(notation.array[0])
        for place, item in enumerate(value):
            out(notation.separator if place else "")
            _write(item, notation, out)
        out(notation.array[1])
    elif type(value) is dict:
        _write_object(value, notation, out)
    else:
        out(_atom(value, notation))


def _write_object(value: dict[Any, Any], notation: Notation, out: Callable[[str], None]) -> None:
    contract = contract_view(value)
    if contract is not None:
        before, after = notation.contract
        comma = notation.contract_fields if contract.fields else ""
        out(f"{notation.record[0]}{before}{contract.id}{after}{comma}")
        _write_pairs(dict(contract.fields), notation.field, notation.field_separator, notation, out)
        out(notation.contract_close)
    elif value and type(next(iter(value))) is int:
        out(notation.record[0])
        _write_pairs(value, notation.field, notation.field_separator, notation, out)
        out(notation.record[1])
    else:
        out(notation.named[0])
        _write_pairs(value, notation.key, notation.separator, notation, out)
        out(notation.named[1])


def _write_pairs(
    pairs: dict[Any, Any],
    marks: tuple[str, str],
    separator: str,
    notation: Notation,
    out: Callable[[str], None],
) -> None:
    for place, (key, value) in enumerate(pairs.items()):
        shown = f'"{key}"' if key == notation.quoted_key else key
        out(f"{separator if place else ''}{marks[0]}{shown}{marks[1]}")
        _write(value, notation, out)


def _atom(value: Any, notation: Notation) -> str:
    if value is None:
        return notation.null
    if isinstance(value, bool):
        return notation.true if value else notation.false
    if isinstance(value, bytes):
        return f"{notation.bytes_open}{value.hex()}{notation.bytes_close}"
    if isinstance(value, Handle):
        return f'"{value.text}"' if notation.handle is None else notation.handle + value.name
    if isinstance(value, str):
        if notation.handle is None and value.startswith("&h_"):
            raise HlxError("E_HANDLE_FORMAT", "a text that does not begin with &h_ in this form")
        return json.dumps(value, ensure_ascii=notation.ascii_only)
    return _hex_text(value) if notation.hex_integers and type(value) is int else repr(value)


def _hex_text(number: int) -> str:
    digits = f"{abs(number):x}"
    return f"{'-' if number < 0 else ''}0x{'0' * (len(digits) % 2)}{digits}"
