"""A vocabulary of symbols: its ids, what it refuses, and its file."""

import json
import random
from pathlib import Path

import pytest

from constellation.errors import ArtifactError, ConfigError, UnknownSymbol
from constellation.kernel.files.own_vocabulary import check_own_vocabulary, has_own_vocabulary
from constellation.kernel.files.symbol_kernel import load_symbol_kernel
from constellation.kernel.files.symbol_vocabulary import (
    SYMBOLS_FILE,
    SymbolVocabulary,
    read_symbols,
)
from constellation.kernel.writing.text_model import score_text
from tests.support.symbols import SYMBOLS, save_symbol_kernel


@pytest.mark.parametrize("seed", range(5))
def test_a_text_of_known_symbols_comes_back_to_the_bit(seed: int) -> None:
    text = "".join(random.Random(seed).choices(SYMBOLS.characters, k=200))
    ids = SYMBOLS.encode(text)
    assert b"".join(SYMBOLS.token_bytes[each] for each in ids).decode() == text
    assert len(ids) == len(text)
    assert min(ids) >= len(SYMBOLS.special)


@pytest.mark.parametrize(("text", "symbol", "position"), [("ab日c", "日", 2), ("é", "é", 0)])
def test_an_unknown_symbol_is_refused_by_name_and_place(
    text: str, symbol: str, position: int
) -> None:
    with pytest.raises(UnknownSymbol, match=r"120 symbols") as error:
        SYMBOLS.encode(text)
    assert (error.value.symbol, error.value.position) == (symbol, position)
    assert f"U+{ord(symbol):04X}" in str(error.value)


def test_special_symbols_are_named_and_stand_for_no_text() -> None:
    assert (SYMBOLS.end_id, SYMBOLS.special) == (0, ("end", "pad"))
    assert SYMBOLS.token_bytes[:2] == (b"", b"")


@pytest.mark.parametrize(
    ("characters", "special"),
    [("abca", ("end",)), ("", ("end",)), ("abc", ("pad", "end")), ("abc", ("end", "end"))],
)
def test_symbols_that_cannot_be_told_apart_are_refused(
    characters: str, special: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError):
        SymbolVocabulary(characters=characters, special=special)


def test_a_file_gives_the_same_vocabulary_and_identity(tmp_path: Path) -> None:
    SYMBOLS.save(tmp_path)
    assert read_symbols(tmp_path) == SYMBOLS
    assert read_symbols(tmp_path).sha256() == SYMBOLS.sha256()
    other = SymbolVocabulary(characters=SYMBOLS.characters[::-1], special=SYMBOLS.special)
    assert other.sha256() != SYMBOLS.sha256()


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"characters": 3}', b'{"characters": "aa"}', b'{"format": 2}']
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / SYMBOLS_FILE).write_bytes(content)
    with pytest.raises(ArtifactError, match=SYMBOLS_FILE):
        read_symbols(tmp_path)


def test_a_kernel_and_its_symbols_belong_together(tmp_path: Path) -> None:
    save_symbol_kernel(tmp_path)
    loaded = load_symbol_kernel(tmp_path)
    assert has_own_vocabulary(tmp_path)
    assert check_own_vocabulary(tmp_path) == loaded.kernel.weights_hash
    SymbolVocabulary(characters=SYMBOLS.characters[::-1]).save(tmp_path)
    for read in (load_symbol_kernel, check_own_vocabulary):
        with pytest.raises(ArtifactError, match="trained with"):
            read(tmp_path)


def test_weights_of_another_kernel_are_noticed(tmp_path: Path) -> None:
    save_symbol_kernel(tmp_path / "one")
    save_symbol_kernel(tmp_path / "two", seed=9)
    weights = (tmp_path / "two" / "weights.safetensors").read_bytes()
    (tmp_path / "one" / "weights.safetensors").write_bytes(weights)
    with pytest.raises(ArtifactError, match="sha256"):
        check_own_vocabulary(tmp_path / "one")


def test_a_text_is_scored_by_its_symbols(tmp_path: Path) -> None:
    save_symbol_kernel(tmp_path)
    loaded = load_symbol_kernel(tmp_path)
    whole, parts = score_text(loaded, "", "abcd"), score_text(loaded, "ab", "cd")
    assert (whole.num_tokens, parts.num_tokens) == (4, 2)
    assert whole.nats == pytest.approx(score_text(loaded, "", "ab").nats + parts.nats, rel=1e-5)
    with pytest.raises(UnknownSymbol):
        score_text(loaded, "日", "a")


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    SYMBOLS.save(tmp_path)
    values = json.loads((tmp_path / SYMBOLS_FILE).read_text("utf-8"))
    assert values["special"] == ["end", "pad"]
    assert len(values["special"]) + len(values["characters"]) == 120
