"""HLXL-LS and HLX-LS as text forms of a value: `ls.collapse(42)` and `collapse(42)`."""

import re
from typing import Any

from constellation.curricula.hlx.notation_text import NotationReader, write
from constellation.curricula.hlx.notations import HLX, HLXL
from constellation.curricula.hlx.values import contract_view, kind_name

TAG = re.compile(r"[a-z]+[0-9]*")
"""Tag of a handle."""


def handle_tag(value: Any) -> str:
    """Return the tag of a canonical value's handle, such as "int" or "contract14"."""
    contract = contract_view(value)
    return kind_name(value) if contract is None else f"contract{contract.id}"


def read_old_argument(reader: NotationReader) -> Any:
    """Read the older form of the argument of `ls.collapse`: a tag and a value, no parentheses."""
    start = reader.position
    tag = reader.need(TAG, "'(' or the tag of a value")
    value = reader.value()
    if tag != handle_tag(value):
        reader.fail(f"the tag {handle_tag(value)}", position=start)
    return value


def read_hlxl_collapse(text: str) -> Any:
    """Return the value of `ls.collapse(VALUE)`, or of the older `ls.collapse TAG VALUE`."""
    reader = NotationReader(text, HLXL)
    reader.expect("ls.collapse")
    if reader.take("("):
        value = reader.value()
        reader.expect(")")
    else:
        value = read_old_argument(reader)
    reader.end()
    return value


def write_hlxl_collapse(value: Any) -> str:
    """Return the text of a canonical value in HLXL-LS."""
    return f"ls.collapse({write(value, HLXL)})"


def read_hlx_collapse(text: str) -> Any:
    """Return the value of `collapse(VALUE)`."""
    reader = NotationReader(text, HLX)
    reader.expect("collapse(")
    value = reader.value()
    reader.expect(")")
    reader.end()
    return value


def write_hlx_collapse(value: Any) -> str:
    """Return the text of a canonical value in HLX-LS."""
    return f"collapse({write(value, HLX)})"
