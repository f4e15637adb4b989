"""Every kernel of a stack writes what it writes alone, whoever joins, leaves or is beside it."""

import random

import pytest
import torch

from constellation.errors import ConfigError
from constellation.kernel.adapters.attach import attach
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Writing
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.grouped_products import Rows, grouped_product
from constellation.kernel.writing.kernel_stack import KernelStack, can_stack
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel

END = 3
CPU = torch.device("cpu")


def alone(decoder: Decoder, prompt: list[int], sampling: Sampling) -> list[int]:
    generation = Generation(decoder, prompt, sampling, END)
    while generation.step() is not None:
        pass
    return generation.produced


def stack_of(decoders: list[Decoder], *, padded: bool | None = None) -> KernelStack:
    stack = KernelStack(decoders[0], padded=padded)
    assert [stack.put(decoder) for decoder in decoders] == list(range(len(decoders)))
    return stack


def drawn_request(rng: random.Random, index: int) -> tuple[list[int], Sampling]:
    beginning = list(range(10, 10 + rng.choice([0, 0, 6])))
    prompt = [*beginning, *(rng.randrange(61) for _ in range(rng.randint(1, 9)))]
    length = rng.randint(1, 12)
    if index % 3:
        return prompt, Sampling(tokens_max=length, temperature=0)
    return prompt, Sampling(tokens_max=length, seed=index, temperature=1.3, top_p=0.9)


def written_in_company(
    batch: StackedBatch, rng: random.Random, *, num_kernels: int, num_texts: int
) -> list[tuple[Writing, int, list[int], Sampling]]:
    """Write drawn texts of drawn kernels, which join by chance, beside others that leave early."""
    waiting = [(rng.randrange(num_kernels), *drawn_request(rng, n)) for n in range(num_texts)]
    kept, doomed = [], []
    while waiting or len(batch):
        while waiting and rng.random() < 0.6:
            kernel, prompt, sampling = waiting.pop()
            writing = batch.add(prompt, sampling, kernel=kernel)
            kept.append((writing, kernel, prompt, sampling))
            if rng.random() < 0.3:
                other = rng.randrange(num_kernels)
                doomed.append(batch.add(prompt[::-1], sampling, kernel=other))
        if doomed and rng.random() < 0.5:
            batch.remove(doomed.pop())
        batch.step([each[0] for each in kept if rng.random() < 0.8] + doomed)
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_texts_of_many_kernels_are_what_each_writes_alone(
    kind: AttentionKind, padded: bool, make_kernel: MakeKernel
) -> None:
    for seed in range(3):
        rng = random.Random(seed)
        decoders = [make_kernel(kind, seed=10 * seed + n, init_std=0.5) for n in range(5)]
        batch = StackedBatch(
            stack_of(decoders, padded=padded),
            end_id=END,
            prefill_tokens=rng.choice([1, 5, 50]),
            prefixes=PrefixStore(200_000, tokens_min=3) if seed else None,
        )
        kept = written_in_company(batch, rng, num_kernels=5, num_texts=25)
        for writing, kernel, prompt, sampling in kept:
            assert writing.produced == alone(decoders[kernel], prompt, sampling)


def test_kernels_join_and_leave_between_steps_and_disturb_nobody(make_kernel: MakeKernel) -> None:
    for seed in range(3):
        decoders = [make_kernel(seed=20 * seed + n, init_std=0.5) for n in range(9)]
        stack = stack_of(decoders[:1])
        batch = StackedBatch(stack, end_id=None, prefixes=PrefixStore(200_000, tokens_min=3))
        sampling = Sampling(tokens_max=14, temperature=0)
        prompt = [4, 5, 6, 7, 8]
        first = batch.add(prompt, sampling, kernel=0)
        texts = []
        for decoder in decoders[1:]:
            batch.step()
            place = stack.put(decoder)  # grows the storage under what is being written
            texts.append((batch.add(prompt, sampling, kernel=place), decoder))
        while len(batch):
            batch.step()
        batch.drop(4)
        assert stack.put(decoders[0]) == 4
        # What the kernel before it read is not this one's.
        texts.append((batch.add(prompt, sampling, kernel=4), decoders[0]))
        while len(batch):
            batch.step()
        for writing, decoder in [(first, decoders[0]), *texts]:
            assert writing.produced == endless(decoder, prompt, sampling)


def endless(decoder: Decoder, prompt: list[int], sampling: Sampling) -> list[int]:
    generation = Generation(decoder, prompt, sampling, None)
    while generation.step() is not None:
        pass
    return generation.produced


@pytest.mark.parametrize("padded", [False, True])
def test_hidden_states_and_logits_are_those_of_the_kernels(
    padded: bool, make_kernel: MakeKernel
) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        decoders = [make_kernel(seed=seed + n) for n in range(4)]
        stack = stack_of(decoders, padded=padded)
        kernels = torch.randint(4, (7,), generator=generator).tolist()
        tokens_BT = torch.randint(61, (7, 9), generator=generator)
        cache = KVCache(stack.config, batch=7)
        with torch.inference_mode():
            first = stack.hidden_of(tokens_BT[:, :4], cache, kernels)
            rest = stack.hidden_of(tokens_BT[:, 4:], cache, kernels)
            hidden_BTC = torch.cat((first, rest), 1)
            logits_BV = stack.logits_of(hidden_BTC[:, -1], kernels)
            for row, kernel in enumerate(kernels):
                wanted = decoders[kernel].hidden(tokens_BT[row : row + 1])[0]
                torch.testing.assert_close(hidden_BTC[row], wanted, rtol=1e-4, atol=1e-4)
                wanted = decoders[kernel].logits(wanted[-1])
                torch.testing.assert_close(logits_BV[row], wanted, rtol=1e-3, atol=1e-3)


def test_products_are_grouped_by_kernel_in_both_forms() -> None:
    for seed in range(12):
        rng = random.Random(seed)
        weight_NOI = torch.randn(11, 6, 5)
        kernels = [rng.randrange(rng.choice([2, 11])) for _ in range(rng.randint(1, 12))]
        x_BTI = torch.randn(len(kernels), rng.randint(1, 3), 5)
        wanted = torch.stack([x @ weight_NOI[k].t() for k, x in zip(kernels, x_BTI, strict=True)])
        for padded in (False, True):
            rows = Rows(kernels, CPU, padded=padded)
            found = grouped_product(rows.by_kernel(x_BTI), weight_NOI, rows)
            torch.testing.assert_close(rows.as_they_came(found), wanted)


def test_what_is_not_asked_is_not_read() -> None:
    """Numbers that are no numbers, in the matrices of the others, reach nobody."""
    weight_NOI = torch.full((40, 6, 5), float("nan"))
    weight_NOI[[3, 4, 9]] = 1.0
    for padded in (False, True):
        rows = Rows([9, 3, 4, 9], CPU, padded=padded)
        x_BTI = torch.ones(4, 1, 5)
        found = grouped_product(rows.by_kernel(x_BTI), weight_NOI, rows)
        assert torch.equal(found, torch.full((4, 1, 6), 5.0))


def test_one_of_the_kernels_can_be_had_alone(make_kernel: MakeKernel) -> None:
    decoders = [make_kernel(seed=n, basin_outcomes=5) for n in range(3)]
    stack = stack_of(decoders)
    tokens_BT = torch.randint(61, (2, 9), generator=torch.Generator().manual_seed(0))
    for kernel, decoder in enumerate(decoders):
        assert torch.equal(stack.alone(kernel)(tokens_BT), decoder(tokens_BT))
    with pytest.raises(ConfigError, match="alone"):
        stack(tokens_BT)
    with pytest.raises(ConfigError, match="alone"):
        stack.logits(torch.ones(1, 32))


def test_what_cannot_be_stacked_is_refused(make_kernel: MakeKernel) -> None:
    stack = stack_of([make_kernel()])
    others = [make_kernel(**changes) for name, changes in NETWORKS.items() if name != "modern"]
    others.append(make_kernel(frozen_input=True))
    others.append(attach(make_kernel(), LoraConfig(rank=2)).decoder)
    for other in others:
        assert not can_stack(other)
        with pytest.raises(ConfigError, match="by itself"):
            KernelStack(other)
    others += [make_kernel(width=64), make_kernel("dot"), make_kernel().to(torch.bfloat16)]
    for other in others:
        assert not stack.fits(other)
        with pytest.raises(ConfigError, match="architecture"):
            stack.put(other)
