from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.extension import extend
from constellation.errors import ConfigError
from tests.coordizer.corpora import CODE, POEM, ascii_text, broken_bytes, mixed_text

NEW = ("self[0]\n", "naïve, façade", " of stones", "日本語", "self[")
DOCUMENTS = [POEM * 4, CODE * 4]


@pytest.fixture(scope="module")
def extended(coordizer: Coordizer) -> Coordizer:
    return extend(coordizer, NEW, DOCUMENTS)


def test_new_tokens_take_the_next_ids_and_match_as_whole_strings(
    coordizer: Coordizer, extended: Coordizer
) -> None:
    assert extended.vocab_size == coordizer.vocab_size + len(NEW)
    for offset, text in enumerate(NEW):
        assert extended.encode(text).tolist() == [coordizer.vocab_size + offset]
        assert extended.token_bytes(coordizer.vocab_size + offset) == text.encode()


@given(text=ascii_text | mixed_text | broken_bytes)
def test_text_without_the_new_strings_is_encoded_as_before(
    coordizer: Coordizer, extended: Coordizer, text: str | bytes
) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    assume(not any(new.encode() in data for new in NEW))
    assert np.array_equal(extended.encode(text), coordizer.encode(text))


@given(text=mixed_text)
def test_text_with_the_new_strings_comes_back_exactly(extended: Coordizer, text: str) -> None:
    data = f"{text}{NEW[0]}{text}{NEW[3]}{NEW[4]}".encode() + b"\xff" + NEW[1].encode()
    assert extended.decode(extended.encode(data)) == data


def test_all_that_was_there_stays_the_same_bits(coordizer: Coordizer, extended: Coordizer) -> None:
    size = coordizer.vocab_size
    assert extended.vocabulary.tokens[:size] == coordizer.vocabulary.tokens
    assert extended.vocabulary.merges == coordizer.vocabulary.merges
    assert extended.conditional_VK[:size].tobytes() == coordizer.conditional_VK.tobytes()
    assert extended.background_K.tobytes() == coordizer.background_K.tobytes()
    assert np.array_equal(extended.coordinates.counts_VK[:size], coordizer.coordinates.counts_VK)
    assert extended.tokenizer_hash != coordizer.tokenizer_hash


def test_a_new_token_lies_where_its_contexts_lie(coordizer: Coordizer, extended: Coordizer) -> None:
    blocks = coordizer.coordinates.blocks
    for offset, domain in ((0, "code"), (1, "poem"), (2, "poem"), (3, "poem")):
        row = extended.conditional_VK[coordizer.vocab_size + offset]
        shares = {name: row[list(block)].sum() for name, block in blocks.items()}
        assert max(shares, key=shares.__getitem__) == domain


def test_new_rows_are_coordinates_and_an_unseen_token_sits_at_the_background(
    coordizer: Coordizer,
) -> None:
    more = extend(coordizer, ["never seen here", " of stones"], DOCUMENTS)
    rows = more.conditional_VK[coordizer.vocab_size :]
    assert np.allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert np.allclose(rows[0], coordizer.background_K, atol=1e-7)


def test_an_extended_coordizer_is_stored_and_extended_again(
    coordizer: Coordizer, extended: Coordizer, tmp_path: Path
) -> None:
    extended.save(tmp_path / "extended")
    loaded = Coordizer.load(tmp_path / "extended")
    assert loaded.hash == extended.hash
    twice = extend(loaded, ["Straße, Ελλάδα"], DOCUMENTS)
    text = f"{NEW[2]}Straße, Ελλάδα{NEW[0]}"
    size = coordizer.vocab_size
    assert twice.encode(text).tolist() == [size + 2, size + 5, size]


@pytest.mark.parametrize("texts", [[""], ["a"], [" "], ["<|end|>"], ["two words"] * 2, ["a\ud800"]])
def test_what_cannot_be_a_new_token_is_refused(coordizer: Coordizer, texts: list[str]) -> None:
    with pytest.raises(ConfigError, match="new token"):
        extend(coordizer, texts, DOCUMENTS)


def test_a_new_token_may_not_have_the_name_of_another(coordizer: Coordizer) -> None:
    name = next(token for token in coordizer.vocabulary.tokens[257:] if token.startswith("Ġ"))
    with pytest.raises(ConfigError, match="a token already"):
        extend(coordizer, [name], DOCUMENTS)
