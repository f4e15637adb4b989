"""Passages are whole documents joined, cut to one length, and share none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from constellation.kernel.observables.passages import passages

END = 0


@given(
    st.lists(st.integers(1, 30), max_size=40),
    st.integers(1, 50),
    st.integers(1, 5),
    st.integers(0, 9),
)
def test_no_two_passages_share_a_document(
    sizes: list[int], length: int, wanted: int, seed: int
) -> None:
    """Every token names its document, so sharing would be seen."""
    documents = [np.full(size, number, np.int32) for number, size in enumerate(sizes, start=1)]
    made = passages(documents, length=length, num_passages=wanted, end_id=END, seed=seed)
    assert made.shape[1] == length
    assert len(made) <= wanted
    owners = [set(row.tolist()) - {END} for row in made]
    assert sum(map(len, owners)) == len(set().union(*owners))
    for row in made:
        assert row[0] == END
        inner = np.flatnonzero(np.diff(row) != 0)
        assert all(END in (row[at], row[at + 1]) for at in inner)


def test_as_many_passages_are_made_as_the_text_allows() -> None:
    documents = [np.full(9, number, np.int32) for number in range(1, 8)]
    assert len(passages(documents, length=20, num_passages=9, end_id=END)) == 3
    assert len(passages(documents, length=20, num_passages=2, end_id=END)) == 2
    assert passages([], length=20, num_passages=2, end_id=END).shape == (0, 20)


def test_the_seed_decides_which_documents_are_read() -> None:
    documents = [np.full(9, number, np.int32) for number in range(1, 20)]
    first, again, other = (
        passages(documents, length=10, num_passages=2, end_id=END, seed=seed) for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
