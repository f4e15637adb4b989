"""Adapters over one base write together what each writes alone, whoever joins or leaves."""

import random

import pytest
import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.adapters.adapter_rows import gather
from constellation.kernel.adapters.adapter_stack import AdapterStack
from constellation.kernel.adapters.attach import AdapterConfig, attach
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.fast_products import Weights, prepare
from constellation.kernel.writing.generation import Generation
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.scoring import token_nats
from constellation.kernel.writing.stacked_batch import StackedBatch
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel
from tests.kernel.test_adapters import disturbed
from tests.kernel.test_stack import written_in_company

END = 3
CPU = torch.device("cpu")
GREEDY = Sampling(tokens_max=14, temperature=0)

CONFIGS: tuple[AdapterConfig | None, ...] = (
    LoraConfig(rank=1),
    LoraConfig(rank=3),
    LoraConfig(rank=3, alpha=5.0),
    LoraConfig(rank=6, alpha=1.0, targets=("out", "down")),
    CoordinateConfig(num_coordinates=8),
    CoordinateConfig(num_coordinates=8),
    CoordinateConfig(num_coordinates=5),
    None,
)
"""Kinds, ranks, factors and targets side by side; None is the base itself."""


def adapters(base: Decoder, seed: int) -> list[Decoder]:
    """Return the base with each of the adapters, numbers drawn."""
    return [
        base
        if config is None
        else disturbed(attach(base, config, seed=seed + n), 10 * seed + n).decoder
        for n, config in enumerate(CONFIGS)
    ]


def stack_of(base: Decoder, decoders: list[Decoder], weights: Weights = "float32") -> AdapterStack:
    stack = AdapterStack(base, weights=weights)
    assert [stack.put(decoder) for decoder in decoders] == list(range(len(decoders)))
    return stack


def alone(decoder: Decoder, prompt: list[int], sampling: Sampling, end_id: int | None) -> list[int]:
    generation = Generation(decoder, prompt, sampling, end_id)
    while generation.step() is not None:
        pass
    return generation.produced


@pytest.mark.slow
@pytest.mark.parametrize("network", ["modern", "post_norm", "recurrent"])
def test_texts_of_many_adapters_are_what_each_writes_alone(
    network: str, make_kernel: MakeKernel
) -> None:
    for seed in range(3 if network == "modern" else 1):
        rng = random.Random(seed)
        base = make_kernel(seed=seed, init_std=0.4, **NETWORKS[network]).eval()
        decoders = adapters(base, seed)
        batch = StackedBatch(
            stack_of(base, decoders),
            end_id=END,
            prefill_tokens=rng.choice([1, 5, 50]),
            prefixes=PrefixStore(200_000, tokens_min=3) if seed != 1 else None,
        )
        kept = written_in_company(batch, rng, num_kernels=len(decoders), num_texts=16)
        for writing, kernel, prompt, sampling in kept:
            assert writing.produced == alone(decoders[kernel], prompt, sampling, END)


@pytest.mark.slow
def test_adapters_join_and_leave_between_steps_and_disturb_nobody(make_kernel: MakeKernel) -> None:
    prompt = [4, 5, 6, 7, 8]
    for seed in range(3):
        base = make_kernel(seed=seed, init_std=0.4).eval()
        first, *others = adapters(base, seed)
        stack = stack_of(base, [first])
        batch = StackedBatch(stack, end_id=None, prefixes=PrefixStore(200_000, tokens_min=3))
        texts = [(batch.add(prompt, GREEDY, kernel=0), first)]
        for decoder in others:
            batch.step()
            texts.append((batch.add(prompt, GREEDY, kernel=stack.put(decoder)), decoder))
        while len(batch):
            batch.step()
        batch.drop(2)
        batch.drop(5)
        lasting = batch.add(prompt, GREEDY, kernel=1)
        batch.step()
        for place, decoder in ((2, others[3]), (5, others[0])):
            assert stack.put(decoder) == place
            # What the kernel before it read is not this one's.
            texts.append((batch.add(prompt, GREEDY, kernel=place), decoder))
        texts.append((lasting, others[0]))
        while len(batch):
            batch.step()
        for writing, decoder in texts:
            assert writing.produced == alone(decoder, prompt, GREEDY, None)


@pytest.mark.slow
def test_what_is_chosen_elsewhere_is_predicted_as_by_each_alone(make_kernel: MakeKernel) -> None:
    for seed in range(3):
        base = make_kernel(seed=seed).eval()
        decoders = adapters(base, seed)
        together = StackedBatch(stack_of(base, decoders), end_id=None)
        batches = [Batch(decoder, end_id=None) for decoder in decoders]
        prompt = [seed + 1, 7, 9, 11]
        joint = [together.predict(prompt, is_scored=True, kernel=n) for n in range(len(decoders))]
        single = [batch.predict(prompt, is_scored=True) for batch in batches]
        for token in (5, 17, 30):
            found = {written.writing: written.logits_V for written in together.step(joint)}
            for one, other, batch in zip(joint, single, batches, strict=True):
                (wanted,) = batch.step([other])
                torch.testing.assert_close(found[one], wanted.logits_V, rtol=1e-3, atol=1e-3)
                assert one.prompt_nats == pytest.approx(other.prompt_nats, rel=1e-3)
                one.tell(token)
                other.tell(token)


@pytest.mark.parametrize("repeats", [1, 4])
def test_hidden_states_and_logits_are_those_of_the_kernels(
    repeats: int, make_kernel: MakeKernel
) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        base = make_kernel(seed=seed).eval()
        decoders = adapters(base, seed)
        stack = stack_of(base, decoders)
        kernels = torch.randperm(8, generator=generator)[: 8 // repeats].tolist() * repeats
        tokens_BT = torch.randint(61, (8, 9), generator=generator)
        cache = KVCache(stack.config, batch=8)
        first = stack.hidden_of(tokens_BT[:, :1], cache, kernels)
        hidden_BTC = torch.cat((first, stack.hidden_of(tokens_BT[:, 1:], cache, kernels)), 1)
        logits_BV = stack.logits_of(hidden_BTC[:, -1], kernels)
        for row, kernel in enumerate(kernels):
            with torch.inference_mode():
                wanted = decoders[kernel].hidden(tokens_BT[row : row + 1])[0]
                torch.testing.assert_close(hidden_BTC[row], wanted, rtol=1e-4, atol=1e-4)
                wanted = decoders[kernel].logits(wanted[-1])
                torch.testing.assert_close(logits_BV[row], wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weights", ["bfloat16", "int8"])
def test_the_base_may_be_held_in_fewer_bits(weights: Weights, make_kernel: MakeKernel) -> None:
    base = make_kernel().eval()
    decoders = adapters(base, 0)
    stack = stack_of(base, decoders, weights)
    tokens_BT = torch.randint(61, (3, 9), generator=torch.Generator().manual_seed(1))
    for kernel, decoder in enumerate(decoders):
        if decoder is not base:
            with torch.inference_mode():
                wanted = prepare(decoder, weights).hidden(tokens_BT)
            found = stack.hidden_of(tokens_BT, None, [kernel] * 3)
            # Both round what they multiply, and may do so to either side.
            torch.testing.assert_close(found, wanted, rtol=0.0, atol=2e-2)
            assert float((stack.hidden_of(tokens_BT, None, [7] * 3) - wanted).abs().max()) > 0.2


def test_what_is_no_number_stays_in_its_own_rows(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    base = make_kernel().eval()
    for config in (LoraConfig(rank=3), CoordinateConfig(num_coordinates=8)):
        bad, *good = (disturbed(attach(base, config), seed) for seed in range(3))
        bad.load({name: number.fill_(torch.nan) for name, number in bad.state().items()})
        stack = stack_of(base, [bad.decoder, *(each.decoder for each in good)])
        for kernels in ([0, 1, 2], [1, 0, 2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 0, 0, 0, 1]):
            rows = tokens_BT[[0] * len(kernels)]
            hidden_BTC = stack.hidden_of(rows, None, kernels)
            for row, kernel in enumerate(kernels):
                assert bool(hidden_BTC[row].isnan().any()) == (kernel == 0)


def test_rows_meet_their_own_matrices_in_every_form() -> None:
    forms = set()
    for seed in range(60):
        rng = random.Random(seed)
        a_NRI, b_NRO = torch.randn(9, 2, 5), torch.randn(9, 2, 6)
        others = rng.choice([[], [None]])
        lanes = [
            rng.choice([*range(rng.choice([1, 3, 9])), *others]) for _ in range(rng.randint(1, 12))
        ]
        x_BTI, y_BTO = torch.randn(len(lanes), 2, 5), torch.randn(len(lanes), 2, 6)
        wanted = y_BTO.clone()
        for row, lane in enumerate(lanes):
            if lane is not None:
                wanted[row] += x_BTI[row] @ a_NRI[lane].T @ b_NRO[lane]
        found = gather(lanes, num_tokens=2, device=CPU)
        if found is not None:
            h_MQR = found.taken(x_BTI) @ a_NRI[found.lane_M].transpose(1, 2)
            found.add_product(y_BTO, h_MQR, b_NRO[found.lane_M])
            shares = len(set(found.lane_M.tolist())) < len([n for n in lanes if n is not None])
            forms.add((found.take_P is None, found.row_F is None, shares))
        torch.testing.assert_close(y_BTO, wanted)
    assert gather([None, None], num_tokens=1, device=CPU) is None
    assert len(forms) >= 5, "as they come, sorted, in part of the rows"


def test_one_of_the_kernels_can_be_had_alone(make_kernel: MakeKernel) -> None:
    base = make_kernel().eval()
    decoders = adapters(base, 0)
    stack = stack_of(base, decoders)
    tokens = list(range(2, 40))
    for kernel, decoder in enumerate(decoders):
        found = token_nats(stack.alone(kernel), tokens)
        torch.testing.assert_close(found, token_nats(decoder, tokens), rtol=1e-3, atol=1e-3)
    with pytest.raises(ConfigError, match="alone"):
        stack.hidden(torch.tensor([[1]]))
    with pytest.raises(ConfigError, match="alone"):
        stack.logits(torch.ones(1, 32))


def test_the_weights_of_the_base_are_held_once(make_kernel: MakeKernel) -> None:
    base = make_kernel().eval()
    stack = stack_of(base, adapters(base, 0))
    assert stack.embedding.data_ptr() == base.embedding.data_ptr()
    assert len(stack.kernels) == len(CONFIGS)
    stack.drop(3)
    assert sorted(stack.kernels) == [0, 1, 2, 4, 5, 6, 7]
    assert all(parameter.requires_grad for parameter in base.parameters())


def test_what_cannot_be_stacked_is_refused(make_kernel: MakeKernel) -> None:
    base = make_kernel().eval()
    adapted = attach(base, LoraConfig(rank=2)).decoder
    with pytest.raises(ConfigError, match="adaptive depth"):
        AdapterStack(make_kernel(**NETWORKS["adaptive"]))
    with pytest.raises(ConfigError, match="already has an adapter"):
        AdapterStack(adapted)
    stack = AdapterStack(base)
    assert stack.fits(adapted)
    for other in (make_kernel(), attach(make_kernel(), LoraConfig(rank=2)).decoder):
        assert not stack.fits(other)
        with pytest.raises(ConfigError, match="over the base"):
            stack.put(other)
