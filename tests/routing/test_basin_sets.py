"""Several basins are found in a kernel's own texts, and the same ones in any order of them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.geometry.bearings import bearing, has_bearing
from constellation.geometry.means import hellinger_mean
from constellation.geometry.simplex import distance
from constellation.routing import basin_sets
from constellation.routing.basin_sets import TEXTS_PER_BASIN, TOWARDS_MEAN, find_basins
from constellation.routing.site_fit import BASINS_MAX, KernelTexts, fit_sites
from tests.routing.tables import BACKGROUND, OUTCOMES, basins

seeds = st.integers(0, 10_000)


def topics(seed: int, num_topics: int, *, each: int = 80) -> np.ndarray:
    """Return texts of so many topics, each of which speaks of an outcome of its own."""
    rng = np.random.default_rng(seed)
    sharp = np.eye(OUTCOMES)[:num_topics] * 40 + 1
    texts = np.concatenate([rng.dirichlet(row, each) for row in sharp])
    found: np.ndarray = texts / texts.sum(axis=1, keepdims=True)
    return found


def between(texts: np.ndarray, num_topics: int) -> list[np.ndarray]:
    """Return for each topic a point between its mean and that of all, in square roots."""
    roots = [np.sqrt(hellinger_mean(part)) for part in np.split(texts, num_topics)]
    whole_K = np.sqrt(hellinger_mean(texts))
    mixed = [(1 - TOWARDS_MEAN) * root_K + TOWARDS_MEAN * whole_K for root_K in roots]
    return [root_K**2 / (root_K**2).sum() for root_K in mixed]


@given(seeds, st.integers(2, 6))
@settings(max_examples=15)
def test_a_basin_is_found_for_every_topic(seed: int, num_topics: int) -> None:
    texts = topics(seed, num_topics)
    found = find_basins(texts, background_K=BACKGROUND, basins_max=num_topics)
    nearest = [distance(topic_K, found) for topic_K in between(texts, num_topics)]
    assert len(found) == num_topics
    assert sorted(int(row.argmin()) for row in nearest) == list(range(num_topics))
    assert max(row.min() for row in nearest) < 0.1


def test_texts_of_one_topic_have_one_basin() -> None:
    # As many outcomes as coordinates have: a cloud in few dimensions is worth cutting up.
    texts = np.random.default_rng(0).dirichlet(4 + 60 * np.eye(64)[0], 400)
    found = find_basins(texts, background_K=np.full(64, 1 / 64), basins_max=8)
    np.testing.assert_allclose(found, hellinger_mean(texts)[None], atol=1e-12)


def test_few_texts_have_few_basins() -> None:
    texts = topics(1, 6, each=2 * TEXTS_PER_BASIN // 6)
    assert len(find_basins(topics(1, 6), background_K=BACKGROUND, basins_max=8)) > 1
    assert len(find_basins(texts, background_K=BACKGROUND, basins_max=8)) <= 2
    assert len(find_basins(texts[:TEXTS_PER_BASIN], background_K=BACKGROUND, basins_max=8)) == 1


@pytest.mark.slow
@given(seeds, st.integers(1, 8), st.data())
@settings(max_examples=15)
def test_the_order_of_texts_changes_no_bit(seed: int, basins_max: int, data: st.DataObject) -> None:
    texts = topics(seed, 4)
    order = np.random.default_rng(data.draw(seeds)).permutation(len(texts))
    one, other = (
        find_basins(each, background_K=BACKGROUND, basins_max=basins_max)
        for each in (texts, texts[order])
    )
    assert one.tobytes() == other.tobytes()
    assert len(one) <= basins_max
    assert has_bearing(bearing(one, BACKGROUND)).all()


def test_more_texts_than_are_read_have_the_basins_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = topics(2, 3, each=200)
    monkeypatch.setattr(basin_sets, "TEXTS_MAX", 150)
    found = find_basins(texts, background_K=BACKGROUND, basins_max=8)
    expected = between(texts, 3)
    assert max(float(distance(topic_K, found).min()) for topic_K in expected) < 0.02


def test_texts_without_a_bearing_or_all_alike_have_one_basin() -> None:
    alike = np.tile(basins(0, 1), (100, 1))
    np.testing.assert_allclose(
        find_basins(alike, background_K=BACKGROUND, basins_max=8), alike[:1], atol=1e-12
    )
    flat = np.tile(BACKGROUND, (100, 1))
    assert len(find_basins(flat, background_K=BACKGROUND, basins_max=8)) == 1


@pytest.mark.slow
@given(st.permutations(["books", "letters", "notes"]))
@settings(max_examples=6)
def test_the_order_of_sources_changes_no_bit_of_a_site(order: list[str]) -> None:
    def site_of(names: list[str]) -> tuple[bytes, bytes, bytes]:
        texts = KernelTexts(name="k", corpora={name: topics(len(name), 3) for name in names})
        (site,) = fit_sites([texts], background_K=BACKGROUND, seats=False, basins_max=6).sites
        assert len(site.basins_BK) > 1
        return site.basin_K.tobytes(), site.basins_BK.tobytes(), site.bearings_BK.tobytes()

    assert site_of(order) == site_of(["books", "letters", "notes"])


def test_one_basin_at_most_is_the_mean_of_all_texts_to_the_bit() -> None:
    texts = KernelTexts(name="k", corpora={"a": topics(0, 3), "b": topics(1, 3)})
    (site,) = fit_sites([texts], background_K=BACKGROUND, seats=False).sites
    assert site.basins_BK.tobytes() == texts.basin().tobytes() == site.basin_K.tobytes()


@pytest.mark.parametrize("basins_max", [0, -1, BASINS_MAX + 1])
def test_a_number_of_basins_out_of_range_is_refused(basins_max: int) -> None:
    texts = KernelTexts(name="k", corpora={"a": basins(0, 5)})
    with pytest.raises(ConfigError, match=f"1 to {BASINS_MAX} basins, got {basins_max}"):
        fit_sites([texts], background_K=BACKGROUND, basins_max=basins_max)
