"""Cut a text into the units that copies are compared by: words, or characters where none are cut.

Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese and Tibetan are compared by characters, since
blanks do not separate their words (Korean has blanks, but few), and so are symbols such as emoji.
Signs between words (punctuation, operators) are no units.
"""

import re

RUN_CHARS_MAX = 64
"""A longer run of letters and digits without a blank is no word; it is cut into `PIECE_CHARS`."""

PIECE_CHARS = 16
"""Characters of the pieces that such a run is cut into."""

_ASCII_WORD = re.compile(r"\w+", re.ASCII)

_BY_CHARACTER = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u1aaf\u1b00-\u1bbf"  # Thai to Balinese
    "\u2e80-\u2fdf\u3005-\u3007\u3040-\u312f\u3131-\u318e\u31a0-\u31bf\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9df\uaa60-\uaa7f"  # Han, Yi, Javanese
    "\u1100-\u11ff\uac00-\ud7af\uf900-\ufaff\uff66-\uffdc"  # Hangul, halfwidth letters
    "\U00016fe0-\U0001b2ff\U00020000-\U0003ffff"  # Tangut, kana supplements, Han extensions
    "\u2190-\u2bff\U0001f000-\U0001faff"  # arrows, mathematics, pictures, emoji
)
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed"
    "\u0711-\u074a\u0900-\u0963\u0966-\u0dff\u1dc0-\u1dff\u200c\u200d"
)
"""Vowel signs and accents that stand inside words (Indic scripts, Hebrew, Arabic), but which `\\w`
leaves out."""

_UNIT = re.compile(f"[{_BY_CHARACTER}]|(?:(?![{_BY_CHARACTER}])[\\w{_MARKS}])+")
_NO_OPERATOR = re.compile(r"[^!%&*+/<=>@^|~-]+")


def units(text: str) -> list[str]:
    """Return the words of a text in lower case, and the characters of scripts without blanks.

    A text that has neither, only signs, is compared by these.
    """
    text = text.lower()
    found = (_ASCII_WORD if text.isascii() else _UNIT).findall(text)
    return _cut_long(found) or [sign for sign in text if not sign.isspace()]


def use_other_operators(text: str, other: str) -> bool:
    """Return whether two texts of the same words have different operators between two of them.

    Operators are the signs `! % & * + - / < = > @ ^ | ~`. Only places count where both texts have
    some, so that markup (`*bold*`, bullets, comment marks) makes no difference.
    """
    words = _ASCII_WORD if text.isascii() and other.isascii() else _UNIT
    text, other = text.lower(), other.lower()
    if words.findall(text) != words.findall(other):
        return False
    gaps = zip(words.split(text)[1:-1], words.split(other)[1:-1], strict=True)
    return any(
        ours != theirs and _differ(_NO_OPERATOR.sub("", ours), _NO_OPERATOR.sub("", theirs))
        for ours, theirs in gaps
    )


def _differ(ours: str, theirs: str) -> bool:
    return bool(ours and theirs and ours != theirs)


def _cut_long(found: list[str]) -> list[str]:
    if max(map(len, found), default=0) <= RUN_CHARS_MAX:
        return found
    return [piece for unit in found for piece in _pieces(unit)]


def _pieces(unit: str) -> list[str]:
    if len(unit) <= RUN_CHARS_MAX:
        return [unit]
    return [unit[at : at + PIECE_CHARS] for at in range(0, len(unit), PIECE_CHARS)]
