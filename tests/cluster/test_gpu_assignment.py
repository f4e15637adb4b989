"""Kernels run on GPUs where there are any, and a laptop without one is as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.spec import KernelOptions
from cluster.gpu_assignment import kernels_on
from constellation.errors import ConfigError


def test_without_a_gpu_nothing_changes() -> None:
    auto = KernelOptions(device="auto")
    assert kernels_on(auto, num_gpus=0, has_cuda=True, num_kernels=8) == KernelOptions(device="cpu")
    assert KernelOptions(device="cpu").num_gpus == 0


@pytest.mark.parametrize("options", [{"weights": "int8"}, {}])
def test_gpus_that_cannot_be_used_are_left_alone(options: dict[str, str]) -> None:
    auto = KernelOptions(device="auto", **options)  # type: ignore[arg-type]
    chosen = kernels_on(auto, num_gpus=1, has_cuda=options != {}, num_kernels=8)
    assert chosen.device == "cpu"
    assert chosen.per_actor == 1


@given(st.integers(1, 16), st.integers(1, 8), st.integers(1, 240), st.integers(1, 240))
def test_kernels_fit_into_the_processes_that_gpus_have_room_for(
    num_gpus: int, per_gpu: int, num_kernels: int, per_actor: int
) -> None:
    auto = KernelOptions(device="auto", per_gpu=per_gpu, per_actor=per_actor)
    chosen = kernels_on(auto, num_gpus=num_gpus, has_cuda=True, num_kernels=num_kernels)
    assert chosen.device == "cuda"
    num_processes = -(-num_kernels // chosen.per_actor)
    assert num_processes * chosen.num_gpus <= num_gpus + 1e-9
    assert chosen.per_actor >= per_actor


def test_every_replica_has_a_process_of_its_own() -> None:
    auto = KernelOptions(device="auto", replicas=2)
    chosen = kernels_on(auto, num_gpus=5, has_cuda=True, num_kernels=8)
    assert chosen.per_actor == 4
    with pytest.raises(ConfigError, match=r"replicas is 2.*1 processes.*per_gpu"):
        kernels_on(auto, num_gpus=1, has_cuda=True, num_kernels=8)


def test_one_process_for_every_kernel_on_request() -> None:
    auto = KernelOptions(device="auto", per_gpu=8)
    chosen = kernels_on(auto, num_gpus=1, has_cuda=True, num_kernels=8)
    assert (chosen.per_actor, chosen.num_gpus) == (1, 1 / 8)


def test_what_cannot_be_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigError, match=r"finds no GPU.*'cpu'"):
        kernels_on(KernelOptions(device="cuda"), num_gpus=0, has_cuda=True, num_kernels=1)
    rounded = KernelOptions(device="cuda", weights="int8")
    with pytest.raises(ConfigError, match=r"'int8'.*'bfloat16'"):
        kernels_on(rounded, num_gpus=1, has_cuda=True, num_kernels=1)
