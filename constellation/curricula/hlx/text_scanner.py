"""The lexer that all text forms of HLX share, with the limits on depth and size.

Readers built on the scanner are recursive; the limit of 64 levels ends a recursion long before
Python's own limit does. Sizes are counted while reading, so that no text costs more than the
largest value.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from constellation.curricula.hlx.values import (
    DEPTH_MAX,
    INT_MAX,
    INT_MIN,
    RESERVED_INDEX,
    SIZE_MAX,
    TEXT_MAX,
    Handle,
    is_normal_text,
)
from constellation.errors import HlxError

Key = TypeVar("Key", int, str)
"""Index of a field, or key of a named object."""

# Possessive (`*+`): a greedy group would remember each repetition, 60 bytes for each character.
_STRING = re.compile(
    r'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"',
)
_HEX = re.compile(r"(?:[0-9a-f]{2})*+")
_NAME = re.compile(r"[A-Za-z0-9_]+")
_INDEX = re.compile(r"(?:0|[1-9][0-9]{0,18})(?![0-9])")
# Numbers of over 400 digits have no use, and Python reads them in quadratic time.
_NUMBER = re.compile(
    r"-?(?:0|[1-9][0-9]{0,400})(?P<float>(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,5})?)"
    r"(?![0-9.eE])"
)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


class TextScanner:
    """Reads the parts of one text from left to right.

    Attributes:
        text: The whole text.
        position: Place of the next character, from 0.
    """

    code = "E_LC_PARSE"
    """Error code of a text that breaks the grammar."""
    spaces: re.Pattern[str] | None = None
    """What may stand between any two tokens; None if nothing may."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._levels = DEPTH_MAX
        self._room = SIZE_MAX
        if len(text) > TEXT_MAX:
            self.fail(f"at most {TEXT_MAX} characters", "E_SIZE_EXCEEDED", TEXT_MAX)
        if bad := _SURROGATE.search(text):
            self.fail("a text without lone surrogates", None, bad.start())

    def fail(self, expected: str, code: str | None = None, position: int | None = None) -> NoReturn:
        """Raise the error of a text that is wrong at `position`, by default the current one."""
        place = self.position if position is None else position
        raise HlxError(code or self.code, expected, position=place)

    # --- tokens ---------------------------------------------------------------------------------

    def skip_spaces(self) -> None:
        """Move past what may stand between two tokens."""
        if self.spaces is not None and (found := self.spaces.match(self.text, self.position)):
            self.position = found.end()

    def sees(self, literal: str) -> bool:
        """Say whether `literal` comes next."""
        self.skip_spaces()
        return self.text.startswith(literal, self.position)

    def take(self, literal: str) -> bool:
        """Move past `literal` if it comes next; say whether it did."""
        if self.spaces is not None:
            literal = literal.strip()
            self.skip_spaces()
        if not self.text.startswith(literal, self.position):
            return False
        self.position += len(literal)
        return True

    def expect(self, literal: str) -> None:
        """Move past `literal`, which must come next."""
        if not self.take(literal):
            self.fail(repr(literal))

    def sees_pattern(self, pattern: re.Pattern[str]) -> bool:
        """Say whether a match of `pattern` comes next."""
        self.skip_spaces()
        return pattern.match(self.text, self.position) is not None

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Move past a match of `pattern` if one comes next."""
        self.skip_spaces()
        found = pattern.match(self.text, self.position)
        if found:
            self.position = found.end()
        return found

    def need(self, pattern: re.Pattern[str], expected: str) -> str:
        """Return the text of a match of `pattern`, which must come next."""
        found = self.match(pattern)
        if found is None:
            self.fail(expected)
        return found[0]

    def end(self) -> None:
        """Check that nothing is left."""
        self.skip_spaces()
        if self.position != len(self.text):
            self.fail("the end of the text after one value", "E_TRAILING")

    # --- atoms ----------------------------------------------------------------------------------

    def string(self) -> str:
        """Read a JSON string in NFC without carriage returns."""
        start = self.position
        quoted = self.need(_STRING, "a text in double quotes with JSON's escapes")
        text: str = json.loads(quoted)
        if _SURROGATE.search(text) or not is_normal_text(text):
            self.fail("a text in NFC without surrogates and carriage returns", position=start)
        self.spend(len(text))
        return text

    def number(self) -> int | float | None:
        """Read an integer, or a finite number with '.' or 'e'; None if no number comes next."""
        found = self.match(_NUMBER)
        if found is None:
            return None
        if found["float"]:
            return self._finite(found)
        if found[0] == "-0" or len(found[0]) > 20 or not INT_MIN <= int(found[0]) <= INT_MAX:
            self.fail("an integer from -2^63 to 2^63-1", position=found.start())
        return int(found[0])

    def _finite(self, found: re.Match[str]) -> float:
        number = float(found[0])
        if number - number != 0:
            self.fail("a number below 1.8e308", "E_FLOAT_SPECIAL", found.start())
        return number + 0.0

    def index(self) -> int:
        """Read the index of a field."""
        start = self.position
        found = _INDEX.match(self.text, start)
        if found is None:
            self.fail("a field index from 0 to 2^63-1")
        self.position = found.end()
        index = int(found[0])
        if index == RESERVED_INDEX:
            self.fail("a field index other than 8", "E_FIELD_RESERVED", start)
        if index > INT_MAX:
            self.fail("a field index from 0 to 2^63-1", position=start)
        return index

    def hex_bytes(self) -> bytes:
        """Read bytes as pairs of lower-case hexadecimal digits."""
        found = _HEX.match(self.text, self.position)
        assert found is not None  # the pattern matches the empty text
        self.position = found.end()
        self.spend(len(found[0]) // 2)
        return bytes.fromhex(found[0])

    def handle_name(self) -> Handle:
        """Read the part of a handle after `&h_`."""
        name = _NAME.match(self.text, self.position)
        if name is None:
            self.fail("letters, digits or _ of a handle", "E_HANDLE_FORMAT")
        self.position = name.end()
        self.spend(len(name[0]))
        return Handle(f"&h_{name[0]}")

    # --- limits and order -----------------------------------------------------------------------

    def spend(self, num_bytes: int) -> None:
        """Count bytes that the binary form needs at least for what was read."""
        self._room -= num_bytes
        if self._room < 0:
            self.fail(f"a value of at most {SIZE_MAX} bytes of LC-B", "E_SIZE_EXCEEDED")

    @contextmanager
    def levels(self, count: int) -> Iterator[None]:
        """Open `count` levels of the binary form for the parts that are read inside."""
        self._levels -= count
        if self._levels < 0:
            self.fail(f"at most {DEPTH_MAX} levels of LC-B", "E_DEPTH_EXCEEDED")
        yield
        self._levels += count

    def in_order(self, key: Key, before: Key | None, start: int) -> Key:
        """Return `key`, which must come after the key `before` it."""
        if before is not None and key == before:
            self.fail("a key that the object does not have yet", "E_DUPLICATE_KEY", start)
        if before is not None and key < before:
            self.fail(f"a key after {before!r:.40}: keys ascend", "E_FIELD_ORDER", start)
        return key
