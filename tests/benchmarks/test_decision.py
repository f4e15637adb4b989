"""The benchmark of the decision times what it says."""

import pytest

from benchmarks.decision import measure
from constellation.records import Rule


@pytest.mark.parametrize("rule", Rule)
def test_a_decision_is_timed_for_so_many_kernels_and_basins(rule: Rule) -> None:
    found = measure(3, 2, rule, series=2)
    assert (found["kernels"], found["basins"], found["rule"]) == (3, 2, rule)
    assert 0 < found["microseconds"] <= found["median"]
