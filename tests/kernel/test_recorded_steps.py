"""Recorded steps write what computed ones write, at the smallest sizes that hold the texts.

The steps are computed anew at each replay, on the CPU; recording needs a GPU (`test_gpu.py`).
"""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.slots import SlotCache
from constellation.kernel.writing import recorded_steps
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.grouped_products import bucket
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.recorded_steps import (
    Step,
    record_nothing,
    recordable,
    visible_bucket,
)
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel
from tests.kernel.test_adapters import disturbed
from tests.kernel.text_stories import stories

PLAIN = ["modern", "post_norm", "recurrent"]


@given(st.integers(1, 256), st.data())
def test_a_bucket_of_rows_holds_them_and_is_no_larger_than_needed(
    rows_max: int, data: st.DataObject
) -> None:
    num_rows = data.draw(st.integers(1, rows_max))
    size = bucket(num_rows, rows_max)
    assert num_rows <= size <= rows_max
    assert size == rows_max or (size < 2 * num_rows and size.bit_count() == 1)


@given(st.integers(1, 9000), st.data())
def test_a_bucket_of_positions_holds_them_within_the_context(
    context: int, data: st.DataObject
) -> None:
    num_visible = data.draw(st.integers(1, context))
    size = visible_bucket(num_visible, context)
    assert num_visible <= size <= context
    assert size in (context, 256) or size < 2 * num_visible


@pytest.mark.parametrize("network", PLAIN)
def test_texts_that_come_and_go_are_what_computed_steps_write(
    network: str, make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_steps, "VISIBLE_LEAST", 4)
    decoder = make_kernel(**NETWORKS[network]).eval()
    for seed in range(2):
        computed = Batch(decoder, end_id=0)
        recorded = Batch(decoder, end_id=0, planned_rows=6, record=record_nothing)
        assert stories(recorded, seed=seed) == stories(computed, seed=seed)
        steps = recorded._recorded
        assert steps is not None
        assert len({rows for rows, _ in steps.sizes}) > 1
        assert len({visible for _, visible in steps.sizes}) > 1


@pytest.mark.parametrize("num_kernels", [2, 7])
def test_texts_of_a_stack_are_what_computed_steps_write(
    num_kernels: int, make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_steps, "VISIBLE_LEAST", 4)
    stack = KernelStack(make_kernel().eval())
    for seed in range(num_kernels):
        stack.put(make_kernel(seed=seed).eval())
    for seed in range(3):
        computed = StackedBatch(stack, end_id=0)
        recorded = StackedBatch(stack, end_id=0, planned_rows=6, record=record_nothing)
        wanted = stories(computed, seed=seed, num_kernels=num_kernels)
        assert stories(recorded, seed=seed, num_kernels=num_kernels) == wanted
        steps = recorded._recorded
        assert steps is not None
        lanes = {lanes for _, _, lanes, _ in steps.sizes}
        assert len(stack._lookup.values("embedding")) in lanes
        assert num_kernels == 2 or lanes & {1, 2}  # few of many are gathered


def test_steps_of_a_stack_are_recorded_anew_when_weights_moved(make_kernel: MakeKernel) -> None:
    made: list[Step] = []

    def record(step: Step) -> Step:
        made.append(step)
        return step

    stack = KernelStack(make_kernel().eval())
    stack.put(make_kernel().eval())
    batch = StackedBatch(stack, end_id=None, planned_rows=2, record=record)
    text = batch.add([1, 2, 3], Sampling(temperature=0, tokens_max=12))
    for _ in range(4):
        batch.step()
    assert len(made) == 1
    stack.put(make_kernel(seed=1).eval())
    for _ in range(4):
        batch.step()
    assert len(made) == 2
    alone = Batch(make_kernel().eval(), end_id=None)
    wanted = alone.add([1, 2, 3], Sampling(temperature=0, tokens_max=12))
    for _ in range(8):
        alone.step()
    assert text.produced == wanted.produced


def test_texts_of_adapters_are_what_computed_steps_write(make_kernel: MakeKernel) -> None:
    base = make_kernel().eval()
    stack = AdapterStack(base)
    for seed in range(5):
        stack.put(disturbed(attach(base, LoraConfig(rank=2)), seed).decoder)
    for seed in range(2):
        computed = StackedBatch(stack, end_id=0)
        recorded = StackedBatch(stack, end_id=0, planned_rows=6, record=record_nothing)
        wanted = stories(computed, seed=seed, num_kernels=5)
        assert stories(recorded, seed=seed, num_kernels=5) == wanted
        assert recorded._recorded is not None
        assert recorded._recorded.sizes


def test_sizes_that_were_not_used_for_longest_are_forgotten(
    make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_steps, "SIZES_MAX", 1)
    batch = Batch(make_kernel().eval(), end_id=None, planned_rows=4, record=record_nothing)
    sampling = Sampling(temperature=0, tokens_max=12)
    for _ in range(3):
        batch.add([1, 2, 3], sampling)
        batch.step()
        batch.step()
    assert batch._recorded is not None
    assert batch._recorded.sizes == [(4, 24)]


def test_every_size_is_recorded_once_and_anew_when_the_storage_moved(
    make_kernel: MakeKernel,
) -> None:
    made: list[Step] = []

    def record(step: Step) -> Step:
        made.append(step)
        return step

    batch = Batch(make_kernel().eval(), end_id=None, planned_rows=2, record=record)
    sampling = Sampling(temperature=0, tokens_max=12)
    texts = [batch.add([1, 2, 3], sampling) for _ in range(2)]
    for _ in range(5):
        batch.step()
    assert len(made) == 1
    texts.append(batch.add([4, 5], sampling))  # more than were planned
    for _ in range(5):
        batch.step()
    assert len(made) == 3  # two rows anew while the third text was read, then three
    assert texts[0].produced == texts[1].produced


def test_a_step_that_cannot_be_recorded_is_computed(
    make_kernel: MakeKernel, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(step: Step) -> Step:
        raise RuntimeError("operation not permitted when stream is capturing")

    decoder = make_kernel().eval()
    batch = Batch(decoder, end_id=None, planned_rows=2, record=refuse)
    plain = Batch(decoder, end_id=None)
    sampling = Sampling(temperature=0, tokens_max=6)
    text, wanted = (each.add([1, 2, 3], sampling) for each in (batch, plain))
    for _ in range(8):
        batch.step()
        plain.step()
    assert text.produced == wanted.produced
    assert caplog.text.count("steps are not recorded") == 1


def test_a_padded_step_leaves_what_other_texts_have_read(make_kernel: MakeKernel) -> None:
    decoder = make_kernel().eval()
    batch = Batch(decoder, end_id=None, planned_rows=4, record=record_nothing)
    sampling = Sampling(temperature=0, tokens_max=12)
    first, second, _ = (batch.add([n + 1, 2, 3], sampling) for n in range(3))
    batch.step()
    assert second.row is not None
    before = kept(batch._slots, second.row)
    batch.step([first])
    assert torch.equal(kept(batch._slots, second.row), before)


def kept(slots: SlotCache, row: int) -> Tensor:
    return slots.copy_out(row)


def test_only_kernels_whose_steps_have_one_shape_are_recorded(make_kernel: MakeKernel) -> None:
    kernels = {name: make_kernel(**changes).eval() for name, changes in NETWORKS.items()}
    assert [name for name, decoder in kernels.items() if recordable(decoder)] == PLAIN
    assert recordable(KernelStack(kernels["modern"]))
    assert Batch(kernels["adaptive"], end_id=0, record=record_nothing)._recorded is None
