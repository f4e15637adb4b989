"""Replay: so much of other domains' text as was asked for, whole documents, each once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.text_replay import sample_replay

DOCUMENTS = [np.full(length, length, dtype=np.int32) for length in range(1, 60)]


@given(share=st.floats(0.01, 0.6), own=st.integers(1, 900), name=st.text(max_size=5))
def test_the_share_is_reached_within_a_document(share: float, own: int, name: str) -> None:
    found = sample_replay(DOCUMENTS, own_tokens=own, share=share, name=name)
    lengths = [len(document) for document in found]
    assert len(set(lengths)) == len(lengths), "no document comes twice"
    wanted = own * share / (1 - share)
    assert wanted <= sum(lengths) < wanted + max(map(len, DOCUMENTS))


def test_it_is_the_kernels_own_draw() -> None:
    draws = [
        [len(one) for one in sample_replay(DOCUMENTS, own_tokens=500, share=0.5, name=name)]
        for name in ("a", "a", "b")
    ]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("share", [0.0, 0.9])
def test_none_and_all_there_is(share: float) -> None:
    found = sample_replay(DOCUMENTS, own_tokens=10_000, share=share, name="a")
    assert len(found) == (len(DOCUMENTS) if share else 0)
