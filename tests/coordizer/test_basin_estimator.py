"""Fold-in: an independent formula as oracle, the edges by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.coordizer import basin_estimator, distinct_tokens
from constellation.coordizer.basin_estimator import BasinEstimator
from constellation.errors import ConfigError, InvalidRequest
from constellation.geometry.simplex import distance

VOCAB, OUTCOMES = 40, 8


def parts(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    conditional_VK = rng.dirichlet(np.full(OUTCOMES, 0.5), VOCAB) + 1e-3
    conditional_VK /= conditional_VK.sum(axis=1, keepdims=True)
    background_K = rng.dirichlet(np.full(OUTCOMES, 5.0))
    conditional_VK[0] = background_K
    return conditional_VK, background_K


def estimator(seed: int = 0, **settings: float) -> BasinEstimator:
    return BasinEstimator(*parts(seed), **settings)  # type: ignore[arg-type]


def basin_by_definition(ids: list[int], iterations: int, a0: float, exponent: float) -> np.ndarray:
    """The formula, occurrence by occurrence in float64: each of n counts n^(exponent - 1)."""
    conditional_VK, background_K = parts()
    theta_K = background_K
    weights = [ids.count(token) ** (exponent - 1) for token in ids]
    for _ in range(iterations):
        total_K = a0 * background_K
        for token, weight in zip(ids, weights, strict=True):
            responsibility_K = theta_K * conditional_VK[token] / background_K
            total_K = total_K + weight * responsibility_K / responsibility_K.sum()
        theta_K = total_K / (sum(weights) + a0)
    return theta_K


token_lists = st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=30)


@given(token_lists, st.integers(1, 20), st.floats(0.1, 5), st.sampled_from([0.0, 0.5, 1.0]))
def test_a_basin_follows_the_formula(
    ids: list[int], iterations: int, prior: float, exponent: float
) -> None:
    expected_K = basin_by_definition(ids, iterations, prior, exponent)
    made = estimator(iterations=iterations, prior=prior, repeat_exponent=exponent)
    basin_K = made.basin(ids)
    np.testing.assert_allclose(basin_K, expected_K, atol=2e-6)
    assert basin_K.dtype == np.float64
    assert basin_K.sum() == pytest.approx(1, abs=1e-12)
    assert (basin_K > 0).all()


@given(token_lists, st.randoms(use_true_random=False))
def test_the_order_of_tokens_does_not_matter(ids: list[int], random: object) -> None:
    shuffled = list(ids)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    np.testing.assert_allclose(estimator().basin(ids), estimator().basin(shuffled), atol=1e-5)


def test_an_empty_text_is_the_background_exactly() -> None:
    np.testing.assert_array_equal(estimator().basin([]), parts()[1])


def test_tokens_at_the_background_leave_the_basin_there() -> None:
    np.testing.assert_allclose(estimator().basin([0] * 20), parts()[1], atol=1e-6)


def test_with_exponent_zero_repeats_count_for_nothing() -> None:
    made = estimator(repeat_exponent=0.0)
    np.testing.assert_array_equal(made.basin([3, 5, 3, 3]), made.basin([3, 5]))
    assert made.influence([3, 5, 3])[0] == pytest.approx(0, abs=1e-6)
    assert made.influence([3, 5, 3])[1] > 1e-3


def test_repeated_evidence_moves_the_basin_further() -> None:
    conditional_VK, background_K = parts()
    reached = [distance(background_K, estimator().basin([7] * count)) for count in (1, 4, 16)]
    assert reached[0] < reached[1] < reached[2]
    assert estimator().basin([7] * 64).argmax() == (conditional_VK[7] / background_K).argmax()


def test_a_batch_is_its_texts_one_by_one() -> None:
    texts = [[1, 2, 3], [], [5], list(range(40))]
    batch_MK = estimator().basins(texts)
    assert batch_MK.shape == (4, OUTCOMES)
    for row, ids in zip(batch_MK, texts, strict=True):
        np.testing.assert_array_equal(row, estimator().basin(ids))


@given(
    st.integers(2, 70),
    st.lists(st.integers(0, 400), min_size=1, max_size=30),
    st.sampled_from([0.5, 0.3, 1.0]),
    st.integers(0, 1000),
)
def test_a_batch_has_every_bit_of_its_texts_one_by_one(
    num_outcomes: int, lengths: list[int], exponent: float, seed: int
) -> None:
    """Texts of as many different tokens are computed together; that must not show."""
    rng = np.random.default_rng(seed)
    conditional_VK = rng.dirichlet(np.full(num_outcomes, 0.5), 200).astype(np.float32) + 1e-6
    made = BasinEstimator(
        conditional_VK, rng.dirichlet(np.full(num_outcomes, 5.0)), repeat_exponent=exponent
    )
    texts = [rng.integers(0, 200, length).astype(np.uint16) for length in lengths * 2]
    batch_MK = made.basins(texts)
    for row, ids in zip(batch_MK, texts, strict=True):
        assert row.tobytes() == made.basin(ids).tobytes()


def test_a_batch_larger_than_a_chunk_is_its_texts_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distinct_tokens, "_CHUNK_TOKENS", 7)
    monkeypatch.setattr(basin_estimator, "_BLOCK_ELEMENTS", 64)
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, VOCAB, length) for length in rng.integers(0, 12, 60)]
    batch_MK = estimator().basins(texts)
    for row, ids in zip(batch_MK, texts, strict=True):
        assert row.tobytes() == estimator().basin(ids).tobytes()


def test_a_batch_of_no_text_has_no_basin() -> None:
    assert estimator().basins([]).shape == (0, OUTCOMES)


def test_a_batch_refuses_a_token_outside_the_vocabulary() -> None:
    for wrong in (-1, VOCAB):
        with pytest.raises(InvalidRequest, match=f"0 to {VOCAB - 1}"):
            estimator().basins([[1], [2, wrong]])


@given(token_lists)
def test_influence_is_the_distance_to_the_basin_without_the_token(ids: list[int]) -> None:
    made = estimator()
    shifts_T = made.influence(ids)
    whole_K = made.basin(ids)
    expected = [distance(whole_K, made.basin(ids[:t] + ids[t + 1 :])) for t in range(len(ids))]
    np.testing.assert_allclose(shifts_T, expected, atol=2e-5)


def test_influence_of_a_long_text_goes_through_every_chunk() -> None:
    ids = list(np.random.default_rng(0).integers(0, VOCAB, 600))
    shifts_T = estimator().influence(ids)
    assert shifts_T.shape == (600,)
    for place in (0, 255, 256, 599):
        rest = ids[:place] + ids[place + 1 :]
        expected = distance(estimator().basin(ids), estimator().basin(rest))
        assert shifts_T[place] == pytest.approx(expected, abs=2e-5)


def test_influence_of_nothing_is_nothing() -> None:
    assert estimator().influence([]).shape == (0,)


@pytest.mark.parametrize("ids", [[VOCAB], [3, -1], [2**40]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="0 to 39") as caught:
        estimator().basin(ids)
    assert caught.value.value == repr(max(ids, key=lambda token: token if token > 3 else -token))


@pytest.mark.parametrize("settings", [{"iterations": 0}, {"prior": 0.0}, {"prior": float("nan")}])
def test_settings_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="need iterations"):
        estimator(**settings)
    with pytest.raises(ConfigError, match="repeat_exponent"):
        estimator(repeat_exponent=1.5)


def test_coordinates_and_background_must_fit() -> None:
    conditional_VK, background_K = parts()
    with pytest.raises(ConfigError, match="do not fit"):
        BasinEstimator(conditional_VK, background_K[:-1])
    with pytest.raises(ConfigError, match="without zeros"):
        BasinEstimator(conditional_VK, np.eye(OUTCOMES)[0])
