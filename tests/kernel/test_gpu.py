"""Kernels on a GPU write what they write on the CPU; run with `pytest -m gpu`.

In float32, without TF32, tokens are compared; in bfloat16 logits are.
"""

from collections.abc import Callable, Sequence

import pytest
import torch

from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.devices import move, open_device
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.recorded_steps import record_cuda, record_nothing
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel
from tests.kernel.test_far_device import GREEDY, SAMPLED, write
from tests.kernel.text_stories import stories

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU"),
]

Put = Callable[[Decoder], Decoder]


def there(decoder: Decoder) -> Decoder:
    move(decoder, torch.device("cuda", 0))
    return decoder


def both(
    make: Callable[[Put], Batch], samplings: Sequence[Sampling], kernels: Sequence[int] = (0,)
) -> None:
    near, near_logprobs = write(make(lambda decoder: decoder), samplings, kernels, None)
    far, far_logprobs = write(make(there), samplings, kernels, None)
    assert far == near
    assert far_logprobs == pytest.approx(near_logprobs, abs=2e-3)


@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("network", NETWORKS)
def test_texts_of_every_network_are_the_same_on_a_gpu(
    network: str, samplings: list[Sampling], make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        return Batch(put(make_kernel(**NETWORKS[network]).eval()), end_id=0)

    both(make, samplings)


@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_texts_of_stacked_kernels_are_the_same_on_a_gpu(
    samplings: list[Sampling], make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        kernels = [put(make_kernel(seed=seed).eval()) for seed in range(3)]
        stack = KernelStack(kernels[0])
        for kernel in kernels:
            stack.put(kernel)
        return StackedBatch(stack, end_id=0)

    both(make, samplings, kernels=(0, 2))


@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_texts_of_adapters_are_the_same_on_a_gpu(
    samplings: list[Sampling], make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        base = put(make_kernel().eval())
        stack = AdapterStack(base)
        for seed, config in enumerate((LoraConfig(rank=2), LoraConfig(rank=3), CoordinateConfig())):
            adapted = attach(base, config, seed=seed)
            state = {name: torch.full(x.shape, 0.1 + seed) for name, x in adapted.state().items()}
            adapted.load(state)
            stack.put(adapted.decoder)
        return StackedBatch(stack, end_id=0)

    both(make, samplings, kernels=(0, 1, 2))


@pytest.mark.parametrize("network", ["modern", "post_norm", "recurrent"])
def test_cuda_graphs_write_what_computed_steps_write(network: str, make_kernel: MakeKernel) -> None:
    decoder = there(make_kernel(**NETWORKS[network]).eval())
    for seed in range(2):
        computed = Batch(decoder, end_id=0, planned_rows=6, record=record_nothing)
        recorded = Batch(decoder, end_id=0, planned_rows=6, record=record_cuda)
        assert stories(recorded, seed=seed) == stories(computed, seed=seed)
        assert recorded._recorded is not None


def test_cuda_graphs_of_a_stack_write_what_computed_steps_write(make_kernel: MakeKernel) -> None:
    kernels = [there(make_kernel(seed=seed).eval()) for seed in range(7)]
    stack = KernelStack(kernels[0])
    for kernel in kernels:
        stack.put(kernel)
    for seed in range(2):
        computed = StackedBatch(stack, end_id=0, planned_rows=6, record=record_nothing)
        recorded = StackedBatch(stack, end_id=0, planned_rows=6, record=record_cuda)
        wanted = stories(computed, seed=seed, num_kernels=7)
        assert stories(recorded, seed=seed, num_kernels=7) == wanted
        assert recorded._recorded is not None


def test_logits_in_bfloat16_are_near_those_in_float32(make_kernel: MakeKernel) -> None:
    tokens_BT = torch.arange(1, 20).unsqueeze(0)
    near = make_kernel().eval()
    far = make_kernel().eval()
    move(far, torch.device("cuda", 0), torch.bfloat16)
    assert far.coupling is not None
    far.coupling.float()
    with torch.inference_mode():
        wanted, found = near(tokens_BT), far(tokens_BT.to("cuda")).float().cpu()
    assert float((found - wanted).abs().max()) < 0.1 * float(wanted.abs().max())


def test_a_process_is_held_to_its_part_of_the_memory() -> None:
    where = open_device("cuda", per_gpu=100, context_bytes=0)
    try:
        assert where.limit_bytes is not None
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(2 * where.limit_bytes, dtype=torch.uint8, device=where.device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
