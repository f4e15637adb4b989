"""What a kernel's site is made of: the mean of its documents, source by source."""

import numpy as np
import pytest

from constellation.domains import site_texts
from constellation.domains.site_texts import ALL_SOURCES, texts_of
from constellation.records import FloatArray
from constellation.routing.site_fit import KernelTexts
from tests.domains.material import coordizer, domain


def documents(name: str) -> FloatArray:
    """Return the basins of a domain's documents."""
    return coordizer().basin_estimator.basins(domain(name).train.evidence())


def made(name: str) -> KernelTexts:
    return texts_of(name, documents(name), domain(name).train.rows_by_source())


def test_there_is_a_part_for_every_source_and_together_they_are_the_basin() -> None:
    texts = made("bake")
    assert {name: len(basins_NK) for name, basins_NK in texts.corpora.items()} == {
        f"0-{number}.txt": 2 for number in range(6)
    }
    expected_K = np.sqrt(documents("bake")).mean(axis=0) ** 2
    np.testing.assert_allclose(texts.basin(), expected_K / expected_K.sum(), atol=1e-12)


def test_documents_of_too_many_sources_are_one_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_texts, "SOURCES_MAX", 2)
    texts = made("sail")
    assert {name: len(basins_NK) for name, basins_NK in texts.corpora.items()} == {ALL_SOURCES: 12}
