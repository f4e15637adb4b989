"""Kernel sites: means, bearings and seats."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.geometry.bearings import bearing
from constellation.geometry.means import hellinger_mean
from constellation.records import Rule
from constellation.routing.site_fit import KernelTexts, fit_sites
from tests.routing.tables import BACKGROUND, basins

CORPORA = ("books", "letters", "notes", "songs")


def learned(names: Iterable[str]) -> KernelTexts:
    return KernelTexts(name="k", corpora={name: basins(len(name), 20) for name in names})


@given(st.permutations(CORPORA))
def test_the_order_of_corpora_changes_no_bit_of_the_basin(order: list[str]) -> None:
    assert learned(order).basin().tobytes() == learned(CORPORA).basin().tobytes()


def test_the_basin_is_the_hellinger_mean_of_all_texts() -> None:
    texts = np.concatenate([basins(len(name), 20) for name in CORPORA])
    np.testing.assert_allclose(learned(CORPORA).basin(), hellinger_mean(texts), atol=1e-12)


def test_a_kernel_without_a_corpus_has_no_basin() -> None:
    with pytest.raises(ConfigError, match="has no corpus"):
        learned(()).basin()


def test_sites_have_derived_bearings_different_seats_and_open_radii() -> None:
    kernels = [KernelTexts(name=f"k{n}", corpora={"c": basins(n, 30)}) for n in range(5)]
    fit = fit_sites(kernels, background_K=BACKGROUND)
    assert [site.name for site in fit.sites] == [f"k{n}" for n in range(5)]
    for site, kernel in zip(fit.sites, kernels, strict=True):
        np.testing.assert_array_equal(site.basin_K, kernel.basin())
        np.testing.assert_allclose(site.bearing_K, bearing(kernel.basin(), BACKGROUND), atol=1e-12)
        assert site.radii == dict.fromkeys(Rule, float("inf"))
    assert len({site.seat for site in fit.sites}) == 5
    assert fit.seating is not None
    assert fit.seating.distortion <= fit.seating.random_distortion


def test_sites_without_seats_have_none() -> None:
    fit = fit_sites([learned(("books",))], background_K=BACKGROUND, seats=False)
    assert fit.seating is None
    assert fit.sites[0].seat is None


def test_kernels_that_cannot_be_told_apart_from_the_background_are_refused() -> None:
    flat = KernelTexts(name="flat", corpora={"c": np.tile(BACKGROUND, (3, 1))})
    with pytest.raises(ConfigError, match="flat lie at the background"):
        fit_sites([flat], background_K=BACKGROUND)
    with pytest.raises(ConfigError, match="different names"):
        fit_sites([learned(("books",))] * 2, background_K=BACKGROUND)
