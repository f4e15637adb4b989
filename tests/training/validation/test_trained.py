"""Checks of what a kernel learned, each on a kernel that has and one that has not."""

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from constellation.coordizer.training import train_coordizer
from constellation.errors import CorpusError
from constellation.kernel.files.checkpoint import save_kernel
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.scoring import token_nats
from tests.training.validation.conftest import CONFIG, END, taught
from training.validation.check import Check
from training.validation.held_out_passages import HeldOut, score
from training.validation.trained import check_trained, read_kernel, repeated_share

NAMES = ("finite weights", "better than unigrams", "calibration", "writing")


def checked(decoder: Decoder, held_out: HeldOut | None) -> dict[str, Check]:
    return {check.name: check for check in check_trained(decoder, held_out)}


@pytest.mark.slow
def test_a_kernel_that_learned_passes(counting: Decoder, held_out: HeldOut) -> None:
    found = checked(counting, held_out)
    assert tuple(found) == NAMES
    assert [check.detail for check in found.values() if not check.passed] == []


def test_an_untrained_kernel_is_no_better_than_unigrams(held_out: HeldOut) -> None:
    check = checked(Decoder(CONFIG, seed=0), held_out)["better than unigrams"]
    assert check.passed is False
    assert check.value is not None
    assert check.value < 0.1


def test_a_weight_that_is_no_number_is_found_and_named(
    counting: Decoder, held_out: HeldOut
) -> None:
    broken = copy.deepcopy(counting)
    with torch.no_grad():
        broken.blocks[0].down.weight[0, 0] = float("nan")
    found = checked(broken, held_out)
    assert found["finite weights"].passed is False
    assert "blocks.0.down.weight" in found["finite weights"].detail
    assert {found[name].passed for name in NAMES[1:]} == {None}


def test_a_kernel_that_is_far_too_sure_is_not_calibrated(
    counting: Decoder, held_out: HeldOut
) -> None:
    sure = copy.deepcopy(counting)
    assert sure.norm is not None
    with torch.no_grad():
        sure.norm.weight.mul_(4)
    check = checked(sure, held_out)["calibration"]
    assert check.passed is False
    assert "too sure" in check.detail


@pytest.mark.slow
def test_a_kernel_that_repeats_itself_is_degenerate(held_out: HeldOut) -> None:
    stream_N = np.full(2000, 7, dtype=np.int32)
    stream_N[::97] = END
    passages = tuple(stream_N[:128].reshape(2, -1))
    own = replace(held_out, passages=passages, num_bytes=np.full(2, 192.0))
    check = checked(taught(stream_N, steps=60), own)["writing"]
    assert check.passed is False
    assert check.value is not None
    assert check.value > 0.9


def test_without_text_only_the_weights_are_checked(counting: Decoder) -> None:
    found = checked(counting, None)
    assert found["finite weights"].passed
    assert {found[name].passed for name in NAMES[1:]} == {None}
    assert "--text" in found["writing"].detail


def test_scores_are_those_of_the_scoring_module(counting: Decoder, held_out: HeldOut) -> None:
    scores = score(counting, held_out)
    for index, ids in enumerate(held_out.passages):
        nats = token_nats(counting, [held_out.end_id, *ids.tolist()])
        assert scores.kernel_N[index] == pytest.approx(float(nats.double().sum()), rel=1e-5)
    assert (scores.entropy_N > 0).all()
    assert (scores.entropy_N < len(held_out.passages[0]) * np.log(CONFIG.vocab_size)).all()


def test_repeated_runs_are_counted() -> None:
    assert repeated_share([1, 2, 3, 4, 5]) == 0
    assert repeated_share([1] * 8) == pytest.approx(4 / 5)
    assert repeated_share([1, 2, 3]) == 1


def test_damaged_files_are_told(counting: Decoder, tmp_path: Path) -> None:
    save_kernel(tmp_path / "k", counting, tokenizer_hash="0" * 64, facts={})
    kernel, check = read_kernel(tmp_path / "k")
    assert kernel is not None
    assert check.passed
    weights = tmp_path / "k" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    kernel, check = read_kernel(tmp_path / "k")
    assert kernel is None
    assert check.passed is False
    assert "sha256" in check.detail


def test_passages_are_cut_and_the_unigrams_text_is_not_scored() -> None:
    texts = [f"text number {index} about this and that and more. " * 8 for index in range(12)]
    coordizer = train_coordizer(texts, ["a", "b"] * 6, vocab_size=280, anchored=True)
    tokens = coordizer.encode_batch(texts)
    alone = HeldOut.of(tokens, coordizer, context=32)
    taught_text = HeldOut.of(tokens, coordizer, context=32, known_N=np.concatenate(tokens))
    assert len(taught_text.passages) == 24
    assert 2 <= len(alone.passages) <= 24
    assert max(map(len, taught_text.passages)) == 32
    assert taught_text.num_bytes[0] == len(coordizer.decode(taught_text.passages[0]))
    assert np.exp(-alone.unigram_V).sum() == pytest.approx(1)
    with pytest.raises(CorpusError, match="give more text"):
        HeldOut.of(tokens[:1], coordizer, context=512)
