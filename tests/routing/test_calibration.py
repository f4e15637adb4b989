"""Calibration on held-out text: temperature, radii, and the table they make."""

import numpy as np
import pytest

from constellation.errors import ConfigError
from constellation.geometry.simplex import distance, geodesic
from constellation.records import Rule
from constellation.routing import calibration
from constellation.routing.calibration import (
    TEMPERATURE_RANGE,
    calibrate,
    fit_temperature,
    make_table,
    site_distances,
)
from constellation.routing.policy import RoutingPolicy
from tests.routing.tables import BACKGROUND, basins, table


def scene(noise: float, seed: int = 0) -> tuple[tuple, np.ndarray, list[str]]:
    """Three sites, and sixty texts part of the way from their site to a random point."""
    points = basins(seed, 3, concentration=0.5)
    own = np.repeat(np.arange(3), 20)
    texts = geodesic(points[own], basins(seed + 1, 60), noise)
    return table(points).sites, texts, [f"k{n}" for n in own]


def test_the_temperature_has_the_greatest_likelihood() -> None:
    rng = np.random.default_rng(0)
    distances_NM = rng.uniform(0.2, 1.2, (300, 4))
    tau = 0.4
    energy = distances_NM**2 / (-2 * tau**2)
    shares = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
    own_N = np.array([rng.choice(4, p=row) for row in shares])

    def likelihood(temperature: float) -> float:
        scores = distances_NM**2 / (-2 * temperature**2)
        picked = scores[np.arange(300), own_N]
        return float((picked - np.log(np.exp(scores).sum(axis=1))).sum())

    found = fit_temperature(distances_NM, own_N)
    grid = np.geomspace(0.05, 5, 400)
    assert likelihood(found) >= max(likelihood(each) for each in grid) - 1e-6
    assert found == pytest.approx(tau, rel=0.25)


def test_the_temperature_stays_in_range_when_the_nearest_is_always_right() -> None:
    distances_NM = np.array([[0.1, 1.0], [1.0, 0.1]])
    assert fit_temperature(distances_NM, np.array([0, 1])) >= TEMPERATURE_RANGE[0]
    assert fit_temperature(distances_NM, np.array([1, 0])) <= TEMPERATURE_RANGE[1]


def test_more_texts_than_are_compared_with_every_kernel_are_thinned_out_evenly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sites, texts, labels = scene(0.6)
    whole = calibrate(sites, texts, labels, background_K=BACKGROUND)
    monkeypatch.setattr(calibration, "TEXTS_MAX", 31)
    thinned = calibrate(sites, texts, labels, background_K=BACKGROUND)
    assert (whole.num_texts, thinned.num_texts) == (60, 30)
    assert thinned.radii == whole.radii  # these need a kernel's own texts alone
    for rule in Rule:
        assert thinned.temperatures[rule] == pytest.approx(whole.temperatures[rule], rel=0.3)


def test_noisier_text_gives_a_higher_temperature() -> None:
    fits = []
    for noise in (0.2, 0.8):
        sites, texts, labels = scene(noise)
        fits.append(calibrate(sites, texts, labels, background_K=BACKGROUND))
    for rule in Rule:
        assert fits[0].temperatures[rule] < fits[1].temperatures[rule]
        assert fits[0].accuracy[rule] >= fits[1].accuracy[rule]


def test_a_radius_is_the_quantile_of_a_kernels_own_distances() -> None:
    sites, texts, labels = scene(0.5)
    found = calibrate(sites, texts, labels, background_K=BACKGROUND, quantile=0.9)
    own = distance(texts[20:40], sites[1].basin_K)
    assert found.radii["k1"][Rule.GEODESIC] == pytest.approx(np.quantile(own, 0.9))


def test_the_table_holds_its_own_held_out_texts_and_marks_strangers() -> None:
    sites, texts, labels = scene(0.3)
    found = calibrate(sites, texts, labels, background_K=BACKGROUND)
    made = make_table(sites, found, background_K=BACKGROUND, coordizer_hash="h", version=3)
    assert (made.version, made.coordizer_hash) == (3, "h")
    for rule in Rule:
        policy = RoutingPolicy(made, rule=rule)
        inside = [not policy.decide(text, num_tokens=9).out_of_domain for text in texts]
        assert np.mean(inside) >= 0.95
        away = np.argmin(np.sum([site.basin_K for site in sites], axis=0))
        stranger = np.full(8, 1e-3)
        stranger[away] = 1 - 7e-3
        assert policy.decide(stranger, num_tokens=9).out_of_domain


def test_texts_without_a_bearing_are_measured_by_geodesics() -> None:
    sites, texts, _ = scene(0.3)
    mixed = np.stack([texts[0], BACKGROUND])
    by_bearing = site_distances(mixed, sites, background_K=BACKGROUND, rule=Rule.BEARING)
    by_geodesic = site_distances(mixed, sites, background_K=BACKGROUND, rule=Rule.GEODESIC)
    np.testing.assert_allclose(by_bearing[1], by_geodesic[1], rtol=0, atol=1e-13)
    assert not np.allclose(by_bearing[0], by_geodesic[0])


def test_held_out_text_that_does_not_cover_the_kernels_is_refused() -> None:
    sites, texts, labels = scene(0.3)
    with pytest.raises(ConfigError, match="without a text: \\['k2'\\]"):
        calibrate(sites, texts[:40], labels[:40], background_K=BACKGROUND)
    with pytest.raises(ConfigError, match="without a kernel: \\['k9'\\]"):
        calibrate(sites, texts, [*labels[:-1], "k9"], background_K=BACKGROUND)
    with pytest.raises(ConfigError, match="as many labels"):
        calibrate(sites, texts, labels[:-1], background_K=BACKGROUND)
    with pytest.raises(ConfigError, match="quantile"):
        calibrate(sites, texts, labels, background_K=BACKGROUND, quantile=0.0)
