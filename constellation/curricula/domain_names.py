"""Turn names of folders and records into unique names of domains that are valid for kernels.

Different originals never get the same name. A name depends on its original alone, unless two
originals would get the same name.
"""

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

NAME_CHARS_MAX = 64

_DIGEST_CHARS = 8
_WORDS = str.maketrans(
    {"+": "-plus-", "#": "-sharp-", "&": "-and-", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l"}
    | {"đ": "d", "ð": "d", "þ": "th", "\u0131": "i"}
)
_OTHER = re.compile(r"[^a-z0-9_.]+")


def name_domains(originals: Iterable[str]) -> dict[str, str]:
    """Return original -> name, for every original.

    A name is the original in lower case without accents, with `-` for blanks and signs, and words
    for `+`, `#` and `&` ("C++" becomes "c-plus-plus"). When letters are lost (other scripts, over
    64 characters) or two originals would get the same name, the name ends with the first characters
    of the original's sha256; an original that equals its plain name keeps that name.
    """
    by_name: defaultdict[str, list[str]] = defaultdict(list)
    for original in sorted(set(originals)):
        by_name[plain_name(original)].append(original)
    names = {}
    for name, group in by_name.items():
        alone = len({_composed(original) for original in group}) == 1
        for original in group:
            names[original] = name if alone or original == name else _with_digest(name, original)
    return names


def plain_name(original: str) -> str:
    """Return the name of one original, regardless of other originals."""
    letters = unicodedata.normalize("NFKD", original).casefold().translate(_WORDS)
    letters = "".join(letter for letter in letters if not unicodedata.combining(letter))
    name = _OTHER.sub("-", letters).lstrip("-._").rstrip("-.")
    is_lossy = any(letter.isalnum() and not letter.isascii() for letter in letters)
    if is_lossy or not name or len(name) > NAME_CHARS_MAX:
        return _with_digest(name, original)
    return name


def _with_digest(name: str, original: str) -> str:
    digest = hashlib.sha256(_composed(original).encode()).hexdigest()[:_DIGEST_CHARS]
    room = NAME_CHARS_MAX - _DIGEST_CHARS - 1
    return f"{name[:room].rstrip('-.') or 'unnamed'}-{digest}"


def _composed(original: str) -> str:
    """Return the composed form (NFC) of accented letters, which file systems write differently."""
    return unicodedata.normalize("NFC", original)
