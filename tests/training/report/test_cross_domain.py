"""Every kernel on every domain: the same figures as the pipeline's, homes, and what is left out."""

import math
from pathlib import Path

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.curricula.corpus import Document
from constellation.curricula.corpus_store import load_prepared
from constellation.kernel.files.checkpoint import load_kernel
from constellation.kernel.network.decoder import Decoder
from training.evaluation.cross_domain import score_across
from training.evaluation.held_out_figures import PREFIX_TOKENS, difference_interval, scored_nats


def kernels(finished: Path) -> dict[str, Decoder]:
    return {name: load_kernel(finished / "kernels" / name).decoder for name in ("bake", "sea")}


def documents(finished: Path) -> tuple[Document, ...]:
    return load_prepared(finished / "corpus").test


@pytest.mark.slow
def test_a_cell_is_the_bits_of_that_model_on_that_domains_documents(finished: Path) -> None:
    coordizer = Coordizer.load(finished / "coordizer")
    found = score_across(
        documents(finished),
        coordizer=coordizer,
        kernels=kernels(finished),
        seed=load_kernel(finished / "seed").decoder,
        documents_per_domain=100,
    )
    decoder = kernels(finished)["sea"]
    nats, num_bytes = 0.0, 0
    for document in documents(finished):
        ids = coordizer.encode(document.text)[: decoder.config.context]
        if document.domain == "bake" and len(ids) >= 2 * PREFIX_TOKENS:
            nats += scored_nats(decoder, ids, coordizer)
            num_bytes += len(coordizer.decode(ids[PREFIX_TOKENS:]))
    bits = found["bits_per_byte"]
    assert isinstance(bits, dict)
    assert list(bits) == ["bake", "sea", "seed"]
    assert bits["sea"]["bake"] == pytest.approx(nats / math.log(2) / num_bytes)
    gains = found["kernels"]
    assert isinstance(gains, dict)
    assert gains["sea"]["own"]["after"] == pytest.approx(bits["sea"]["sea"])
    assert gains["sea"]["other"]["before"] == pytest.approx(bits["seed"]["bake"])
    # What specialisation is: at home it helps, elsewhere it does not.
    assert bits["sea"]["sea"] < bits["seed"]["sea"]
    assert bits["bake"]["sea"] > bits["sea"]["sea"]


def test_few_documents_are_taken_and_get_no_interval(finished: Path) -> None:
    found = score_across(
        documents(finished),
        coordizer=Coordizer.load(finished / "coordizer"),
        kernels=kernels(finished),
        seed=load_kernel(finished / "seed").decoder,
        documents_per_domain=2,
    )
    assert found["num_documents"] == {"bake": 2, "sea": 2}
    gains = found["kernels"]
    assert isinstance(gains, dict)
    assert gains["sea"]["own"]["gain_ci95"] is None


def test_kernels_without_a_seed_or_a_home_have_no_gain(finished: Path) -> None:
    coordizer = Coordizer.load(finished / "coordizer")
    renamed = {"one": kernels(finished)["sea"]}
    alone = score_across(documents(finished), coordizer=coordizer, kernels=renamed, seed=None)
    assert alone["kernels"] == {}
    assert list(alone["bits_per_byte"]) == ["one"]  # type: ignore[call-overload]


def test_an_interval_holds_the_difference_and_shrinks_around_a_constant_one() -> None:
    nats_N = np.array([1.0, 2.0, 3.0, 4.0] * 4)
    bytes_N = np.full(16, 10.0)
    low, high = difference_interval(nats_N, bytes_N)
    assert low < nats_N.sum() / bytes_N.sum() / math.log(2) < high
    same = difference_interval(np.full(16, math.log(2) * 5), bytes_N)
    assert same == pytest.approx([0.5, 0.5])
