import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from tokenizers import Tokenizer, models, pre_tokenizers

from constellation.coordizer import encoding
from constellation.coordizer.bytelevel import byte_characters, bytes_to_token, token_to_bytes
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_merges import train_count_merges
from constellation.coordizer.encoding import Encoder
from constellation.coordizer.phi_merges import train_phi_merges
from constellation.coordizer.vocabulary import from_tokenizer
from tests.coordizer.corpora import CODE, DOCUMENTS, POEM, ascii_text, mixed_text


def test_the_byte_alphabet_is_the_librarys() -> None:
    assert sorted(byte_characters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    every_byte = bytes(range(256))
    assert token_to_bytes(bytes_to_token(every_byte)) == every_byte


@given(text=ascii_text | mixed_text)
def test_tokens_are_the_librarys(coordizer: Coordizer, text: str) -> None:
    plain = coordizer.tokenizer()
    fresh = Encoder(coordizer.vocabulary)
    expected = plain.encode(text).ids
    assert fresh.encode(text).tolist() == expected
    assert fresh.encode(text).tolist() == expected  # the second time from memory


@pytest.mark.parametrize("train", [train_count_merges, train_phi_merges])
def test_every_token_standing_alone_encodes_to_itself(train: Callable[..., Tokenizer]) -> None:
    tokenizer = train([*DOCUMENTS, "aaab abab bbaa abba baab " * 9], 420)
    plain = Tokenizer(models.BPE(*model_of(tokenizer)))
    for token, token_id in tokenizer.get_vocab().items():
        if token_id:
            assert plain.encode(token).ids == [token_id]


def model_of(tokenizer: Tokenizer) -> tuple[dict[str, int], list[tuple[str, str]]]:
    vocabulary = from_tokenizer(tokenizer, criterion="count")
    return {token: i for i, token in enumerate(vocabulary.tokens)}, list(vocabulary.merges)


def test_tokens_are_the_librarys_on_real_text(coordizer: Coordizer) -> None:
    plain = coordizer.tokenizer()
    for document in [*DOCUMENTS, CODE.replace("    ", "\t"), CODE.replace("\n", "\r\n")]:
        assert coordizer.encode(document).tolist() == plain.encode(document).ids


def test_long_texts_and_forgetting_change_nothing(
    coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_SLAB_PIECES", 7)
    monkeypatch.setattr(encoding, "_CACHE_BYTES_MAX", 100)
    small = Encoder(coordizer.vocabulary)
    for text in (CODE, CODE[::-1], CODE * 3, POEM):
        assert small.encode(text).tolist() == coordizer.encode(text).tolist()


def test_what_is_remembered_is_bounded(
    coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_CACHE_BYTES_MAX", 1000)
    small = Encoder(coordizer.vocabulary)
    for number in range(500):
        small.encode(f"word{number} {'abcdefghij'[number % 10]}{number * 7919}")
    learnt = small._cache.keys() - small._common.keys()
    assert 0 < sum(len(piece) for piece in learnt) < 1500


def test_threads_share_an_encoder(coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "_CACHE_BYTES_MAX", 200)
    shared = Encoder(coordizer.vocabulary)
    texts = [f"def f{number}(x):\n    return x + {number}\n" for number in range(200)]
    expected = [coordizer.encode(text).tolist() for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert [ids.tolist() for ids in pool.map(shared.encode, texts)] == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "unit", ["!", "\n", " ", "a", "0", "!\n", "\n ", " !", "<|end|>", "é", "\xff"]
)
def test_a_long_run_takes_linear_time(coordizer: Coordizer, unit: str) -> None:
    def seconds(copies: int) -> float:
        times_s = []
        for encoder in [Encoder(coordizer.vocabulary) for _ in range(3)]:
            start_s = time.process_time()  # other processes do not count
            encoder.encode("!" + unit * copies)
            times_s.append(time.process_time() - start_s)
        return min(times_s)

    # 16 times the text; quadratic time would take 256 times as long.
    assert seconds(32_000) < 64 * max(seconds(2_000), 1e-3)


def test_many_texts_are_encoded_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library gets them in slabs."""
    monkeypatch.setattr(encoding, "_SLAB_TEXTS", 4)
    encoder = Encoder(from_tokenizer(train_count_merges(["été " * 50], 300), criterion="count"))
    texts = [text for i in range(11) for text in (f"été {i}", f"plain {i}", b"\xff" + b"a" * i)]
    for text, tokens in zip(texts, encoder.encode_batch(texts), strict=True):
        assert tokens.tolist() == encoder.encode(text).tolist()
        assert tokens.dtype == np.int32
