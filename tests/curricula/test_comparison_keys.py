"""Keys of texts: the words of `units`, equal for paragraphs of equal words, whatever the length."""

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.curricula import comparison_keys as keys_file
from constellation.curricula.comparison_keys import comparison_keys, paragraphs, sketch
from constellation.curricula.comparison_units import units

some_text = st.text(alphabet="ab Σςé_中文-+\n\t0", max_size=400)


def check(texts: list[str]) -> None:
    """Check that two paragraphs have the same key exactly when their words are the same."""
    words_of: dict[int, list[str]] = {}
    key_of: dict[tuple[str, ...], int] = {}
    for text in texts:
        found = comparison_keys(text, chars_min=9)
        assert found.sketch.tolist() == sketch(text).tolist()
        spans = list(paragraphs(text))
        for (start, end, _), key in zip(spans, found.paragraphs_P.tolist(), strict=True):
            words = units(text[start:end])
            assert (key & 1) == (end - start >= 9)
            assert words_of.setdefault(key >> 1, words) == words
            assert key_of.setdefault(tuple(words), key >> 1) == key >> 1


@given(st.lists(some_text, max_size=4))
def test_paragraphs_of_equal_words_have_equal_keys(texts: list[str]) -> None:
    check(texts)


def test_a_text_read_in_slabs_has_the_keys_of_the_whole_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = random.Random(0)
    words = ["".join(draw.choices("abcé", k=draw.randrange(1, 90))) for _ in range(300)]
    text = "".join(word + draw.choice([" ", "\n", "\n\n", "\n \n\n"]) for word in words)
    whole = comparison_keys(text, chars_min=50)
    monkeypatch.setattr(keys_file, "_SLAB_CHARS", 100)
    monkeypatch.setattr(keys_file, "_SLAB_WORDS", 20)
    slabs = comparison_keys(text, chars_min=50)
    assert slabs.sketch.tolist() == whole.sketch.tolist()
    assert slabs.paragraphs_P.tolist() == whole.paragraphs_P.tolist()
    check([text, text.upper(), " ".join(words)])


def test_the_order_of_words_and_far_words_make_other_keys() -> None:
    number = keys_file._SLAB_WORDS + 10
    words = [f"w{place % 7}" for place in range(number)]
    swapped = [*words[:-2], words[-1], words[-2]]
    keys = {
        int(comparison_keys(" ".join(each), chars_min=1).paragraphs_P[0])
        for each in (words, swapped, words[:-1], [*words, words[0]])
    }
    assert len(keys) == 4
    assert zlib.crc32(b"w0") == keys_file._code("w0")
