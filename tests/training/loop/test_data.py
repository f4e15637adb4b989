"""Batches are a function of (seed, step), and all workers together see what one would."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError, TrainingError
from training.batches import Windows, join_documents


def counted(num_tokens: int, context: int = 8, seed: int = 0) -> Windows:
    return Windows.of(np.arange(num_tokens, dtype=np.int32), context=context, seed=seed)


def test_documents_are_joined_with_the_end_token_around_each() -> None:
    joined = join_documents([[5, 6], np.array([7], dtype=np.int32), []], end_id=0)
    assert joined.tolist() == [0, 5, 6, 0, 7, 0, 0]
    assert joined.dtype == np.int32


def test_targets_are_the_inputs_one_position_later() -> None:
    inputs, targets = counted(200).batch(3, 4)
    assert inputs.shape == targets.shape == (4, 8)
    assert inputs.dtype == torch.int64
    assert torch.equal(targets, inputs + 1)


@given(st.integers(0, 50), st.integers(0, 5))
def test_a_batch_does_not_depend_on_what_was_asked_before(step: int, seed: int) -> None:
    fresh, used = counted(300, seed=seed), counted(300, seed=seed)
    for other in (7, 0, 31):
        used.batch(other, 3)
    assert torch.equal(fresh.batch(step, 3)[0], used.batch(step, 3)[0])


@given(st.integers(17, 400), st.integers(0, 3))
def test_an_epoch_shows_every_window_once(num_tokens: int, seed: int) -> None:
    windows = counted(num_tokens, seed=seed)
    starts = windows.batch(0, windows.per_epoch)[0][:, 0].tolist()
    offset = min(starts)
    assert sorted(starts) == [offset + 8 * i for i in range(windows.per_epoch)]
    assert 0 <= offset < 8


def test_epochs_and_seeds_differ_in_order() -> None:
    windows = counted(2000)
    epochs = [windows.batch(i, windows.per_epoch)[0].tolist() for i in range(3)]
    other = counted(2000, seed=1).batch(0, windows.per_epoch)[0].tolist()
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert other != epochs[0]


@given(st.integers(1, 9), st.integers(1, 4), st.integers(0, 20))
def test_the_parts_of_all_workers_are_the_batch_of_one(
    batch_size: int, world: int, step: int
) -> None:
    windows = counted(300)
    whole = windows.batch(step, batch_size)[0].tolist()
    parts = [
        windows.batch(step, batch_size, rank=rank, world=world)[0].tolist() for rank in range(world)
    ]
    assert sorted(whole) == sorted(row for part in parts for row in part)


def test_a_short_stream_is_repeated_and_one_without_a_target_is_refused() -> None:
    windows = counted(5)
    assert windows.per_epoch >= 1
    inputs, targets = windows.batch(0, 2)
    assert torch.equal(targets % 5, (inputs + 1) % 5)
    with pytest.raises(TrainingError, match="1 tokens"):
        counted(1)
    with pytest.raises(ConfigError):
        counted(100, context=0)
