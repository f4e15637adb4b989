"""Intervals: a bootstrap over enough items, or none."""

import pytest
import torch

from constellation.kernel.observables.measurement import INTERVAL_ITEMS_MIN, bootstrap_interval


@pytest.mark.parametrize("num_items", [0, 1, 2, 3, INTERVAL_ITEMS_MIN - 1])
def test_too_few_items_have_no_interval(num_items: int) -> None:
    assert bootstrap_interval(torch.arange(num_items), 0) is None


def test_enough_items_have_an_interval_around_their_mean() -> None:
    values = torch.arange(INTERVAL_ITEMS_MIN).double()
    interval = bootstrap_interval(values, 0)
    assert interval is not None
    assert 0 < interval[0] < values.mean() < interval[1] < INTERVAL_ITEMS_MIN - 1
    assert bootstrap_interval(values, 0) == interval
