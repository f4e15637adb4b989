"""Split a text into words, or characters in scripts without blanks, to compare texts for copies.

Chinese, Japanese, Korean, Thai, Lao, Khmer, Burmese and Tibetan are compared by characters, since
blanks do not separate their words (Korean has blanks, but few), and so are symbols such as emoji.
Signs between words (punctuation, operators) are ignored.
"""

import re

RUN_CHARS_MAX = 64
"""Most letters and digits of a word; a longer run is cut into pieces of `PIECE_CHARS`."""

PIECE_CHARS = 16
"""Characters of the pieces that a longer run is cut into."""

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
"""Vowel signs and accents inside words (Indic scripts, Hebrew, Arabic) that `\\w` does not
match."""

UNIT_PATTERN = f"[{_BY_CHARACTER}]|(?:(?![{_BY_CHARACTER}])[\\w{_MARKS}])+"
"""Regular expression of a word, or of a character in a script without blanks."""

NO_PLAIN_WORD = re.compile(f"[{_BY_CHARACTER}{_MARKS}]")
"""Characters without which all words of a text are runs of letters, digits and underscores."""

_UNIT = re.compile(UNIT_PATTERN)
_NO_OPERATOR = re.compile(r"[^!%&*+/<=>@^|~-]+")


def units(text: str) -> list[str]:
    """Return the words of a text in lower case, or characters in scripts without blanks.

    A text without words and such characters is compared by its signs.
    """
    text = text.lower()
    found = (_ASCII_WORD if text.isascii() else _UNIT).findall(text)
    return _cut_long(found) or [sign for sign in text if not sign.isspace()]


def use_other_operators(text: str, other: str) -> bool:
    """Return whether two texts have the same words but different operators between two of them.

    Operators are the signs `! % & * + - / < = > @ ^ | ~`. Only places are compared where both texts
    have an operator, so that markup (`*bold*`, bullets, comment marks) makes no difference.
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
