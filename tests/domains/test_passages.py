"""Which texts thresholds are fitted on."""

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.domains import calibration_passages, refusal_thresholds
from constellation.domains.calibration_passages import SHORT_TOKENS, draw_passages, first_passages
from constellation.domains.fit import fit
from constellation.domains.refusal_thresholds import num_characters
from constellation.routing.refusal_rule import LENGTHS
from tests.domains.material import NAMES, coordizer, domain, texts


def evidence(name: str, count: int, num_words: int) -> list[np.ndarray]:
    found = texts(name, count, num_words=num_words)
    return [coordizer().encode(text.strip()) for _, text in found]


def test_short_documents_count_whole_and_long_ones_in_passages() -> None:
    documents = [evidence(name, 4, 6) + evidence(name, 4, 120) for name in NAMES]
    found = draw_passages(documents)
    lengths = np.array([len(ids) for ids in found.tokens])
    assert len(found.tokens) == len(found.kernel_N) == len(found.document_N)
    is_short = found.document_N % 8 < 4
    assert (np.unique(found.document_N[is_short], return_counts=True)[1] == 1).all()
    assert (lengths[is_short] < SHORT_TOKENS).all()
    assert set(lengths[~is_short].tolist()) <= set(LENGTHS)
    assert {8, 16, 32, 64, 128} <= set(lengths[~is_short].tolist())
    assert found.tokens[0].tolist() == documents[0][0].tolist()
    assert (found.kernel_N == found.document_N // 8).all()


def test_the_number_of_passages_has_a_limit_for_each_domain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calibration_passages, "PASSAGES_OF_DOMAIN", 10)
    monkeypatch.setattr(calibration_passages, "_DOMAIN_MIN", 1)
    found = draw_passages([evidence(name, 5, 200) for name in NAMES])
    lengths = np.array([len(ids) for ids in found.tokens])
    for kernel in range(len(NAMES)):
        counts = np.unique(lengths[found.kernel_N == kernel], return_counts=True)[1]
        assert counts.max() <= 10


def test_calibration_passages_are_the_first_ones_of_32_tokens() -> None:
    ids = np.arange(1000, dtype=np.uint16)
    found = first_passages([ids, ids[:40], ids[:5], ids[:0]])
    assert [(int(each[0]), len(each)) for each in found] == [
        *((start, 32) for start in range(0, 256, 32)),
        (0, 32),
        (0, 5),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "value"), [("DOCUMENTS_WANTED", 1), ("CROSS_CHARACTERS_MAX", 100)]
)
def test_enough_development_documents_are_used_alone(
    limit: str, value: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = [domain(name) for name in NAMES[:2]]
    place = LENGTHS.index(16)
    crossed = fit(domains, coordizer()).table.refusal
    monkeypatch.setattr(refusal_thresholds, limit, value)
    alone = fit(domains, coordizer()).table.refusal
    assert crossed is not None
    assert alone is not None
    assert crossed.num_documents[place] == 2 * (12 + 4)
    assert alone.num_documents[place] == 2 * 4


def test_characters_are_counted_as_python_counts_them() -> None:
    tokens: Coordizer = coordizer()
    found = num_characters([domain(name) for name in NAMES], tokens)
    assert found == sum(len(text) for name in NAMES for _, text in texts(name, 12))
