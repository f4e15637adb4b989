"""Texts on another device are those of the CPU, and one step moves numbers out once.

The device is Python's own (`far_device.py`): it refuses to mix its tensors with those of the CPU.
"""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing import recorded_steps
from constellation.kernel.writing.batch import Batch, Prediction
from constellation.kernel.writing.kernel_stack import KernelStack
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.scoring import token_nats
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel
from tests.kernel.far_device import Crossings, FarTensor, far_device, moved

GREEDY = [Sampling(temperature=0.0, tokens_max=7)] * 3
SAMPLED = [
    Sampling(temperature=1.0, seed=5, top_p=0.9, top_k=40, min_p=0.01, tokens_max=7),
    Sampling(
        temperature=0.7,
        seed=9,
        repetition_penalty=1.2,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={3: 1.0},
        logprobs=2,
        tokens_max=7,
        tokens_min=3,
    ),
    Sampling(temperature=0.0, logprobs=4, tokens_max=7),
]
PROMPTS = ([1, 2, 3, 4], list(range(1, 12)), [9])

Put = Callable[[Decoder], Decoder]


def write(
    batch: Batch, samplings: Sequence[Sampling], kernels: Sequence[int], moved: Crossings | None
) -> tuple[object, list[float]]:
    """Return tokens and log-probabilities; sees that no step moves numbers out more than once."""
    texts = [
        batch.add(prompt, sampling, kernel=kernel)
        for kernel in kernels
        for prompt, sampling in zip(PROMPTS, samplings, strict=True)
    ]
    likely: list[tuple[int, list[int]]] = []
    logprobs: list[float] = []
    for _ in range(9):
        before = 0 if moved is None else moved.out
        steps = batch.step()
        assert moved is None or moved.out - before <= 1
        for written in sorted(steps, key=lambda step: texts.index(step.writing)):
            if written.logprob is not None:
                place = texts.index(written.writing)
                likely.append((place, [token for token, _ in written.top]))
                logprobs += [written.logprob, *(logprob for _, logprob in written.top)]
    return ([text.produced for text in texts], likely), logprobs


def both(
    make: Callable[[Put], Batch], samplings: Sequence[Sampling], kernels: Sequence[int] = (0,)
) -> None:
    """Compare what a batch writes on the CPU and on the far device."""
    near, near_logprobs = write(make(lambda decoder: decoder), samplings, kernels, None)
    with far_device() as crossings:
        far, far_logprobs = write(make(moved), samplings, kernels, crossings)
    assert far == near
    assert far_logprobs == pytest.approx(near_logprobs, abs=2e-4)


@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("network", NETWORKS)
def test_texts_of_every_network_are_the_same_elsewhere(
    network: str, samplings: list[Sampling], make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        decoder = put(make_kernel(**NETWORKS[network]).eval())
        return Batch(decoder, end_id=0, prefixes=PrefixStore(2**20, tokens_min=2))

    both(make, samplings)


@pytest.mark.parametrize("network", ["modern", "post_norm", "recurrent"])
def test_texts_by_recorded_steps_are_the_same_elsewhere(
    network: str, make_kernel: MakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_steps, "VISIBLE_LEAST", 4)

    def make(put: Put) -> Batch:
        decoder = put(make_kernel(**NETWORKS[network]).eval())
        record = None if put is not moved else recorded_steps.record_nothing
        batch = Batch(decoder, end_id=0, planned_rows=3, record=record)
        batches.append(batch)
        return batch

    batches: list[Batch] = []
    both(make, SAMPLED)
    steps = batches[1]._recorded
    assert steps is not None
    assert steps.sizes == [(3, 4), (3, 16), (3, 24)]


@pytest.mark.parametrize("records", [False, True], ids=["computed", "recorded"])
@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_texts_of_stacked_kernels_are_the_same_elsewhere(
    samplings: list[Sampling], records: bool, make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        kernels = [put(make_kernel(seed=seed).eval()) for seed in range(3)]
        stack = KernelStack(kernels[0], padded=True)
        for kernel in kernels:
            stack.put(kernel)
        record = recorded_steps.record_nothing if put is moved and records else None
        batch = StackedBatch(stack, end_id=0, planned_rows=6, record=record)
        assert (batch._recorded is not None) == (put is moved and records)
        return batch

    both(make, samplings, kernels=(0, 2))


@pytest.mark.parametrize("samplings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_texts_of_adapters_are_the_same_elsewhere(
    samplings: list[Sampling], make_kernel: MakeKernel
) -> None:
    def make(put: Put) -> Batch:
        base = put(make_kernel().eval())
        stack = AdapterStack(base)
        for seed, config in enumerate((LoraConfig(rank=2), LoraConfig(rank=3), CoordinateConfig())):
            adapted = attach(base, config, seed=seed)
            numbers = {
                name: torch.full(tensor.shape, 0.1 * (seed + 1))
                for name, tensor in adapted.state().items()
            }
            adapted.load(numbers)
            stack.put(adapted.decoder)
        stack.put(base)
        record = recorded_steps.record_nothing if put is moved else None
        batches.append(StackedBatch(stack, end_id=0, planned_rows=12, record=record))
        return batches[-1]

    batches: list[StackedBatch] = []
    both(make, samplings, kernels=(0, 1, 2, 3))
    assert batches[1]._recorded is not None
    assert batches[1]._recorded.sizes == []  # adapters of several families in every step
    both(make, samplings, kernels=(1,))
    assert batches[3]._recorded is not None
    assert batches[3]._recorded.sizes == [(4, 24, 1)]


def test_predictions_leave_the_device_together_with_what_was_drawn(
    make_kernel: MakeKernel,
) -> None:
    def predicted(put: Put, crossings: Crossings | None) -> tuple[list[float], list[int]]:
        batch = Batch(put(make_kernel().eval()), end_id=0)
        for prompt in PROMPTS:
            batch.predict(prompt)
        drawn = batch.add(PROMPTS[1], SAMPLED[1])
        logits: list[float] = []
        for _ in range(4):
            before = 0 if crossings is None else crossings.out
            steps = batch.step()
            assert crossings is None or crossings.out - before <= 1
            for written in sorted(steps, key=lambda w: len(w.writing.prompt_ids)):
                if isinstance(written.writing, Prediction):
                    assert written.logits_V is not None
                    assert type(written.logits_V) is Tensor
                    logits += written.logits_V.tolist()
                    written.writing.tell(5)
        return logits, drawn.produced

    near_logits, near = predicted(lambda decoder: decoder, None)
    with far_device() as crossings:
        far_logits, far = predicted(moved, crossings)
    assert far == near
    assert far_logits == pytest.approx(near_logits, abs=2e-4)


def test_scores_are_the_same_elsewhere(make_kernel: MakeKernel) -> None:
    near = token_nats(make_kernel().eval(), list(range(30)))
    with far_device():
        far = token_nats(moved(make_kernel().eval()), list(range(30)))
    torch.testing.assert_close(far, near)


def test_the_device_refuses_the_tensors_of_another_and_counts() -> None:
    with far_device() as crossings:
        far = torch.tensor([1.0, 2.0], device="far")
        assert isinstance(far, FarTensor)
        with pytest.raises(RuntimeError, match="two devices"):
            far + torch.ones(2)
        assert (crossings.into, crossings.out) == (1, 0)
        assert (far + torch.ones(2, device="far")).tolist() == [2.0, 3.0]
        assert float(far.sum()) == 3.0
        assert far.cpu().tolist() == [1.0, 2.0]
        assert (crossings.into, crossings.out) == (1, 3)
        far.copy_(torch.zeros(2))
        assert crossings.into == 2
        with pytest.raises(TypeError, match="numpy"):
            far.numpy()
