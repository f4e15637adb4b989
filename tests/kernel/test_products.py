"""The faster products are the plain ones up to rounding, and only without gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from constellation.errors import ConfigError
from constellation.kernel.network.config import AttentionKind
from constellation.kernel.writing import fast_products
from constellation.kernel.writing.batch import Batch
from constellation.kernel.writing.fast_products import (
    Float32Product,
    RoundedProduct,
    Weights,
    prepare,
)
from constellation.kernel.writing.generation import generate
from constellation.records import Sampling
from tests.kernel.conftest import NETWORKS, MakeKernel


@pytest.fixture(params=[True, False], ids=["laid_out", "plain"])
def laid_out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Run with oneDNN's layout, and as where it is missing."""
    if not request.param:
        monkeypatch.setattr(fast_products, "can_lay_out", lambda weight: False)
    return bool(request.param)


@torch.inference_mode()
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("shape", [(1,), (2,), (3,), (2, 1), (8, 1), (3, 4), (40,)])
def test_products_are_those_of_linear(
    shape: tuple[int, ...], has_bias: bool, laid_out: bool
) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        weight_OI = torch.randn(65, 33, generator=generator)
        bias_O = torch.randn(65, generator=generator) if has_bias else None
        x = torch.randn(*shape, 33, generator=generator)
        expected = functional.linear(x, weight_OI, bias_O)
        torch.testing.assert_close(
            Float32Product(weight_OI, bias_O)(x), expected, atol=1e-5, rtol=1e-5
        )
        strided = torch.randn(*shape, 66, generator=generator)[..., ::2]
        expected = functional.linear(strided, weight_OI, bias_O)
        torch.testing.assert_close(
            Float32Product(weight_OI, bias_O)(strided), expected, atol=1e-5, rtol=1e-5
        )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dot", "qfi"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_prepared_kernel_writes_the_same(
    network: str, kind: AttentionKind, laid_out: bool, make_kernel: MakeKernel
) -> None:
    greedy = Sampling(tokens_max=10, temperature=0)
    prompts = [[seed + 5, *range(3 + seed)] for seed in range(5)]
    for seed in range(3):
        plain = make_kernel(kind, seed=seed, init_std=0.5, **NETWORKS[network])
        prepared = make_kernel(kind, seed=seed, init_std=0.5, **NETWORKS[network])
        batch = Batch(prepare(prepared), end_id=None)
        writings = [batch.add(prompt, greedy) for prompt in prompts]
        while len(batch):
            batch.step()
        texts = [writing.produced for writing in writings]
        assert texts == [list(generate(plain, prompt, greedy, None)) for prompt in prompts]


def test_gradients_take_the_plain_way(make_kernel: MakeKernel) -> None:
    decoder = prepare(make_kernel())
    tokens = torch.tensor([[1, 2, 3]])
    decoder.loss(tokens, tokens).backward()
    assert all(parameter.grad is not None for parameter in decoder.blocks.parameters())


def test_other_precisions_are_left_as_they_are(make_kernel: MakeKernel) -> None:
    decoder = prepare(make_kernel().to(torch.bfloat16))
    assert decoder.output_product is None
    assert decoder.blocks[0].attention.qkv.product is None  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="int8"):
        prepare(decoder, "int8")


def rounded_by_hand(weight_OI: Tensor, *, int8: bool) -> Tensor:
    if not int8:
        return weight_OI.bfloat16().double()
    scale_O1 = (weight_OI.abs().amax(1, keepdim=True) / 127).bfloat16().double()
    return (weight_OI / scale_O1).round().clamp(-127, 127) * scale_O1


@torch.inference_mode()
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 4, 5, 40])
def test_rounded_products_are_those_of_the_rounded_matrix(
    rows: int, int8: bool, laid_out: bool
) -> None:
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        weight_OI = torch.randn(64, 32, generator=generator)
        weight_OI[5] = 0
        bias_O = torch.randn(64, generator=generator)
        x_RI = torch.randn(rows, 32, generator=generator)
        expected = x_RI.bfloat16().double() @ rounded_by_hand(weight_OI, int8=int8).nan_to_num().T
        product = RoundedProduct(weight_OI, bias_O, int8=int8)(x_RI)
        assert product.dtype == torch.float32
        # bfloat16 keeps 8 bits of a result and, in int8, of each matrix entry.
        torch.testing.assert_close(product.double(), expected + bias_O, atol=0.1, rtol=2**-7)


@pytest.mark.parametrize("num_in", [1, 16, 24, 40, 48])
def test_inputs_of_any_number_are_multiplied_in_int8(num_in: int) -> None:
    generator = torch.Generator().manual_seed(num_in)
    for rows in (1, 3):
        weight_OI = torch.randn(24, num_in, generator=generator)
        x_RI = torch.randn(rows, num_in, generator=generator)
        expected = x_RI.bfloat16().double() @ rounded_by_hand(weight_OI, int8=True).T
        product = RoundedProduct(weight_OI, None, int8=True)(x_RI)
        torch.testing.assert_close(product.double(), expected, rtol=0.03, atol=0.15)


@torch.inference_mode()
@pytest.mark.parametrize(("weights", "bound"), [("bfloat16", 0.03), ("int8", 0.06)])
def test_rounded_kernels_say_nearly_the_same(
    weights: Weights, bound: float, make_kernel: MakeKernel
) -> None:
    tokens_BT = torch.arange(48).view(2, 24) * 7 % 61
    for seed in range(3):
        expected = make_kernel("dot", seed=seed)(tokens_BT)
        logits = prepare(make_kernel("dot", seed=seed), weights)(tokens_BT)
        error = float((logits - expected).norm() / expected.norm())
        assert 0 < error < bound
