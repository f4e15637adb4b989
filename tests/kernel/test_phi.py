"""Phi tells independence from integration, and says how sure it is."""

import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.observables import (
    PHI_POSITIONS,
    Measurement,
    PhiReference,
    phi_gauge,
    phi_integration,
)

WIDTH = 192  # of the preset `spark`
REFERENCE = PhiReference(median=0.5, mad=0.02, checkpoint_hash="ab", num_texts=9)


def states(loading: float, seed: int = 0, width: int = WIDTH) -> Tensor:
    """Return independent noise plus `loading` times one factor that all units share."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(PHI_POSITIONS, width, generator=generator)
    return noise + loading * torch.randn(PHI_POSITIONS, 1, generator=generator)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("loading", "low", "high"), [(0.0, 0.0, 0.06), (0.3, 0.39, 0.71), (1.0, 0.88, 0.92)]
)
def test_bands(loading: float, low: float, high: float, seed: int) -> None:
    """The specification's bands: independent, weakly and strongly shared factors."""
    phi = phi_integration(states(loading, seed), num_nulls=20)
    assert phi.value is not None
    assert phi.interval is not None
    assert low <= phi.value <= high
    assert phi.interval[0] <= phi.value <= phi.interval[1]
    assert phi.null is not None
    assert phi.null < 0.01
    assert phi.n == PHI_POSITIONS


@pytest.mark.parametrize("width", [32, 384, 768])
@pytest.mark.parametrize("seed", range(3))
def test_independent_units_are_not_integrated_at_any_width(width: int, seed: int) -> None:
    phi = phi_integration(states(0.0, seed, width), num_nulls=20)
    assert phi.value is not None
    assert phi.value <= 0.06
    assert phi.interval is not None
    assert phi.interval[0] <= 0.01


@pytest.mark.parametrize("seed", range(3))
def test_moving_groups_apart_in_time_leaves_the_null(seed: int) -> None:
    """The same values, each group in an order of its own: what they shared is gone."""
    generator = torch.Generator().manual_seed(seed)
    groups = states(1.0, seed).tensor_split(8, dim=1)
    apart = [group[torch.randperm(PHI_POSITIONS, generator=generator)] for group in groups]
    phi = phi_integration(torch.cat(apart, dim=1), num_nulls=20)
    assert phi.value is not None
    assert phi.value <= 0.06


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_positions_does_not_matter(seed: int) -> None:
    """Moved together, groups share what they shared; only the draw of the nulls differs."""
    hidden = states(0.3, seed)
    order = torch.randperm(PHI_POSITIONS, generator=torch.Generator().manual_seed(seed))
    ours, moved = phi_integration(hidden), phi_integration(hidden[order])
    assert moved.value == pytest.approx(ours.value, abs=0.01)


@pytest.mark.parametrize(("memory", "low", "high"), [(0.5, 0.0, 0.06), (0.9, 0.15, 0.4)])
def test_independent_units_that_change_slowly_look_integrated(
    memory: float, low: float, high: float
) -> None:
    """A known limit: shuffles forget that neighbouring positions are alike, the value does not.

    Slow units make chance correlations larger than their shuffles do. So Phi of one kernel says
    less than the difference between two on the same text.
    """
    values = []
    for seed in range(3):
        hidden = states(0.0, seed)
        for position in range(1, PHI_POSITIONS):
            new = (1 - memory**2) ** 0.5 * hidden[position]
            hidden[position] = memory * hidden[position - 1] + new
        values.append(phi_integration(hidden, num_nulls=20).value)
    mean = sum(value for value in values if value is not None) / len(values)
    assert low <= mean <= high


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e6, 0.1])
def test_constant_states_are_not_integrated(constant: float) -> None:
    phi = phi_integration(torch.full((PHI_POSITIONS, WIDTH), constant))
    assert phi.value == 0
    assert phi.interval == (0, 0)


def test_groups_without_variance_count_as_independent() -> None:
    """Half the groups constant: the value of the other half, spread over all groups."""
    hidden = states(1.0)
    hidden[:, WIDTH // 2 :] = 3.0
    both, half = phi_integration(hidden), phi_integration(hidden[:, : WIDTH // 2], num_groups=4)
    assert both.value is not None
    assert half.value is not None
    # -2 TC / 8 against -2 TC / 4.
    assert math.log1p(-both.value) == pytest.approx(math.log1p(-half.value) / 2, abs=0.01)


def test_total_correlation_of_two_groups_is_that_of_a_correlation() -> None:
    """With one unit a group, TC = -1/2 ln(1 - rho^2), rho shrunk by the ridge."""
    hidden = states(1.0, width=2)
    rho = 0.98 * float(torch.corrcoef(hidden.T.double())[0, 1])
    phi = phi_integration(hidden, num_groups=2, num_nulls=50)
    assert phi.value is not None
    total = -0.5 * math.log1p(-(rho**2))
    # The mean over shuffles of about rho^2 / 2 = 1 / (2 T) is taken off.
    assert -math.log1p(-phi.value) == pytest.approx(total, abs=2 / PHI_POSITIONS)


@given(st.integers(0, 50), st.floats(0, 2), st.floats(0.01, 100), st.floats(-10, 10))
@settings(max_examples=15)
def test_scale_and_origin_of_units_do_not_matter(
    seed: int, loading: float, scale: float, origin: float
) -> None:
    hidden = states(loading, seed, width=32).double()
    ours = phi_integration(hidden, num_nulls=4)
    moved = phi_integration(hidden * scale + origin, num_nulls=4)
    assert moved.value == pytest.approx(ours.value, abs=1e-6)
    assert ours.value is not None
    assert 0 <= ours.value < 1


def test_the_seed_decides_the_nulls() -> None:
    first, again, other = (phi_integration(states(0.3), seed=seed).value for seed in (1, 1, 2))
    assert first == again != other


def test_identical_units_are_nearly_fully_integrated() -> None:
    one = states(0.0, width=1)
    phi = phi_integration(one.expand(-1, 16))
    assert phi.value is not None
    assert 0.95 < phi.value < 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_damaged_states_are_refused(bad: float) -> None:
    hidden = states(0.3)
    hidden[7, 7] = bad
    with pytest.raises(ConfigError, match="NaN"):
        phi_integration(hidden)


@pytest.mark.parametrize(
    ("hidden", "options"),
    [
        (torch.zeros(255, 16), {}),
        (torch.zeros(PHI_POSITIONS), {}),
        (torch.zeros(PHI_POSITIONS, 7), {}),
        (torch.zeros(PHI_POSITIONS, 16), {"num_groups": 1}),
        (torch.zeros(PHI_POSITIONS, 16), {"num_nulls": 1}),
    ],
)
def test_wrong_shapes_and_numbers_are_refused(hidden: Tensor, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        phi_integration(hidden, **options)


def test_measurements_are_json() -> None:
    phi = phi_integration(states(0.3, width=16), num_nulls=5)
    values = json.loads(json.dumps(phi.to_dict()))
    assert set(values) == {"value", "method", "n", "null", "interval"}
    assert Measurement(**values | {"interval": tuple(values["interval"])}) == phi


@pytest.mark.parametrize(
    ("phi", "gauge"),
    [
        (0.5, 0.80),
        (0.5 + 2 * 1.4826 * 0.02, 0.85),
        (0.5 - 2 * 1.4826 * 0.02, 0.75),
        (0.0, 0.3785),
        (1.0, 1.0),
        (-5.0, 0.0),
    ],
)
def test_the_gauge_counts_robust_deviations_from_the_reference(phi: float, gauge: float) -> None:
    assert phi_gauge(phi, REFERENCE) == pytest.approx(gauge, abs=1e-4)


def test_a_reference_is_the_median_and_the_median_deviation() -> None:
    reference = PhiReference.of([0.5, 0.4, 0.55, 0.9, 0.45], checkpoint_hash="ab")
    assert reference.median == 0.5
    assert reference.mad == pytest.approx(0.05)
    assert reference.num_texts == 5


@pytest.mark.parametrize("phis", [[], [0.5], [0.5, 0.5, 0.5], [0.5, math.nan, 0.4]])
def test_a_reference_without_spread_is_refused(phis: list[float]) -> None:
    with pytest.raises(ConfigError, match="Phi reference"):
        PhiReference.of(phis, checkpoint_hash="ab")


def test_a_gauge_of_a_damaged_phi_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a number"):
        phi_gauge(math.nan, REFERENCE)


def test_a_reference_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REFERENCE.median = 0.6  # type: ignore[misc]
