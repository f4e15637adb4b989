"""Rules as arithmetic: planted nats whose right answers can be worked out by hand."""

import numpy as np
import pytest

from benchmarks.claim import rules
from benchmarks.claim.material import PREFIX_TOKENS
from constellation.records import FloatArray
from constellation.routing.mixture import SWITCH, posterior_weights

T = PREFIX_TOKENS + 3 * rules.RENEW_TOKENS - 5


def _constant(*nats: float) -> FloatArray:
    """Return kernels that need the same nats for every token."""
    return np.tile(np.array(nats)[:, None], T)


def test_a_kept_route_scores_its_kernel_after_the_prefix() -> None:
    assert rules.kept(_constant(1.0, 2.0), 1) == pytest.approx(2.0 * (T - PREFIX_TOKENS))


def test_the_prefix_is_never_scored() -> None:
    nats_MT = _constant(1.0, 2.0)
    nats_MT[:, :PREFIX_TOKENS] = 50.0
    whole = slice(None)
    assert rules.kept(nats_MT, 0) == pytest.approx(T - PREFIX_TOKENS)
    assert rules.rerouted(nats_MT, [0, 0, 0]) == pytest.approx(T - PREFIX_TOKENS)
    even = np.array([0.5, 0.5])[whole]
    assert rules.mixture(nats_MT, even) < 2.0 * (T - PREFIX_TOKENS)


def test_a_renewed_route_scores_each_stretch_under_its_own_kernel() -> None:
    nats = rules.rerouted(_constant(1.0, 2.0, 4.0), [0, 2, 1])
    stretch = rules.RENEW_TOKENS
    assert nats == pytest.approx(1.0 * stretch + 4.0 * stretch + 2.0 * (stretch - 5))


def test_a_renewed_route_that_never_changes_is_the_kept_one() -> None:
    nats_MT = np.random.default_rng(0).exponential(2.0, (3, T))
    assert rules.rerouted(nats_MT, [1, 1, 1]) == pytest.approx(rules.kept(nats_MT, 1))


def test_only_changes_of_route_are_read_again_and_no_more_than_the_context() -> None:
    assert rules.reread_tokens([0, 0, 0], context=256) == 0
    assert rules.reread_tokens([0, 1, 1, 0], context=256) == 64 + 128
    assert rules.reread_tokens([0, 1, 1, 0], context=100) == 64 + 100


def test_a_mixture_averages_probabilities_not_nats() -> None:
    per_token = -np.log(0.25 * np.exp(-1.0) + 0.75 * np.exp(-3.0))
    nats = rules.mixture(_constant(1.0, 3.0), np.array([0.25, 0.75]))
    assert nats == pytest.approx(per_token * (T - PREFIX_TOKENS))


@pytest.mark.parametrize("rule", [rules.mixture, rules.posterior])
def test_a_kernel_without_weight_does_not_matter(rule: object) -> None:
    assert callable(rule)
    weights = np.array([0.0, 1.0])
    assert rule(_constant(1.0, 3.0), weights) == pytest.approx(3.0 * (T - PREFIX_TOKENS))


@pytest.mark.parametrize("seed", range(3))
def test_a_posterior_pays_no_more_than_its_doubts(seed: int) -> None:
    """Nats of all tokens <= any kernel's, plus its doubt at first and that it stays, at each."""
    rng = np.random.default_rng(seed)
    nats_MT = rng.exponential(2.0, (4, T)) + np.array([[0], [1], [1], [2]])
    prior_M = rng.dirichlet(np.ones(4))
    joint = _joint_nats(nats_MT, prior_M)
    doubts = -np.log(prior_M) - (T - 1) * np.log(1 - SWITCH)
    assert (joint <= nats_MT.sum(axis=1) + doubts).all()
    prefix = _joint_nats(nats_MT[:, :PREFIX_TOKENS], prior_M)
    assert rules.posterior(nats_MT, prior_M) == pytest.approx(joint - prefix)


def _joint_nats(nats_MT: FloatArray, prior_M: FloatArray) -> float:
    weights_MT = posterior_weights(prior_M, -nats_MT)[:, :-1]
    return float(-np.log((weights_MT * np.exp(-nats_MT)).sum(axis=0)).sum())


@pytest.mark.parametrize("seed", range(3))
def test_without_a_switch_a_posterior_is_plain_bayes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    nats_MT = rng.exponential(2.0, (4, T))
    prior_M = rng.dirichlet(np.ones(4))
    joint = -np.log((prior_M * np.exp(-nats_MT.sum(axis=1))).sum())
    prefix = -np.log((prior_M * np.exp(-nats_MT[:, :PREFIX_TOKENS].sum(axis=1))).sum())
    assert rules.posterior(nats_MT, prior_M, switch=0) == pytest.approx(joint - prefix)


def test_a_posterior_turns_to_the_kernel_that_the_prefix_favours() -> None:
    nats_MT = _constant(1.0, 3.0)
    late = rules.posterior(nats_MT, np.array([0.01, 0.99]), switch=0)
    assert late == pytest.approx(1.0 * (T - PREFIX_TOKENS), rel=1e-6)
