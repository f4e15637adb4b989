"""The gates of a run: what passes, and what each check refuses."""

import importlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.geometry import pairwise_distances
from constellation.records import FloatArray
from training.validation.check import Check
from training.validation.gates import coordizer_gate, kernels_gate, silhouettes


def pieces(module: str, domain: str) -> list[Document]:
    text = Path(str(importlib.import_module(module).__file__)).read_text()[:60_000]
    return [
        Document(text=text[at : at + 1500], domain=domain, source=f"{module}/{at}")
        for at in range(0, len(text), 1500)
    ]


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return [*pieces("email.message", "mail"), *pieces("_pydecimal", "numbers")]


@pytest.fixture(scope="module")
def coordizer(documents: list[Document]) -> Coordizer:
    train = documents[::2]
    return train_coordizer(
        [document.text for document in train],
        [document.domain for document in train],
        vocab_size=400,
        anchored=True,
    )


def first_gate(
    coordizer: Coordizer,
    train: list[Document],
    held_out: list[Document],
    vocab_size: int = 400,
) -> dict[str, Check]:
    checks = coordizer_gate(coordizer, train, held_out, vocab_size=vocab_size)
    return {check.name: check for check in checks}


def test_a_sound_coordizer_passes_the_first_gate(
    coordizer: Coordizer, documents: list[Document]
) -> None:
    found = first_gate(coordizer, documents[::2], documents[1::2])
    assert [check.detail for check in found.values() if not check.passed] == []
    assert found["round trip"].value == 1


def test_another_vocabulary_than_the_recipes_fails(
    coordizer: Coordizer, documents: list[Document]
) -> None:
    found = first_gate(coordizer, documents[::2], documents[1::2], 32_000)
    assert found["vocabulary"].passed is False


def test_a_single_lost_byte_fails_the_round_trip(
    coordizer: Coordizer, documents: list[Document]
) -> None:
    class Lossy(Coordizer):
        def decode(self, ids: object) -> bytes:
            return super().decode(ids).replace(b"charset", b"charse", 1)  # type: ignore[arg-type]

    found = first_gate(Lossy(coordizer.parts), documents[::2], documents[1::2])
    assert found["round trip"].passed is False
    assert found["round trip"].value is not None
    assert 0 < found["round trip"].value < 1


def test_held_out_text_of_another_kind_is_not_stable(
    coordizer: Coordizer, documents: list[Document]
) -> None:
    strange = [
        Document(text="\u4e00\u8349\u6728" * 100, domain="mail", source=str(index))
        for index in range(10)
    ]
    found = first_gate(coordizer, documents[::2], strange)
    assert found["stable compression"].passed is False
    assert found["stable basins"].passed is None
    swapped = {"mail": "numbers", "numbers": "mail"}
    mixed_up = [replace(document, domain=swapped[document.domain]) for document in documents[1::2]]
    assert first_gate(coordizer, documents[::2], mixed_up)["stable basins"].passed is False


def cloud(seed: int, centre: int, num: int = 20) -> FloatArray:
    """Return points of the simplex about one outcome; about none for -1."""
    weights_K = np.ones(8)
    if centre >= 0:
        weights_K[centre] = 20
    return np.random.default_rng(seed).dirichlet(weights_K, size=num)


@pytest.mark.parametrize("seed", range(3))
def test_separate_kernels_cluster_and_equal_ones_do_not(seed: int) -> None:
    apart = kernels_gate({}, {"a": cloud(seed, 0), "b": cloud(seed + 10, 3)}, seed=seed)[-1]
    assert apart.passed
    assert apart.value is not None
    assert apart.value > 0.3
    same = kernels_gate({}, {"a": cloud(seed, -1), "b": cloud(seed + 10, -1)}, seed=seed)[-1]
    assert same.passed is False
    alone = kernels_gate({}, {"a": cloud(seed, 0)}, seed=seed)[-1]
    assert alone.passed is False


def test_every_kernel_must_keep_its_integration() -> None:
    gauges = {"a": 0.75, "b": 0.74, "c": None}
    checks = kernels_gate(gauges, {"a": cloud(0, 0), "b": cloud(1, 3)})
    assert [check.passed for check in checks] == [True, False, False, True]
    assert "not measured" in checks[2].detail


def slow_silhouettes(distances_NN: FloatArray, labels_N: NDArray[np.int64]) -> list[float]:
    values = []
    for i, own in enumerate(labels_N):
        means = {
            label: np.mean(
                [distances_NN[i, j] for j in np.flatnonzero(labels_N == label) if j != i]
            )
            for label in set(labels_N.tolist())
            if np.sum(labels_N == label) > (label == own)
        }
        if own not in means:
            values.append(0.0)
            continue
        a, b = means.pop(own), min(value for label, value in means.items() if label != own)
        values.append((b - a) / max(a, b))
    return values


@pytest.mark.parametrize("seed", range(3))
def test_silhouettes_are_those_of_the_definition(seed: int) -> None:
    points = np.concatenate([cloud(seed, 0, 5), cloud(seed + 1, 2, 4), cloud(seed + 2, 5, 1)])
    labels_N = np.repeat([0, 1, 2], [5, 4, 1])
    distances_NN = pairwise_distances(points, points)
    expected = slow_silhouettes(distances_NN, labels_N)
    np.testing.assert_allclose(silhouettes(distances_NN, labels_N), expected, atol=1e-12)
