"""Kernels that do not fit on their device are refused, and what is served goes on."""

import asyncio
from dataclasses import replace

import pytest
import torch

from actors.kernel.engines import Engines
from actors.kernel.kernel_group import KernelGroup
from actors.spec import DeploymentSpec, KernelOptions
from constellation.coordizer.coordizer import Coordizer
from constellation.errors import NotEnoughMemory
from constellation.kernel.network.devices import CPU, ON_CPU, ServingDevice
from tests.actors.groups import STACKED, Sky, publish, run, save


def weights_of(spec: DeploymentSpec, *names: str) -> int:
    folders = [spec.artifacts / "kernels" / name for name in names]
    return sum((folder / "weights.safetensors").stat().st_size for folder in folders)


def test_a_release_without_room_beside_the_served_one_is_refused(
    spec: DeploymentSpec, coordizer: Coordizer
) -> None:
    async def story(sky: Sky) -> None:
        # Room for one kernel at a time, as nothing counts what is used here, not for three at once.
        limit = 2 * weights_of(spec, "a")
        sky.group = KernelGroup(spec, ServingDevice(device=CPU, limit_bytes=limit))
        await sky.start(*STACKED)
        before = await sky.ask("a")
        save(spec, coordizer, "a", seed=20)
        save(spec, coordizer, "b", seed=21)
        save(spec, coordizer, "c", seed=22)
        new = publish(spec)
        with pytest.raises(NotEnoughMemory, match="and 2 more") as caught:
            await sky.group.load_next(new)
        assert caught.value.needed_bytes > limit
        assert await sky.ask("a") == before
        assert sky.group.release != new

    run(spec, story)


def test_a_kernel_without_room_is_refused_before_anything_is_read(spec: DeploymentSpec) -> None:
    group = KernelGroup(spec, ServingDevice(device=CPU, limit_bytes=1000))
    with pytest.raises(NotEnoughMemory, match="'a' needs"):
        asyncio.run(group.load(("a",), publish(spec)))


def test_without_a_limit_there_is_always_room() -> None:
    ON_CPU.check_room("a", 2**60)
    assert ON_CPU.used_bytes == 0


def test_what_a_process_claims_of_a_gpu_is_its_part() -> None:
    assert KernelOptions(device="cuda", per_gpu=4).num_gpus == pytest.approx(0.25)
    assert KernelOptions(device="cuda").num_gpus == 1
    assert KernelOptions(device="cpu", per_gpu=4).num_gpus == 0


def test_the_dtype_of_a_gpu_halves_what_weights_need(spec: DeploymentSpec) -> None:
    folder = spec.artifacts / "kernels" / "a"
    limit = weights_of(spec, "a") * 3 // 4
    where = ServingDevice(device=CPU, limit_bytes=limit)
    coordizer = spec.artifacts / "coordizer"
    with pytest.raises(NotEnoughMemory):
        Engines(spec, coordizer, where=where).check_room([folder])
    halved = replace(where, dtype=torch.bfloat16)
    Engines(spec, coordizer, where=halved).check_room([folder])
