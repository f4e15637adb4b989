"""All forms of HLX by name: encode a value as text, decode a text, convert and validate texts."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from constellation.curricula.hlx import lc_binary, notations
from constellation.curricula.hlx.english import read_english, write_english
from constellation.curricula.hlx.latent_space_text import (
    read_hlx_collapse,
    read_hlxl_collapse,
    write_hlx_collapse,
    write_hlxl_collapse,
)
from constellation.curricula.hlx.notation_text import (
    read,
    read_bracket_hex,
    write,
    write_bracket_hex,
)
from constellation.curricula.hlx.stream_text import read_stream, write_stream
from constellation.curricula.hlx.values import SIZE_MAX, Value
from constellation.errors import ConfigError, HlxError

_HEX_PAIRS = re.compile(r"(?:[0-9a-f]{2}(?: (?=[0-9a-f]))?)*+")


@dataclass(frozen=True)
class TextForm:
    """One text form of HLX.

    Attributes:
        name: Name on the command line, such as "lct-stream".
        read: Returns the value of a text.
        write: Returns the canonical text of a canonical value.
    """

    name: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


def _read_hex(text: str) -> Any:
    found = _HEX_PAIRS.match(text) if len(text) <= 3 * SIZE_MAX else None
    if found is None:
        raise HlxError("E_SIZE_EXCEEDED", f"at most {SIZE_MAX} bytes", position=3 * SIZE_MAX)
    if found.end() != len(text):
        raise HlxError("E_LC_PARSE", "pairs of lower-case hexadecimal digits", position=found.end())
    return lc_binary.decode(bytes.fromhex(text))


def _notation(name: str, notation: notations.Notation) -> TextForm:
    return TextForm(name, lambda text: read(text, notation), lambda value: write(value, notation))


FORMS: dict[str, TextForm] = {
    form.name: form
    for form in (
        TextForm("lcb", _read_hex, lambda value: lc_binary.encode(value).hex(" ")),
        _notation("lct", notations.COMPACT),
        TextForm("lct-stream", read_stream, write_stream),
        TextForm("bracket-hex", read_bracket_hex, write_bracket_hex),
        _notation("lcr", notations.RUNIC),
        _notation("hlxl", notations.HLXL),
        TextForm("hlxl-ls", read_hlxl_collapse, write_hlxl_collapse),
        _notation("hlx", notations.HLX),
        TextForm("hlx-ls", read_hlx_collapse, write_hlx_collapse),
        TextForm("english", read_english, write_english),
    )
}
"""Name -> form; "lcb" is the binary form in hexadecimal digits."""


def form_of(name: str) -> TextForm:
    """Return a form by its name.

    Raises:
        ConfigError: There is no form of that name.
    """
    if name not in FORMS:
        raise ConfigError(f"no form is named {name!r}; there are: {', '.join(FORMS)}")
    return FORMS[name]


def encode_text(value: object, form: str) -> str:
    """Return the canonical text of a value in a form.

    Raises:
        HlxError: As for `lc_binary.encode`; E_HANDLE_FORMAT for texts that the form cannot show.
    """
    return form_of(form).write(lc_binary.canonical(value))


def decode_text(text: str, form: str) -> Value:
    """Return the canonical value of a text in a form.

    Raises:
        HlxError: With the place of the mistake.
    """
    return lc_binary.canonical(form_of(form).read(text))


def convert(text: str, source: str, target: str) -> str:
    """Return the canonical text in form `target` of a text in form `source`."""
    return encode_text(decode_text(text, source), target)


def validate(text: str, form: str) -> Value:
    """Return the value of a text that is the canonical text of its value.

    Raises:
        HlxError: With the first place at which the canonical text differs.
    """
    value = decode_text(text, form)
    canonical = encode_text(value, form)
    if canonical != text:
        pairs = enumerate(zip(canonical, text, strict=False))
        shortest = min(len(canonical), len(text))
        place = next((place for place, (one, other) in pairs if one != other), shortest)
        rest = canonical[place : place + 20] or "the end"
        raise HlxError(form_code(form), f"the canonical text, here {rest!r}", position=place)
    return value


def form_code(form: str) -> str:
    """Return the error code of a text that breaks the grammar of a form."""
    return (
        "E_LC_PARSE"
        if form in ("lcb", "lct", "lct-stream", "bracket-hex", "lcr")
        else ("E_SYNTAX_ERROR")
    )
