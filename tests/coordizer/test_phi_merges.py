import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_merges import train_count_merges
from constellation.coordizer.phi_merges import count_pieces, gain, train_phi_merges
from constellation.coordizer.training import train_coordizer
from constellation.errors import ConfigError
from tests.coordizer.corpora import CODE, DOCUMENTS, LABELS, POEM
from tests.coordizer.naive_phi import encode, merges_of, naive_merges

REVERSED = ["ab ba abba baab bbaa aabb abab baba " * 4, "xyx yxy xxyy yyxx xy yx " * 3]
RUNS = ["aaaa aaa aaaaaaa aa bbbbbb bbb !!!! !!!!!! ---- --- \n\n\n\n    x        y " * 3]


@pytest.mark.slow
@pytest.mark.parametrize("coupling_min", [0.0, 0.004])
@pytest.mark.parametrize(
    "texts",
    [[CODE * 2], [POEM * 2], [POEM, CODE, "日本語日本 日本語 éàéà"], REVERSED, RUNS, ["", "a"]],
    ids=["ascii", "unicode", "mixed", "reversed", "runs", "nothing"],
)
def test_merges_are_those_of_the_naive_oracle(texts: list[str], coupling_min: float) -> None:
    tokenizer = train_phi_merges(texts, 330, coupling_min=coupling_min)
    assert merges_of(tokenizer) == naive_merges(texts, 330, coupling_min)


# Few letters make the same token string reachable by several merges.
@given(
    words=st.lists(st.text(st.sampled_from("abc"), min_size=1, max_size=9), max_size=40),
    num_merges=st.integers(0, 25),
)
@settings(max_examples=150)
def test_merges_of_random_words_are_those_of_the_naive_oracle(
    words: list[str], num_merges: int
) -> None:
    texts = [" ".join(words)]
    tokenizer = train_phi_merges(texts, 257 + num_merges, coupling_min=0.0)
    assert merges_of(tokenizer) == naive_merges(texts, 257 + num_merges, 0.0)


@pytest.fixture(scope="module")
def few_letters() -> Tokenizer:
    return train_phi_merges([*REVERSED, *RUNS, "abc cab bca abcabc " * 3], 300)


@given(word=st.text(st.sampled_from("abc"), max_size=12))
def test_words_are_merged_as_the_library_encodes(few_letters: Tokenizer, word: str) -> None:
    tokenizer = few_letters
    merges = merges_of(tokenizer)
    expected = tokenizer.encode(word).tokens
    assert encode(word, merges) == expected


def test_pieces_of_ascii_and_other_text_are_cut_alike() -> None:
    ascii_only, mixed = count_pieces([CODE]), count_pieces([CODE, "é"])
    assert mixed - ascii_only == count_pieces(["é"])
    assert sum(len(piece) * count for piece, count in mixed.items()) == len(CODE) + 2


def test_gain_is_the_information_of_a_pair_in_nats() -> None:
    assert gain(10, 10, 10, 100) == pytest.approx(10 * math.log(10))
    assert gain(1, 10, 10, 100) == 0
    assert gain(5, 100, 100, 1000) < 0


def test_a_bound_pair_goes_before_a_more_frequent_chance_pair() -> None:
    # q and u always come together; a and b follow each other as chance has it.
    chance = " ".join(a + b for a in "abcdef" for b in "abcdef")
    texts = [chance * 10 + " qu" * 30]
    gains_first = ["".join(pair) for pair in merges_of(train_phi_merges(texts, 262))]
    assert gains_first.index("qu") < 2
    assert not {a + b for a in "abcdef" for b in "abcdef"} & set(gains_first)


def test_a_pair_below_the_coupling_floor_is_not_merged() -> None:
    texts = ["zq " * 3 + "the river " * 200]
    assert ("z", "q") in merges_of(train_phi_merges(texts, 300, coupling_min=0.0))
    assert ("z", "q") not in merges_of(train_phi_merges(texts, 300, coupling_min=0.01))


def test_a_phi_coordizer_comes_back_exactly_and_says_so() -> None:
    trained = train_coordizer(DOCUMENTS, LABELS, vocab_size=320, criterion="phi")
    assert trained.vocabulary.criterion == "phi"
    assert isinstance(trained, Coordizer)
    for data in (POEM.encode(), CODE.encode(), b"\xff\xfe", bytes(range(256))):
        assert trained.decode(trained.encode(data)) == data
    assert train_coordizer(DOCUMENTS, LABELS, vocab_size=320, criterion="phi").hash == trained.hash


@pytest.mark.parametrize("train", [train_count_merges, train_phi_merges])
def test_too_small_a_vocabulary_is_refused(train) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ConfigError, match="need 257"):
        train(["text"], 256)
    assert train(["text text text"], 257).get_vocab_size() == 257
