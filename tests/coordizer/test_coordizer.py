import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer.bytelevel import END_TEXT
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import refit, train_coordizer
from constellation.errors import ConfigError, InvalidRequest
from constellation.geometry.simplex import distance
from tests.coordizer.corpora import CODE, DOCUMENTS, LABELS, POEM, broken_bytes, mixed_text

ROOT = Path(__file__).resolve().parents[2]


@given(data=broken_bytes)
def test_every_byte_string_comes_back_exactly(coordizer: Coordizer, data: bytes) -> None:
    assert coordizer.decode(coordizer.encode(data)) == data


@given(text=mixed_text)
def test_every_text_comes_back_and_equals_its_bytes(coordizer: Coordizer, text: str) -> None:
    ids = coordizer.encode(text)
    assert coordizer.decode_text(ids) == text
    assert np.array_equal(ids, coordizer.encode(text.encode()))


def test_every_single_byte_and_pair_of_odd_bytes_comes_back(coordizer: Coordizer) -> None:
    odd = [bytes([a, b]) for a in (0, 0x41, 0x80, 0xC3, 0xED, 0xFF) for b in range(256)]
    for data in [bytes([byte]) for byte in range(256)] + odd:
        assert coordizer.decode(coordizer.encode(data)) == data


def test_lone_surrogates_are_encoded_as_their_three_bytes(coordizer: Coordizer) -> None:
    text = "a\ud800b\udc80"
    assert coordizer.decode(coordizer.encode(text)) == text.encode("utf-8", "surrogatepass")


@given(texts=st.lists(mixed_text | broken_bytes, max_size=4))
def test_a_batch_equals_its_texts_one_by_one(
    coordizer: Coordizer, texts: list[str | bytes]
) -> None:
    batch = coordizer.encode_batch(texts)
    assert [ids.tolist() for ids in batch] == [coordizer.encode(text).tolist() for text in texts]


def test_the_end_token_never_comes_from_text(coordizer: Coordizer) -> None:
    for text in (END_TEXT, f"a{END_TEXT}b", f"  {END_TEXT}\n{END_TEXT}"):
        ids = coordizer.encode(text)
        assert coordizer.end_id not in ids
        assert coordizer.decode_text(ids) == text
    assert coordizer.decode([coordizer.end_id]) == b""


def test_empty_text_has_no_tokens_and_lies_at_the_background(coordizer: Coordizer) -> None:
    ids = coordizer.encode("")
    assert ids.shape == (0,)
    assert ids.dtype == np.int32
    assert np.array_equal(coordizer.basin(ids), coordizer.background_K)


def test_the_end_token_and_unseen_tokens_sit_at_the_background(coordizer: Coordizer) -> None:
    seen = np.unique(np.concatenate(coordizer.encode_batch(DOCUMENTS)))
    unseen = np.setdiff1d(np.arange(coordizer.vocab_size), seen)
    assert coordizer.end_id in unseen
    assert unseen.size > 100
    assert np.allclose(coordizer.conditional_VK[unseen], coordizer.background_K, atol=1e-7)


def test_order_within_a_token_matters_to_its_coordinate() -> None:
    documents = ["ab ab ab ab " * 2000, "ba ba ba ba " * 2000]
    trained = train_coordizer(documents, ["first", "second"], vocab_size=262)
    ab, ba = trained.encode(" ab"), trained.encode(" ba")
    assert ab.size == ba.size == 1
    apart = distance(trained.conditional_VK[ab[0]], trained.conditional_VK[ba[0]])
    assert apart > 0.1


def test_texts_of_a_domain_lie_in_its_block(coordizer: Coordizer) -> None:
    blocks = coordizer.coordinates.blocks
    for text, domain in ((POEM, "poem"), (CODE, "code")):
        basin = coordizer.basin(coordizer.encode(text))
        shares = {name: basin[list(block)].sum() for name, block in blocks.items()}
        assert max(shares, key=shares.__getitem__) == domain


def test_influences_are_the_largest_shifts_in_order(coordizer: Coordizer) -> None:
    ids = coordizer.encode(CODE[:120])
    most = coordizer.influences(ids, top=3)
    everything = coordizer.influences(ids, top=ids.size)
    assert most == everything[:3]
    assert [i.shift for i in everything] == sorted((i.shift for i in everything), reverse=True)
    assert sorted(i.position for i in everything) == list(range(ids.size))
    assert "".join(i.text for i in sorted(everything, key=lambda i: i.position)) == CODE[:120]


@pytest.mark.parametrize("token_id", [-1, 10**6])
def test_ids_outside_the_vocabulary_are_refused(coordizer: Coordizer, token_id: int) -> None:
    with pytest.raises(InvalidRequest, match="token id"):
        coordizer.decode([token_id])
    with pytest.raises(InvalidRequest, match="token id"):
        coordizer.basin([token_id])


def test_the_same_arguments_train_the_same_coordizer(coordizer: Coordizer) -> None:
    again = train_coordizer(DOCUMENTS, LABELS, vocab_size=400)
    assert again.hash == coordizer.hash


def test_a_refit_keeps_the_tokens_and_moves_the_coordinates(coordizer: Coordizer) -> None:
    free = refit(coordizer, DOCUMENTS, seed=3)
    assert free.tokenizer_hash == coordizer.tokenizer_hash
    assert free.hash != coordizer.hash
    assert not free.coordinates.blocks
    assert refit(free, DOCUMENTS, LABELS).hash == coordizer.hash


def test_wrong_training_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="vocab_size is 256"):
        train_coordizer(["text"], vocab_size=256)
    with pytest.raises(ConfigError, match="criterion is 'size'"):
        train_coordizer(["text"], vocab_size=300, criterion="size")
    with pytest.raises(ConfigError, match="as many labels"):
        train_coordizer(["text"], ["a", "b"], vocab_size=300)
    with pytest.raises(ConfigError, match="need the documents' labels"):
        train_coordizer(["text"], vocab_size=300, anchored=True)


def test_documents_that_are_no_text_are_refused(coordizer: Coordizer) -> None:
    for train in (
        lambda documents: train_coordizer(documents, vocab_size=300),
        lambda documents: refit(coordizer, documents),
    ):
        with pytest.raises(ConfigError, match="hold no text"):
            train(["", ""])
        with pytest.raises(ConfigError, match="document 1 is not UTF-8"):
            train(["fine", "a\ud800"])


def test_loading_needs_neither_torch_nor_scipy_nor_ray(
    coordizer: Coordizer, tmp_path: Path
) -> None:
    coordizer.save(tmp_path / "coordizer")
    program = (
        "import sys\n"
        "from constellation.coordizer.coordizer import Coordizer\n"
        f"loaded = Coordizer.load({str(tmp_path / 'coordizer')!r})\n"
        "loaded.basin(loaded.encode('the river'))\n"
        "assert not {'torch', 'scipy', 'ray', 'grpc'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, cwd=ROOT)
