"""What training keeps of a kernel's text: a record a source, each of which can be forgotten."""

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.training import train_coordizer
from constellation.curricula.corpus import Document
from constellation.domains import basins
from constellation.domains.basins import ALL_SOURCES
from constellation.routing.sites import fit_sites
from constellation.wire.texts_file import load_texts, save_texts
from training.table import domain_basins, kernel_texts

WORDS = {
    "bake": "knead the dough and let it rise near the warm oven until evening",
    "sail": "trim the jib and hold the tiller against the westerly wind at sea",
}


def documents() -> list[Document]:
    """Return twelve pieces of text of two domains, from three sources each."""
    made = []
    for domain, text in WORDS.items():
        words = text.split()
        for number in range(6):
            turned = " ".join(words[number:] + words[:number]) + f" {domain} {number}"
            made.append(
                Document(text=turned, domain=domain, source=f"{number % 3}.txt", part=number // 3)
            )
    return made


@pytest.fixture(scope="module")
def coordizer() -> Coordizer:
    made = documents()
    texts, labels = [each.text for each in made], [each.domain for each in made]
    return train_coordizer(texts, labels, vocab_size=300, anchored=True)


def test_there_is_a_record_for_every_source_and_together_they_are_the_basin(
    coordizer: Coordizer,
) -> None:
    texts = kernel_texts(documents(), "bake", coordizer)
    assert {name: len(basins_NK) for name, basins_NK in texts.corpora.items()} == {
        "0.txt": 2,
        "1.txt": 2,
        "2.txt": 2,
    }
    roots_NK = np.sqrt(domain_basins(documents(), "bake", coordizer))
    expected_K = roots_NK.mean(axis=0) ** 2
    np.testing.assert_allclose(texts.basin(), expected_K / expected_K.sum(), atol=1e-12)


@pytest.mark.parametrize("source", ["0.txt", "1.txt", "2.txt"])
def test_forgetting_a_source_is_to_the_bit_training_without_it(
    coordizer: Coordizer, source: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    texts = kernel_texts(documents(), "bake", coordizer)
    save_texts(folder, "bake", texts.sums(), coordizer_hash=coordizer.hash)
    kept = load_texts(folder, "bake", coordizer_hash=coordizer.hash)
    assert list(kept) == list(texts.corpora)
    without = [each for each in documents() if (each.domain, each.source) != ("bake", source)]
    never = kernel_texts(without, "bake", coordizer)
    forgot = texts.unlearn(source)
    pi_K = coordizer.background_K
    one, other = (fit_sites([each], background_K=pi_K).sites[0] for each in (forgot, never))
    assert one.basin_K.tobytes() == other.basin_K.tobytes()
    assert one.bearing_K.tobytes() == other.bearing_K.tobytes()
    assert one.basin_K.tobytes() != texts.basin().tobytes()


def test_too_many_sources_are_kept_as_one(
    coordizer: Coordizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(basins, "SOURCES_MAX", 2)
    texts = kernel_texts(documents(), "sail", coordizer)
    assert {name: len(basins_NK) for name, basins_NK in texts.corpora.items()} == {ALL_SOURCES: 6}
