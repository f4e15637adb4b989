"""A kernel's own table: what a joint fit would give it, with nothing of the others read."""

import numpy as np
import pytest

from constellation.errors import ConfigError
from constellation.records import Rule
from constellation.routing.calibration import calibrate
from constellation.routing.candidate import fit_candidate
from constellation.routing.sites import KernelTexts, fit_sites
from tests.routing.tables import BACKGROUND, basins


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_basin_bearing_and_radii_are_those_of_a_joint_fit(seed: int) -> None:
    own_NK, held_NK = basins(seed, 20), basins(seed + 10, 15)
    other = KernelTexts(name="other").learn("train", basins(seed + 20, 20))
    texts = [KernelTexts(name="own").learn("train", own_NK), other]
    sites = fit_sites(texts, background_K=BACKGROUND).sites
    labels = ["own"] * 15 + ["other"] * 5
    joint = calibrate(
        sites, np.concatenate([held_NK, basins(seed, 5)]), labels, background_K=BACKGROUND
    )
    table = fit_candidate(texts[0], held_NK, background_K=BACKGROUND, coordizer_hash="x")
    (site,) = table.sites
    np.testing.assert_array_equal(site.basin_K, sites[0].basin_K)
    np.testing.assert_allclose(site.bearing_K, sites[0].bearing_K, atol=1e-15)
    for rule in Rule:
        assert site.radii[rule] == pytest.approx(joint.radii["own"][rule], abs=1e-12)


def test_it_needs_text_and_passages() -> None:
    own = KernelTexts(name="own")
    for texts, held in ((own, basins(0, 2)), (own.learn("a", basins(0, 2)), np.empty((0, 8)))):
        with pytest.raises(ConfigError, match="own"):
            fit_candidate(texts, held, background_K=BACKGROUND, coordizer_hash="x")
