"""The fit of beta recovers what was planted, with intervals that hold it as often as they say."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.kernel.observables.beta_fit import fit_beta, student_interval
from constellation.kernel.observables.kappa import gained_nats
from tests.kernel.planted import attention_scores, planted_couplings

LENGTHS = (32, 64, 128, 256)


def exact(kappa_0: float, beta: float, *, documents: int = 4) -> np.ndarray:
    line_L = kappa_0 * (1 + beta * np.log(np.array(LENGTHS) / 64))
    return np.tile(line_L, (documents, 1))


@pytest.mark.slow
@pytest.mark.parametrize("beta", [0.0, 0.44, -0.15])
def test_a_planted_beta_is_inside_its_interval_as_often_as_stated(beta: float) -> None:
    """Eight documents, where percentile intervals hold the truth nine times in ten at most."""
    inside = 0
    for seed in range(100):
        kappa_NL = planted_couplings(
            LENGTHS, kappa_0=1.2, beta=beta, reference=64, texts=8, seed=seed
        )
        fit = fit_beta(kappa_NL, LENGTHS, reference_length=64, seed=seed)
        assert fit.ci95 is not None
        inside += fit.ci95[0] <= beta <= fit.ci95[1]
    assert 90 <= inside <= 99


def test_the_planted_attention_gains_what_it_was_made_to() -> None:
    gain_Q = np.array([0.0, 0.3, 1.0, 2.0])
    assert gained_nats(attention_scores(gain_Q, 40), 40).tolist() == pytest.approx(gain_Q, abs=2e-6)


def test_a_line_without_noise_is_found_exactly() -> None:
    fit = fit_beta(exact(0.8, 0.44), LENGTHS, reference_length=64)
    assert fit.value == pytest.approx(0.44)
    assert fit.ci95 == pytest.approx((0.44, 0.44))
    assert fit.std_error == pytest.approx(0, abs=1e-12)
    assert fit.r_squared == pytest.approx(1)
    assert fit.p_value < 1e-12
    assert fit.kappa_0.value == pytest.approx(0.8)
    assert fit.slope.value == pytest.approx(0.8 * 0.44)


def test_the_interval_is_the_set_of_ratios_that_a_t_test_does_not_refuse() -> None:
    """Fieller's interval by its definition: mean(s) - r mean(a) is within t errors of 0."""
    random = np.random.default_rng(3)
    kappa_NL = exact(1.0, 0.3, documents=6) + 0.2 * random.standard_normal((6, len(LENGTHS)))
    fit = fit_beta(kappa_NL, LENGTHS, reference_length=64)
    lines = [np.polyfit(np.log(np.array(LENGTHS) / 64), row, 1) for row in kappa_NL]
    slope_N, start_N = np.array(lines).T
    assert fit.ci95 is not None
    for ratio, inside in (
        (fit.ci95[0] - 1e-6, False),
        (fit.ci95[0] + 1e-6, True),
        (fit.ci95[1] - 1e-6, True),
        (fit.ci95[1] + 1e-6, False),
    ):
        low, high = student_interval(slope_N - ratio * start_N)
        assert (low <= 0 <= high) is inside


@pytest.mark.parametrize("seed", range(3))
def test_the_standard_error_is_that_of_repeated_measurements(seed: int) -> None:
    fits = [
        fit_beta(
            exact(1.0, 0.4, documents=24)
            + 0.2 * np.random.default_rng(1000 * seed + run).standard_normal((24, len(LENGTHS))),
            LENGTHS,
            reference_length=64,
            seed=run,
        )
        for run in range(40)
    ]
    spread = float(np.std([fit.value for fit in fits], ddof=1))
    assert np.mean([fit.std_error for fit in fits]) == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_uniform_attention_has_no_beta_but_a_slope(seed: int) -> None:
    """Rounding of one sign must not pass for a coupling."""
    random = np.random.default_rng(seed)
    rounding_NL = 1e-6 * np.abs(random.standard_normal((8, len(LENGTHS))))
    fit = fit_beta(rounding_NL, LENGTHS, reference_length=64)
    assert (fit.value, fit.std_error, fit.ci95) == (None, None, None)
    assert abs(fit.slope.value) < 1e-5
    assert math.isfinite(fit.p_value)


@pytest.mark.parametrize("seed", range(3))
def test_a_coupling_that_noise_hides_has_no_beta(seed: int) -> None:
    noise_NL = np.random.default_rng(seed).standard_normal((4, len(LENGTHS)))
    noise_NL += 0.05 - noise_NL.mean()
    assert fit_beta(noise_NL, LENGTHS, reference_length=64).value is None


def test_another_reference_length_gives_another_beta_of_the_same_line() -> None:
    """kappa_0 beta is the slope, which does not depend on L_ref; kappa_0 moves along the line."""
    near = fit_beta(exact(1.0, 0.44), LENGTHS, reference_length=64)
    far = fit_beta(exact(1.0, 0.44), LENGTHS, reference_length=256)
    assert near.value == pytest.approx(0.44)
    assert far.value == pytest.approx(0.44 / (1 + 0.44 * math.log(4)))
    assert far.slope.value == pytest.approx(near.slope.value)


@given(st.integers(0, 50), st.floats(0.1, 10))
def test_the_unit_of_coupling_does_not_matter(seed: int, unit: float) -> None:
    random = np.random.default_rng(seed)
    kappa_NL = exact(1.0, 0.2, documents=5) + 0.1 * random.standard_normal((5, len(LENGTHS)))
    ours = fit_beta(kappa_NL, LENGTHS, reference_length=64)
    scaled = fit_beta(kappa_NL * unit, LENGTHS, reference_length=64)
    assert scaled.value == pytest.approx(ours.value)
    assert scaled.ci95 == pytest.approx(ours.ci95)
    assert scaled.p_value == pytest.approx(ours.p_value)


def test_the_p_value_of_no_slope_is_uniform() -> None:
    random = np.random.default_rng(0)
    values = [
        fit_beta(
            1 + 0.1 * random.standard_normal((6, len(LENGTHS))), LENGTHS, reference_length=64
        ).p_value
        for _ in range(400)
    ]
    deciles = np.histogram(values, bins=10, range=(0, 1))[0]
    assert deciles.min() > 20
    assert deciles.max() < 65


def test_two_lengths_say_nothing_about_the_line() -> None:
    assert fit_beta(exact(1, 0.1)[:, :2], LENGTHS[:2], reference_length=64).r_squared is None


def test_equal_documents_without_slope_are_no_evidence() -> None:
    fit = fit_beta(exact(1.0, 0.0), LENGTHS, reference_length=64)
    assert (fit.value, fit.p_value, fit.r_squared) == (0.0, 1.0, None)


def test_a_fit_is_json() -> None:
    values = json.loads(json.dumps(fit_beta(exact(1, 0.1), LENGTHS, reference_length=64).to_dict()))
    assert values["kappa_0"]["value"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("kappa_NL", "lengths", "reference"),
    [
        (np.ones((2, 4)), LENGTHS, 64),
        (np.ones((3, 1)), (32,), 64),
        (np.ones((3, 4)), (32, 64, 64, 256), 64),
        (np.ones((3, 4)), (256, 128, 64, 32), 64),
        (np.ones((3, 4)), (32, 64, 128), 64),
        (np.ones((3, 4)), LENGTHS, 0),
        (np.full((3, 4), np.nan), LENGTHS, 64),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    kappa_NL: np.ndarray, lengths: tuple[int, ...], reference: int
) -> None:
    with pytest.raises(ConfigError):
        fit_beta(kappa_NL, lengths, reference_length=reference)
