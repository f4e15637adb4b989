"""The benchmark of placement measures what it says, at a size that takes a moment."""

from benchmarks.placement import measure


def test_few_kernels_on_few_nodes_are_placed_evenly_apart_and_moved_for_a_reason_only() -> None:
    found = measure(24, 6, 12, seed=1)
    assert found["neighbour_pairs"] == found["moved_needlessly"] == 0
    assert 1 <= found["fullest_ratio"] < 1.5
    assert found["fullest_rebalanced"] <= found["fullest_after"]
    assert 0.9 < found["fill_at_refusal"] <= 1
