import math

import numpy as np
import pytest

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.statistics import inspect
from constellation.errors import ConfigError
from constellation.geometry.simplex import pairwise_distances
from tests.coordizer.corpora import CODE, DOCUMENTS, POEM


def test_distances_are_those_between_the_tokens_that_occur(coordizer: Coordizer) -> None:
    points = coordizer.conditional_VK[np.unique(coordizer.encode(POEM + CODE))]
    expected = pairwise_distances(points.astype(np.float64), points.astype(np.float64))
    found = inspect(coordizer, [POEM + CODE])
    # 20,000 draws: four standard errors of the mean.
    assert found.distance_mean == pytest.approx(expected.mean(), abs=4 * expected.std() / 141)
    assert found.distance_p90 == pytest.approx(np.quantile(expected, 0.9), rel=0.02)
    assert 0 < found.distance_mean <= found.distance_p90 <= math.pi


def test_bytes_and_tokens_are_counted(coordizer: Coordizer) -> None:
    texts = [POEM, b"\xff\xfe", "a\ud800"]
    found = inspect(coordizer, texts)
    tokens = [coordizer.encode(text) for text in texts]
    assert found.num_texts == 3
    assert found.num_tokens == sum(ids.size for ids in tokens)
    assert found.bytes_per_token == (len(POEM.encode()) + 2 + 4) / found.num_tokens
    assert found.used_vocabulary == np.unique(np.concatenate(tokens)).size / coordizer.vocab_size
    assert found.roundtrip_accuracy == 1


def test_load_entropy_is_that_of_the_mean_coordinate(coordizer: Coordizer) -> None:
    load = coordizer.conditional_VK[coordizer.encode(CODE)].mean(axis=0, dtype=np.float64)
    expected = -sum(share * math.log(share) for share in load.tolist())
    assert inspect(coordizer, [CODE]).load_entropy == pytest.approx(expected)
    assert 0 < expected < math.log(64)


def test_training_measures_and_stores_them(coordizer: Coordizer) -> None:
    stored = coordizer.provenance.statistics
    assert stored["roundtrip_accuracy"] == 1
    assert stored["bytes_per_token"] == inspect(coordizer, DOCUMENTS).bytes_per_token


def test_texts_without_a_token_are_refused(coordizer: Coordizer) -> None:
    with pytest.raises(ConfigError, match="without a token"):
        inspect(coordizer, ["", b""])
