"""Near copies: found in every script, not confused with code of other operators, in linear work."""

import random

import pytest

from constellation.curricula.comparison_keys import sketch
from constellation.curricula.comparison_units import PIECE_CHARS, RUN_CHARS_MAX, units
from constellation.curricula.corpus import Document
from constellation.curricula.deduplication import deduplicate
from constellation.curricula.near_copies import NearIndex, drop_near_copies, jaccard

SCRIPTS = {
    "Chinese": range(0x4E00, 0x5600),
    "kana": range(0x3041, 0x3097),
    "Thai": range(0x0E01, 0x0E2F),
    "Khmer": range(0x1780, 0x17B4),
    "Korean": range(0xAC00, 0xB000),
    "emoji": range(0x1F300, 0x1F500),
}


def texts_of(*texts: str) -> list[Document]:
    return [Document(text=text, domain="d", source=f"{i}") for i, text in enumerate(texts)]


def num_kept(*texts: str) -> int:
    return len(deduplicate(texts_of(*texts)).documents)


def with_one_changed(parts: list[str], fresh: str, count: int, joint: str) -> list[str]:
    """Return `count` texts that differ in one part each."""
    return [
        joint.join([*parts[: 20 * i + 10], fresh + str(i), *parts[20 * i + 11 :]])
        for i in range(count)
    ]


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_without_blanks_that_differ_in_one_character_are_copies(script: str) -> None:
    source = random.Random(script)
    letters = source.choices([chr(code) for code in SCRIPTS[script]], k=500)
    assert num_kept(*with_one_changed(letters, "x", 20, "")) == 1
    other = source.choices([chr(code) for code in SCRIPTS[script]], k=500)
    assert num_kept("".join(letters), "".join(other)) == 2


@pytest.mark.parametrize("letters", ["abcdefghij", "कखगघचछजझटठ", "абвгдежзик"])
def test_texts_with_blanks_that_differ_in_one_word_are_copies(letters: str) -> None:
    source = random.Random(letters)
    words = ["".join(source.choices(letters, k=5)) for _ in range(500)]
    assert num_kept(*with_one_changed(words, "word", 20, " ")) == 1


def test_a_vowel_sign_is_part_of_its_word_so_words_that_differ_in_it_alone_differ() -> None:
    assert units("हिन्दी में") == ["हिन्दी", "में"]
    assert units("की का") != units("का की")


def test_a_run_without_blanks_that_is_no_word_is_compared_by_its_pieces() -> None:
    source = random.Random(0)
    bases = source.choices("ACGT", k=4000)
    changed = [*bases]
    changed[2000] = "N"
    assert num_kept("".join(bases), "".join(changed)) == 1
    assert units("a" * RUN_CHARS_MAX) == ["a" * RUN_CHARS_MAX]
    assert {len(unit) for unit in units("a" * 80 * PIECE_CHARS)} == {PIECE_CHARS}


def test_code_that_differs_in_operators_is_kept_and_markup_makes_no_difference() -> None:
    lines = [f"value_{i} = left_{i} + right_{i}" for i in range(60)]
    code = "\n".join(lines)
    assert num_kept(code, code.replace("+", "-")) == 2
    assert num_kept(code, code.replace("+", "-", 1)) == 2
    words = [f"word{i}" for i in range(300)]
    prose = " ".join(words)
    assert num_kept(prose, prose.replace("word7 ", "**word7** "), "# " + prose) == 1
    assert num_kept(" - ".join(words), " — ".join(words)) == 1


def test_a_repeated_paragraph_of_other_operators_or_other_signs_is_kept() -> None:
    code = "\n".join(f"total_{i} = first_{i} < second_{i}" for i in range(12))
    documents = texts_of(
        f"one\n\n{code}\n", f"two\n\n{code}\n", f"three\n\n{code.replace('<', '>')}\n"
    )
    result = deduplicate(documents, similarity_max=1)
    assert result.num_paragraphs == 1
    assert [code in d.text for d in result.documents] == [True, False, False]
    assert code.replace("<", ">") in result.documents[2].text
    faces, hearts = "😀😃" * 120, "🧡💛" * 120
    assert num_kept(f"one\n\n{faces}\n", f"two\n\n{hearts}\n", f"three\n\n{'-' * 300}\n") == 3


def boilerplate(count: int, *, seed: int = 0) -> list[Document]:
    """Return documents of 35 words that begin with the same 13."""
    source = random.Random(seed)
    opening = " ".join(f"notice{i}" for i in range(13))
    rests = (" ".join(f"w{source.randrange(10**6)}" for _ in range(22)) for _ in range(count))
    return texts_of(*(f"{opening} {rest}" for rest in rests))


def comparisons(documents: list[Document]) -> int:
    sketches = [sketch(document.text) for document in documents]
    index = NearIndex(sketches, 0.8)
    for number in range(len(sketches)):
        if not any(True for _ in index.copies_of(number)):
            index.add(number)
    return index.num_comparisons


@pytest.mark.slow
def test_a_common_opening_makes_no_work_that_grows_with_the_square_of_the_documents() -> None:
    assert comparisons(boilerplate(2000)) <= 2000
    # Most of each text is common, but not enough of it for a copy: the lists are bounded then.
    shared = " ".join(f"notice{i}" for i in range(60))
    close = texts_of(*(f"{shared} " + " ".join(f"{i}x{j}" for j in range(12)) for i in range(1500)))
    few, many = comparisons(close[:750]), comparisons(close)
    assert 1500 < many <= 2.3 * few


def test_a_common_opening_does_not_hide_a_near_copy() -> None:
    documents = boilerplate(3000)
    copy = documents[1234].text.rsplit(" ", 1)[0] + " changed"
    kept, num_dropped = drop_near_copies([*documents, *texts_of(copy)], 0.8)
    assert (len(kept), num_dropped) == (3000, 1)


@pytest.mark.slow
def test_every_pair_that_is_alike_enough_is_found() -> None:
    """The search by rare values finds what the comparison of all pairs finds."""
    source = random.Random(1)
    words = [f"w{i}" for i in range(400)]
    texts = []
    for _ in range(120):
        start = source.randrange(300)
        chosen = words[start : start + 80]
        for place in source.sample(range(80), source.randrange(4)):
            chosen[place] = f"new{source.randrange(50)}"
        texts.append(" ".join(chosen))
    kept: list[str] = []
    for text in texts:
        if not any(jaccard(sketch(text), sketch(other)) >= 0.8 for other in kept):
            kept.append(text)
    found, _ = drop_near_copies(texts_of(*texts), 0.8)
    assert [document.text for document in found] == kept
    assert 0 < len(kept) < 110
