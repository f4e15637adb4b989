"""LC-T stream: one value as tokens, such as `[OBJ_START, FIELD_0, INT(123), OBJ_END]`."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from constellation.curricula.hlx.text_scanner import TextScanner
from constellation.curricula.hlx.values import KEY, NAMED_LEVELS, Handle

_WORD = re.compile(r"[A-Z_]+")


class _StreamReader(TextScanner):
    """Reads the tokens of one value."""

    def value(self) -> Any:
        """Read one value, from its first token to its last."""
        self.spend(1)
        start = self.position
        word = self.need(_WORD, "a token")
        if word in _CONSTANTS:
            return _CONSTANTS[word]
        if word == "ARR_START":
            return self._array()
        if word == "OBJ_START":
            return self._object()
        if word not in _PAYLOADS:
            self.fail("a token that begins a value", position=start)
        self.expect("(")
        value = _PAYLOADS[word](self)
        self.expect(")")
        return value

    def integer(self) -> int:
        """Read the payload of INT."""
        start = self.position
        number = self.number()
        if type(number) is not int:
            self.fail("an integer from -2^63 to 2^63-1", position=start)
        return number

    def floating(self) -> float:
        """Read the payload of FLOAT."""
        start = self.position
        number = self.number()
        if type(number) is not float:
            self.fail("a number with '.' or 'e'", position=start)
        return number

    def handle(self) -> Handle:
        """Read the payload of HANDLE."""
        self.expect("&h_")
        return self.handle_name()

    def _array(self) -> tuple[Any, ...]:
        with self.levels(1):
            return tuple(self.value() for _ in self._until("ARR_END"))

    def _until(self, end: str) -> Iterator[None]:
        """Yield before each part of a container, up to its last token."""
        while True:
            self.expect(", ")
            if self.take(end):
                return
            yield

    def _object(self) -> Any:
        with self.levels(1):
            found: dict[Any, Any] = {}
            named = self.text.startswith(", KEY(", self.position)
            with self.levels(NAMED_LEVELS - 1 if named else 0):
                before = None
                for _ in self._until("OBJ_END"):
                    start = self.position
                    before = self.in_order(self._key() if named else self._field(), before, start)
                    self.expect(", ")
                    found[before] = self.value()
        return found

    def _field(self) -> Any:
        self.expect("FIELD_")
        self.spend(1)
        return self.index()

    def _key(self) -> Any:
        self.expect("KEY(")
        start = self.position
        key = self.string()
        if not KEY.fullmatch(key):
            self.fail("a key of letters, digits and _ that begins with no digit", position=start)
        self.spend(15)
        self.expect(")")
        return key


_CONSTANTS: dict[str, Any] = {"NULL": None, "TRUE": True, "FALSE": False}
_PAYLOADS: dict[str, Callable[[_StreamReader], Any]] = {
    "INT": _StreamReader.integer,
    "FLOAT": _StreamReader.floating,
    "TEXT": _StreamReader.string,
    "BYTES": _StreamReader.hex_bytes,
    "HANDLE": _StreamReader.handle,
}


def read_stream(text: str) -> Any:
    """Return the value of a stream.

    Raises:
        HlxError: With the position of the first character that is wrong.
    """
    reader = _StreamReader(text)
    if not text.isascii():
        first = next(place for place, each in enumerate(text) if not each.isascii())
        reader.fail("ASCII characters only", position=first)
    reader.expect("[")
    value = reader.value()
    reader.expect("]")
    reader.end()
    return value


def write_stream(value: Any) -> str:
    """Return the stream of a canonical value."""
    return f"[{', '.join(_tokens(value))}]"


def _tokens(value: Any) -> Iterator[str]:
    if type(value) is tuple:
        yield "ARR_START"
        for item in value:
            yield from _tokens(item)
        yield "ARR_END"
    elif type(value) is dict:
        yield "OBJ_START"
        for key, item in value.items():
            yield f'KEY("{key}")' if type(key) is str else f"FIELD_{key}"
            yield from _tokens(item)
        yield "OBJ_END"
    else:
        yield _atom(value)


def _atom(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, str):
        return f"TEXT({json.dumps(value)})"
    if isinstance(value, bytes):
        return f"BYTES({value.hex()})"
    if isinstance(value, Handle):
        return f"HANDLE({value.text})"
    return f"INT({value})" if type(value) is int else f"FLOAT({value!r})"
