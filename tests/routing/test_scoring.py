"""Mixtures for scoring, the load metric, and windows of text."""

from itertools import pairwise, product
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.text_windows import sample_windows
from constellation.errors import ConfigError
from constellation.routing.load_entropy import load_entropy_ratio
from constellation.routing.mixture import mixture_log_probs, posterior_weights


def test_a_mixture_averages_probabilities() -> None:
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(5), (3, 4))
    weights = np.array([0.5, 0.2, 0.3])
    mixed = mixture_log_probs(np.log(probs), weights)
    np.testing.assert_allclose(np.exp(mixed), np.einsum("k,ktv->tv", weights, probs), rtol=1e-12)
    np.testing.assert_allclose(np.exp(mixed).sum(axis=1), 1, atol=1e-12)


def test_a_mixture_bears_zero_weights_and_zero_probabilities() -> None:
    log_probs = np.array([[0.0, -np.inf], [log(0.25), log(0.75)], [-1000.0, -1001.0]])
    mixed = mixture_log_probs(log_probs, np.array([1.0, 0.0, 0.0]))
    np.testing.assert_array_equal(mixed, [0.0, -np.inf])


def test_weights_may_differ_by_position() -> None:
    log_probs = np.log(np.random.default_rng(1).dirichlet(np.ones(4), (2, 3)))
    weights = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
    mixed = mixture_log_probs(log_probs, weights)
    np.testing.assert_allclose(mixed[0], log_probs[0, 0], atol=1e-12)
    np.testing.assert_allclose(mixed[2], log_probs[1, 2], atol=1e-12)


@given(st.integers(0, 1000), st.integers(1, 3), st.integers(0, 4), st.sampled_from([0, 0.03, 0.5]))
def test_the_posterior_is_that_of_all_ways_to_take_turns(
    seed: int, count: int, length: int, switch: float
) -> None:
    """Every sequence of kernels has a probability; given the text, who comes next?"""
    rng = np.random.default_rng(seed)
    prior, likelihood = rng.dirichlet(np.ones(count)), rng.normal(-3, 2, (count, length))
    expected = np.zeros(count)
    for turns in product(range(count), repeat=length + 1):
        probability = prior[turns[0]]
        for place, (kernel, following) in enumerate(pairwise(turns)):
            stays = (1 - switch) * (kernel == following)
            probability *= np.exp(likelihood[kernel, place]) * (stays + switch * prior[following])
        expected[turns[-1]] += probability
    weights = posterior_weights(prior, likelihood, switch=switch)
    np.testing.assert_allclose(weights[:, -1], expected / expected.sum(), atol=1e-9)


def test_a_kernel_that_was_wrong_for_long_is_soon_right_again() -> None:
    likelihood = np.repeat([[-1.0, -4.0], [-4.0, -1.0]], 300, axis=1)  # the text changes half-way
    weights = posterior_weights(np.array([0.5, 0.5]), likelihood)
    assert weights[0, 300] > 0.98
    assert weights[1, 305] > 0.98
    assert posterior_weights(np.array([0.5, 0.5]), likelihood, switch=0)[1, 500] < 1e-9


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(0, 12))
def test_without_a_switch_it_is_plain_bayes(seed: int, count: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    prior, likelihood = rng.dirichlet(np.ones(count)), rng.normal(-3, 2, (count, length))
    weights = posterior_weights(prior, likelihood, switch=0)
    current = prior
    for position in range(length + 1):
        np.testing.assert_allclose(weights[:, position], current, atol=1e-9)
        if position < length:
            current = current * np.exp(likelihood[:, position])
            current = current / current.sum()


def test_the_posterior_survives_a_thousand_tokens() -> None:
    weights = posterior_weights(np.array([0.5, 0.5]), np.full((2, 1000), -20.0))
    np.testing.assert_allclose(weights, 0.5)


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.5, -0.5], [1.0], [0.4, 0.3, 0.3]])
def test_weights_that_are_no_distribution_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="no distribution over 2 kernels"):
        mixture_log_probs(np.zeros((2, 3)), np.array(weights))


def test_load_entropy_is_one_for_even_and_zero_for_collapsed_load() -> None:
    assert load_entropy_ratio({"a": 5, "b": 5, "c": 5}) == pytest.approx(1)
    assert load_entropy_ratio({"a": 9, "b": 0, "c": 0}) == 0
    expected = -(0.75 * log(0.75) + 0.25 * log(0.25)) / log(2)
    assert load_entropy_ratio({"a": 3, "b": 1}) == pytest.approx(expected)


def test_load_entropy_says_nothing_without_requests_or_alternatives() -> None:
    assert load_entropy_ratio({"a": 0, "b": 0}) is None
    assert load_entropy_ratio({"a": 4}) is None
    with pytest.raises(ConfigError, match=">= 0"):
        load_entropy_ratio({"a": -1, "b": 2})


def test_windows_cut_documents_in_order_and_drop_short_rests() -> None:
    windows = sample_windows([np.arange(150), np.arange(7), np.arange(130)], window_tokens=64)
    assert [len(window) for window in windows] == [64, 64, 22, 64, 64]
    np.testing.assert_array_equal(np.concatenate(windows[:3]), np.arange(150))


def test_too_many_windows_are_thinned_over_all_documents() -> None:
    documents = [np.full(640, number) for number in range(10)]
    windows = sample_windows(documents, window_tokens=64, windows_max=20)
    assert len(windows) == 20
    assert {int(window[0]) for window in windows} == set(range(10))


def test_window_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="window_tokens >= 8"):
        sample_windows([], window_tokens=4)
