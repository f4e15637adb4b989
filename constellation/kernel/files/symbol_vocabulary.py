"""A vocabulary of symbols: single characters and a few named special symbols, such as the end.

A kernel that was trained with such a vocabulary keeps it in its folder, in `symbols.json`. The
special symbols have the first ids and stand for no text; the characters follow in their order.
Neither torch nor a tokenizer library is needed here: the registry reads these files too.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from constellation.atomic_files import write_whole
from constellation.errors import ArtifactError, ConfigError, UnknownSymbol

SYMBOLS_FILE: Final = "symbols.json"
"""In the folder of a kernel that has such a vocabulary."""
END: Final = "end"
"""Name of the special symbol that ends a text; it is the first one, with the id 0."""
FORMAT: Final = 1
"""Version of the file's layout."""
SYMBOLS_MAX: Final = 4096
"""Most entries, special symbols included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SymbolVocabulary:
    """Characters in the order of their ids, after the special symbols."""

    characters: str
    """Every character that a text may have, each once; at least one."""
    special: tuple[str, ...] = (END,)
    """Names of symbols that are no text, "end" first."""
    _ids: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.special[:1] != (END,) or len(set(self.special)) != len(self.special):
            raise ConfigError(f"special is {self.special}; give names, each once, {END!r} first")
        if not all(name.isidentifier() for name in self.special):
            raise ConfigError(f"special is {self.special}; allowed: letters, digits and '_'")
        repeated = sorted({c for c in self.characters if self.characters.count(c) > 1})
        if not self.characters or repeated:
            raise ConfigError(f"characters must be one or more, each once; repeated: {repeated}")
        if any(0xD800 <= ord(character) <= 0xDFFF for character in self.characters):
            raise ConfigError("characters has half of a surrogate pair, which is no text")
        if len(self) > SYMBOLS_MAX:
            raise ConfigError(f"there are {len(self)} symbols; allowed: up to {SYMBOLS_MAX}")
        first = len(self.special)
        ids = {character: first + place for place, character in enumerate(self.characters)}
        object.__setattr__(self, "_ids", ids)

    def __len__(self) -> int:
        return len(self.special) + len(self.characters)

    @property
    def name(self) -> str:
        """For people, such as "120 symbols"."""
        return f"{len(self)} symbols"

    @property
    def end_id(self) -> int:
        """Id of the symbol that ends a text."""
        return 0

    @property
    def token_bytes(self) -> tuple[bytes, ...]:
        """UTF-8 bytes of every id; empty for special symbols."""
        return (*[b""] * len(self.special), *(each.encode() for each in self.characters))

    def encode(self, text: str, *, opens: bool = False) -> list[int]:
        """Return the ids of a text, one for every character, whether or not the text opens.

        Raises:
            UnknownSymbol: The text has a character that is no symbol; names the first one.
        """
        try:
            return [self._ids[character] for character in text]
        except KeyError:
            position = next(n for n, character in enumerate(text) if character not in self._ids)
            raise UnknownSymbol(text[position], position=position, vocabulary=self.name) from None

    def to_json(self) -> bytes:
        """Return the content of `symbols.json`, the same bytes for equal vocabularies."""
        values = {"format": FORMAT, "special": list(self.special), "characters": self.characters}
        return json.dumps(values, ensure_ascii=True, indent=2).encode() + b"\n"

    def sha256(self) -> str:
        """Return the identity (hex): that of the file."""
        return hashlib.sha256(self.to_json()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write `symbols.json` into a kernel's folder, atomically."""
        write_whole(folder / SYMBOLS_FILE, self.to_json())


def has_symbols(folder: Path) -> bool:
    """Return whether the kernel in a folder has a vocabulary of symbols."""
    return (folder / SYMBOLS_FILE).is_file()


def read_symbols(path: Path) -> SymbolVocabulary:
    """Return the vocabulary in a file, or in the `symbols.json` of a folder.

    Raises:
        ArtifactError: The file is missing or damaged, or its symbols are refused.
    """
    path = path / SYMBOLS_FILE if path.is_dir() else path
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(path, f"it cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(path, f"it is not JSON: {error}") from error
    _check(path, values)
    try:
        return SymbolVocabulary(
            characters=values["characters"], special=tuple(values.get("special", (END,)))
        )
    except ConfigError as error:
        raise ArtifactError(path, str(error)) from error


def _check(path: Path, values: Any) -> None:
    well = (
        isinstance(values, dict)
        and values.get("format", FORMAT) == FORMAT
        and isinstance(values.get("characters"), str)
        and isinstance(values.get("special", []), list)
        and all(isinstance(name, str) for name in values.get("special", []))
    )
    if not well:
        raise ArtifactError(
            path,
            f'it must hold "format" {FORMAT}, "characters" (a text, each character once) and '
            '"special" (a list of names, "end" first)',
        )
