"""Five text forms of HLX as tables: LC-T compact, bracket-hex, LC-R, HLXL and HLX.

The five forms have the same grammar and differ in their marks only; `notation_text.py` reads and
writes all of them by these tables.
"""

import re
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Notation:
    """The marks of one text form.

    Spaces inside of a mark are written always, and are demanded exactly unless `free_spaces`.
    """

    code: str = "E_LC_PARSE"
    """Error code of a text that breaks the grammar."""
    ascii_only: bool = False
    """Whether other characters are written as escapes and refused elsewhere."""
    free_spaces: bool = False
    """Whether spaces, tabs and line feeds may stand between tokens."""
    null: str
    true: str
    false: str
    hex_integers: bool = False
    """Whether integers are hexadecimal with an even number of digits."""
    bytes_open: str
    bytes_close: str = ""
    handle: str | None
    """What stands before the name of a handle; None: handles are strings from `&h_` on."""
    array: tuple[str, str] = ("[", "]")
    separator: str = ","
    """Stands between the parts of arrays and named objects."""
    named: tuple[str, str] = ("{", "}")
    key: tuple[str, str] = ("", ":")
    """Marks around the key of a named object."""
    quoted_key: str | None = None
    """The one key that is written in quotes."""
    record: tuple[str, str] = ("{", "}")
    field: tuple[str, str]
    """Marks around the index of a field."""
    field_separator: str = ","
    record_start: re.Pattern[str]
    """What tells a record from a named object after the mark that opens both."""
    contract: tuple[str, str]
    """Marks around the id of a contract, after the mark that opens a record."""
    contract_start: re.Pattern[str]
    """What tells a contract from any other object after the mark that opens both."""
    contract_fields: str = ""
    """Stands before the first field of a contract."""
    contract_close: str = "}"
    glyphs: str = ""
    """Characters beyond ASCII that stand outside of strings; any other is E_UNKNOWN_GLYPH."""


COMPACT = Notation(
    ascii_only=True,
    null="NULL",
    true="TRUE",
    false="FALSE",
    bytes_open="#",
    handle="@",
    quoted_key="C",
    field=("", "="),
    record_start=re.compile("[0-9]"),
    contract=("C:", ""),
    contract_start=re.compile(r"C:"),
    contract_fields=",",
)
"""LC-T compact: `{C:14,0=42}`."""

BRACKET_HEX = Notation(
    ascii_only=True,
    null="_",
    true="T",
    false="F",
    hex_integers=True,
    bytes_open="#",
    handle="&",
    field=("", ":"),
    record_start=re.compile("[0-9]"),
    contract=("", "|"),
    contract_start=re.compile(r"[0-9]+\|"),
)
"""Bracket-hex without its outer brackets: `{14|0:0x2a}`."""

RUNIC = Notation(
    null="∅",
    true="⊤",
    false="⊥",
    bytes_open="⊠",
    handle="⟁",
    array=("🜃", "🜄"),
    separator=", ",
    named=("◇", "◆"),
    key=("", ": "),
    record=("🜊", "🜂"),
    field=("🜁", " "),
    field_separator="",
    record_start=re.compile("🜁"),
    contract=("", ""),
    contract_start=re.compile(r"[0-9]"),
    contract_close="🜂",
    glyphs="∅⊤⊥⊠⟁🜊🜂🜁🜃🜄◇◆",
)
"""LC-R: `🜊14🜁0 42🜂`."""

HLXL = Notation(
    code="E_SYNTAX_ERROR",
    free_spaces=True,
    null="null",
    true="true",
    false="false",
    bytes_open='x"',
    bytes_close='"',
    handle="&h_",
    separator=", ",
    key=("", ": "),
    field=("@", ": "),
    field_separator=", ",
    record_start=re.compile('"?@'),
    contract=("", ": {"),
    contract_start=re.compile("[0-9]"),
    contract_close="}}",
)
"""Data form of HLXL: `{14: {@0: 42}}`."""

HLX = replace(HLXL, handle=None, key=('"', '": '), field=('"@', '": '))
"""HLX: `{14: {"@0": 42}}`."""

SPACES = re.compile(r"[ \t\n]*")
"""What may stand between tokens of forms with free spaces."""
