"""Weights that follow a text: renewed by its latest tokens, or moved by Bayes; pure."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.geometry import bearing
from constellation.records import FloatArray, KernelSite, Mode, Rule, Table
from constellation.routing.mixture import joint_logits, mixture_log_probs, posterior_weights
from constellation.routing.mixture_weights import EnsembleWeights, joint_nats, renewal
from constellation.routing.policy import RoutingPolicy

seeds = st.integers(0, 2**32 - 1)
MODES = (Mode.MIXTURE, Mode.POSTERIOR)


def by_sum(tokens: Sequence[int]) -> FloatArray:
    """Return weights of three kernels that depend on all the tokens and their number."""
    raw = np.array([1 + sum(tokens) % 7, 1 + len(tokens) % 5, 2.0])
    return raw / raw.sum()


@given(seeds, st.sampled_from(MODES), st.integers(1, 40), st.integers(0, 150), st.booleans())
def test_scoring_a_text_is_writing_it(
    seed: int, mode: Mode, num_scored: int, num_context: int, renews: bool
) -> None:
    random = np.random.default_rng(seed)
    tokens = random.integers(0, 99, num_context + num_scored).tolist()
    nats_kT = random.exponential(2, (3, len(tokens)))
    weights_k = random.dirichlet(np.ones(3))
    renew = by_sum if renews else None
    weighing = EnsembleWeights(mode, weights_k, tokens[:num_context], renew)
    weighing.observe_prompt(nats_kT[:, :num_context])
    written = []
    for token, nats_k in zip(tokens[num_context:], nats_kT.T[num_context:], strict=True):
        written.append(-np.log(weighing.weights_k @ np.exp(-nats_k)))
        weighing.observe_token(token, -nats_k)
    scored = joint_nats(mode, nats_kT, weights_k, tokens, num_context, renew)
    np.testing.assert_allclose(scored, written, atol=1e-9)


def test_a_mixture_is_renewed_every_eight_tokens_by_the_last_128() -> None:
    seen: list[list[int]] = []

    def renew(tokens: Sequence[int]) -> FloatArray:
        seen.append(list(tokens))
        return np.array([0.25, 0.75])

    prompt = list(range(125))
    weighing = EnsembleWeights(Mode.MIXTURE, np.array([0.5, 0.5]), prompt, renew)
    for token in range(125, 145):
        assert weighing.weights_k[0] == pytest.approx(0.5 if token < 133 else 0.25)
        weighing.observe_token(token, np.zeros(2))
    assert seen == [list(range(5, 133)), list(range(13, 141))]


@given(seeds)
def test_a_posterior_is_bayes_over_all_that_was_heard(seed: int) -> None:
    random = np.random.default_rng(seed)
    weights_k, nats_kT = random.dirichlet(np.ones(4)), random.exponential(3, (4, 12))
    weighing = EnsembleWeights(Mode.POSTERIOR, weights_k, [1, 2, 3, 4])
    weighing.observe_prompt(nats_kT[:, :4])
    for nats_k in nats_kT.T[4:]:
        weighing.observe_token(0, -nats_k)
    expected = posterior_weights(weights_k, -nats_kT)[:, -1]
    np.testing.assert_allclose(weighing.weights_k, expected, atol=1e-12)


@given(seeds, st.sampled_from(MODES))
def test_who_is_left_shares_a_dropped_kernels_weight_in_proportion(seed: int, mode: Mode) -> None:
    random = np.random.default_rng(seed)
    weights_k = random.dirichlet(np.ones(3))
    weighing = EnsembleWeights(mode, weights_k, [], by_sum)
    weighing.drop(1)
    rest = weights_k[[0, 2]] / weights_k[[0, 2]].sum()
    np.testing.assert_allclose(weighing.weights_k[[0, 2]], rest, atol=1e-12)
    for token in range(30):
        weighing.observe_token(token, random.normal(size=3))
        assert weighing.weights_k[1] == 0
        assert weighing.weights_k.sum() == pytest.approx(1)


def test_kernels_that_are_left_without_weight_share_alike() -> None:
    weighing = EnsembleWeights(Mode.MIXTURE, np.array([1.0, 0, 0]), [])
    weighing.drop(0)
    assert weighing.weights_k.tolist() == [0, 0.5, 0.5]
    weighing.drop(2)
    assert weighing.weights_k.tolist() == [0, 1, 0]
    with pytest.raises(ConfigError, match="no kernel is left"):
        weighing.drop(1)


def test_one_kernel_has_no_weights_to_follow() -> None:
    with pytest.raises(ConfigError):
        EnsembleWeights(Mode.NEAREST, np.array([1.0]), [])


@given(seeds)
def test_logits_of_alike_kernels_are_those_of_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits_V = random.normal(0, 8, 50)
    weights_k = random.dirichlet(np.ones(3))
    joint_V, normaliser_k = joint_logits(np.stack([logits_V] * 3), weights_k)
    np.testing.assert_allclose(joint_V, logits_V, atol=1e-10)
    np.testing.assert_allclose(np.exp(logits_V - normaliser_k[0]).sum(), 1, atol=1e-12)


@given(seeds)
def test_joint_logits_stand_for_the_average_distribution(seed: int) -> None:
    random = np.random.default_rng(seed)
    logits_kV, weights_k = random.normal(0, 5, (3, 20)), random.dirichlet(np.ones(3))
    joint_V, normaliser_k = joint_logits(logits_kV, weights_k)
    p_V = np.exp(joint_V - joint_V.max())
    expected_V = np.exp(mixture_log_probs(logits_kV - normaliser_k[:, None], weights_k))
    np.testing.assert_allclose(p_V / p_V.sum(), expected_V, atol=1e-12)


def test_what_is_below_all_numbers_is_never_chosen_and_breaks_nothing() -> None:
    logits_kV = np.array([[0.0, -2000.0, 5.0], [1.0, -3000.0, 4.0]])
    joint_V, _ = joint_logits(logits_kV, np.array([0.5, 0.5]))
    assert joint_V[1] == -np.inf
    assert np.isfinite(joint_V[[0, 2]]).all()


@pytest.mark.parametrize("rule", list(Rule))
@given(seed=seeds)
def test_renewed_weights_are_those_of_a_route_in_the_order_of_the_sites(
    rule: Rule, seed: int
) -> None:
    random = np.random.default_rng(seed)
    points = random.dirichlet(np.ones(64), 5)
    sites = tuple(
        KernelSite(
            name=f"k{number}",
            basin_K=points[number],
            bearing_K=bearing(points[number], points[4]),
            radii=dict.fromkeys(Rule, 1.0),
            phi_gauge=number / 3,
        )
        for number in range(3)
    )
    table = Table(
        version=1,
        coordizer_hash="c",
        background_K=points[4],
        temperatures=dict.fromkeys(Rule, 0.5),
        sites=sites,
    )
    renew = renewal(table, rule=rule, phi_weighting=True, basin_of=lambda tokens: points[3])
    route = RoutingPolicy(table, rule=rule, top_k=3).decide(points[3], num_tokens=4)
    expected = {choice.kernel: choice.weight for choice in route.choices}
    assert dict(zip(("k0", "k1", "k2"), renew([1, 2, 3, 4]), strict=True)) == expected
