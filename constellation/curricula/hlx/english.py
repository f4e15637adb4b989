"""A closed English grammar of HLX values: every value has one sentence, which reads back.

Values of some shapes have a sentence of their own (`english_templates.py`); all others are
"Represent" and a phrase. A sentence outside of the grammar is ungradable: neither right nor wrong.
"""

import json
import re
from typing import Any, NoReturn

from constellation.curricula.hlx import english_templates
from constellation.curricula.hlx.number_words import WORDS_MAX, number_of_words, words
from constellation.curricula.hlx.text_scanner import TextScanner
from constellation.curricula.hlx.values import KEY, NAMED_LEVELS, Handle, contract_view
from constellation.errors import HlxError

_WORDS = re.compile(r"[a-z]++(?:[ -][a-z]++)*+")
_PLAIN_BYTES = re.compile(r"[ -&(-\[\]-~]*")


# --- writing ------------------------------------------------------------------------------------


def write_english(value: Any) -> str:
    """Return the sentence of a canonical value."""
    return english_templates.write(value) or f"Represent {_phrase(value)}"


def _phrase(value: Any) -> str:
    if type(value) is tuple:
        return f"the list ({', '.join(map(_phrase, value))})"
    if type(value) is dict:
        return _object_phrase(value)
    if isinstance(value, str):
        return f"the text {json.dumps(value, ensure_ascii=False)}"
    if isinstance(value, bytes):
        return _bytes_phrase(value)
    if isinstance(value, Handle):
        return f"the handle {value.name}"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return f"the number {value!r}"
    return f"the integer {words(value) if abs(value) <= WORDS_MAX else value}"


def _bytes_phrase(data: bytes) -> str:
    if data.isascii() and _PLAIN_BYTES.fullmatch(data.decode("ascii")):
        return f"the bytes '{data.decode('ascii')}'"
    return f"the hexadecimal bytes {data.hex()}"


def _object_phrase(value: dict[Any, Any]) -> str:
    contract = contract_view(value)
    if contract is not None:
        return f"contract {contract.id} ({_pairs(dict(contract.fields))})"
    if not value:
        return "the empty object"
    name = "record" if type(next(iter(value))) is int else "object"
    return f"the {name} ({_pairs(value)})"


def _pairs(value: dict[Any, Any]) -> str:
    return ", ".join(f"{key}: {_phrase(item)}" for key, item in value.items())


# --- reading ------------------------------------------------------------------------------------


class _EnglishReader(TextScanner):
    """Reads sentences that begin with "Represent"."""

    code = "E_SYNTAX_ERROR"

    def fail(self, expected: str, code: str | None = None, position: int | None = None) -> NoReturn:
        """Raise an error that says that the sentence is ungradable."""
        if code is None:
            expected = f"{expected} (outside of the grammar a sentence is ungradable)"
        super().fail(expected, code, position)

    def phrase(self) -> Any:
        """Read one phrase."""
        self.spend(1)
        for literal, value in (("nothing", None), ("true", True), ("false", False)):
            if self.take(literal):
                return value
        if self.take("contract "):
            return self._contract()
        self.expect("the ")
        return self._noun()

    def _noun(self) -> Any:
        if self.take("integer "):
            return self._integer()
        if self.take("number "):
            return self._float()
        if self.take("text "):
            return self.string()
        if self.take("bytes '"):
            return self._plain_bytes()
        if self.take("hexadecimal bytes "):
            return self.hex_bytes()
        if self.take("handle "):
            return self.handle_name()
        return self._container()

    def _container(self) -> Any:
        if self.take("list ("):
            with self.levels(1):
                return self._list()
        if self.take("empty object"):
            with self.levels(1):
                return {}
        if self.take("record ("):
            with self.levels(1):
                return self._fields()
        if self.take("object ("):
            with self.levels(NAMED_LEVELS):
                return self._named()
        return self.fail(
            "integer, number, text, bytes, handle, list, record, object or empty object"
        )

    def _integer(self) -> int:
        start = self.position
        if found := self.match(_WORDS):
            number = number_of_words().get(found[0])
        else:
            read = self.number()
            number = read if type(read) is int else None
        if number is None:
            self.fail("an integer in digits, or in words up to 999", position=start)
        return number

    def _float(self) -> float:
        start = self.position
        number = self.number()
        if type(number) is not float:
            self.fail("a number with '.' or 'e'", position=start)
        return number

    def _plain_bytes(self) -> bytes:
        text = self.need(_PLAIN_BYTES, "ASCII characters")
        self.expect("'")
        self.spend(len(text))
        return text.encode("ascii")

    def _list(self) -> tuple[Any, ...]:
        found: list[Any] = []
        if self.take(")"):
            return ()
        while True:
            found.append(self.phrase())
            if self.take(")"):
                return tuple(found)
            self.expect(", ")

    def _contract(self) -> Any:
        start = self.position
        index = self.index()
        if index == 0:
            self.fail("the id of a contract, at least 1", "E_CONTRACT_STRUCTURE", start)
        self.expect(" (")
        with self.levels(2):
            return {index: {} if self.take(")") else self._fields()}

    def _fields(self) -> dict[int, Any]:
        found: dict[int, Any] = {}
        before: int | None = None
        while True:
            start = self.position
            before = self.in_order(self.index(), before, start)
            self.spend(1)
            self.expect(": ")
            found[before] = self.phrase()
            if self.take(")"):
                return found
            self.expect(", ")

    def _named(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        before: str | None = None
        while True:
            start = self.position
            before = self.in_order(self.need(KEY, "a key"), before, start)
            self.spend(15 + len(before))
            self.expect(": ")
            found[before] = self.phrase()
            if self.take(")"):
                return found
            self.expect(", ")


def read_english(text: str) -> Any:
    """Return the value of a sentence.

    Raises:
        HlxError: E_SYNTAX_ERROR for a sentence outside of the grammar, which is ungradable.
    """
    reader = _EnglishReader(text)
    found = english_templates.read(text)
    if found is not None:
        return found
    reader.expect("Represent ")
    value = reader.phrase()
    reader.end()
    return value


def is_gradable(text: str) -> bool:
    """Say whether a sentence belongs to the grammar."""
    try:
        read_english(text)
    except HlxError:
        return False
    return True
