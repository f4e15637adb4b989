"""The plan of a GPU's memory adds up, and what is said to fit fits."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from constellation.errors import ConfigError
from constellation.kernel.network.config import PRESETS
from constellation.runtime.capacity import DeviceLoad, plan_device

GB = 10**9

loads = st.builds(
    DeviceLoad,
    weights_bytes=st.integers(1, 10 * GB),
    slots=st.integers(1, 256),
    context=st.integers(1, 8192),
    kv_bytes_per_token=st.integers(1, 2**20),
    vocab_size=st.integers(1, 200_000),
    prefix_bytes=st.integers(0, GB),
    reloads=st.booleans(),
)
memories = st.integers(0, 200 * GB)


@given(loads, memories, st.integers(1, 8))
def test_as_many_fit_as_are_said_to_and_not_one_more(
    load: DeviceLoad, memory_bytes: int, per_gpu: int
) -> None:
    fitting = plan_device(load, memory_bytes=memory_bytes, num_kernels=0, per_gpu=per_gpu)
    most = plan_device(
        load, memory_bytes=memory_bytes, num_kernels=fitting.num_fitting, per_gpu=per_gpu
    )
    more = plan_device(
        load, memory_bytes=memory_bytes, num_kernels=fitting.num_fitting + 1, per_gpu=per_gpu
    )
    assert most.fits
    assert most.num_kernels == 0 or most.total_bytes <= most.limit_bytes
    assert not more.fits
    assert more.total_bytes > more.limit_bytes


@given(loads, memories, st.integers(0, 240))
def test_the_parts_are_those_of_every_kernel(
    load: DeviceLoad, memory_bytes: int, num_kernels: int
) -> None:
    plan = plan_device(load, memory_bytes=memory_bytes, num_kernels=num_kernels)
    assert plan.total_bytes == load.fixed_bytes + num_kernels * load.bytes_per_kernel
    assert plan.weights_bytes >= num_kernels * load.weights_bytes
    assert plan.reload_bytes in (0, plan.weights_bytes + plan.cache_bytes)


@given(loads, memories, st.integers(1, 8))
def test_shared_gpus_hold_no_more_than_whole_ones(
    load: DeviceLoad, memory_bytes: int, per_gpu: int
) -> None:
    whole = plan_device(load, memory_bytes=memory_bytes, num_kernels=1)
    part = plan_device(load, memory_bytes=memory_bytes, num_kernels=1, per_gpu=per_gpu)
    assert per_gpu * part.limit_bytes <= whole.limit_bytes
    assert per_gpu * part.num_fitting <= whole.num_fitting


@given(loads, memories)
def test_without_room_for_a_reload_no_fewer_fit(load: DeviceLoad, memory_bytes: int) -> None:
    with_room, without = (
        plan_device(replace(load, reloads=reloads), memory_bytes=memory_bytes, num_kernels=1)
        for reloads in (True, False)
    )
    assert without.num_fitting >= with_room.num_fitting


def test_240_kernels_of_23_million_parameters_fit_one_large_gpu() -> None:
    config = PRESETS["qig-23m"]
    load = DeviceLoad(
        weights_bytes=2 * config.num_parameters(),
        slots=4,
        context=config.context,
        kv_bytes_per_token=config.kv_bytes_per_token(torch.bfloat16),
        vocab_size=config.vocab_size,
        prefix_bytes=16 * 2**20,
    )
    assert 11 * GB < 240 * load.weights_bytes < 11.2 * GB
    plan = plan_device(load, memory_bytes=140 * GB, num_kernels=240)
    assert plan.fits
    assert 30 * GB < plan.total_bytes < 60 * GB


@pytest.mark.parametrize(
    "wrong",
    [
        {"weights_bytes": 0},
        {"slots": 0},
        {"context": 0},
        {"kv_bytes_per_token": 0},
        {"vocab_size": 0},
        {"prefix_bytes": -1},
    ],
)
def test_sizes_out_of_range_are_refused_by_name(wrong: dict[str, int]) -> None:
    load = DeviceLoad(
        weights_bytes=1, slots=1, context=1, kv_bytes_per_token=1, vocab_size=1, prefix_bytes=0
    )
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        replace(load, **wrong)
    with pytest.raises(ConfigError, match="per_gpu"):
        plan_device(load, memory_bytes=1, num_kernels=1, per_gpu=0)
