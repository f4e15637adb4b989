"""The measured coupling is the information attention gains; the learned one is what heads hold."""

import math

import pytest
import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.network.attention import Attention, rotary_phases
from constellation.kernel.network.config import ATTENTION_KINDS, AttentionKind
from constellation.kernel.observables import kappa_learned, kappa_measured
from tests.kernel.conftest import MakeKernel


@pytest.mark.parametrize("kind", ATTENTION_KINDS)
def test_uniform_attention_gains_nothing(
    kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind)
    for module in decoder.modules():
        if isinstance(module, Attention):
            torch.nn.init.zeros_(module.qkv.weight)
    if decoder.coupling is not None:
        torch.nn.init.constant_(decoder.coupling.log_kappa_NH, -50.0)
    measured = kappa_measured(decoder, tokens_BT)
    assert measured.value == pytest.approx(0, abs=1e-6)
    assert measured.null == pytest.approx(0, abs=1e-6)


def test_attention_to_a_single_key_gains_the_logarithm_of_their_number(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(running_coupling=False)
    assert decoder.coupling is not None
    torch.nn.init.constant_(decoder.coupling.log_kappa_NH, math.log(1e6))
    measured = kappa_measured(decoder, tokens_BT)
    # Above 0.95 * 24 lie the queries that see 23 and 24 keys.
    expected = (math.log(23) + math.log(24)) / 2
    assert measured.value == pytest.approx(expected, abs=1e-4)


def test_a_stronger_coupling_measures_higher(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    values = [
        kappa_measured(make_kernel(coupling_start=start), tokens_BT).value
        for start in (0.1, 1.0, 10.0)
    ]
    assert values == sorted(values)  # type: ignore[type-var]
    assert len(set(values)) == 3


@torch.no_grad()
@pytest.mark.parametrize("kind", ATTENTION_KINDS)
@pytest.mark.parametrize("length", [1, 2, 20, 24])
def test_the_value_is_the_definition_computed_key_by_key(
    kind: AttentionKind, length: int, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, num_layers=1)
    block = decoder.blocks[0]
    x_BTC = block.attention_norm(torch.nn.functional.embedding(tokens_BT, decoder.embedding))
    scale = None if decoder.coupling is None else decoder.coupling(slice(0, 24))[0]
    phases = rotary_phases(decoder.config, x_BTC.device)
    query, key, _ = block.attention.project(x_BTC, phases, scale)
    gained = []
    for num_keys in range(1, 25):
        if 0.95 * length < num_keys <= length:
            scores = (query[:, :, num_keys - 1, None] * key[:, :, :num_keys]).sum(-1)
            p = torch.softmax(scores * block.attention.logit_scale, -1)
            gained.append(math.log(num_keys) + (p * p.log()).sum(-1))
    expected = float(torch.stack(gained).mean())
    measured = kappa_measured(decoder, tokens_BT, length=length)
    assert measured.value == pytest.approx(expected, abs=1e-5)
    assert measured.n == 3
    assert measured.interval is None  # three texts are too few for one
    thrice = kappa_measured(decoder, tokens_BT.repeat(3, 1), length=length)
    assert thrice.interval is not None
    assert thrice.interval[0] <= expected + 1e-6


def test_measuring_leaves_the_kernel_as_it_was(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    decoder = make_kernel()
    before = decoder(tokens_BT)
    kappa_measured(decoder, tokens_BT)
    assert torch.equal(decoder(tokens_BT), before)
    assert not any(module._forward_pre_hooks for module in decoder.modules())


def test_one_text_has_no_interval(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    assert kappa_measured(make_kernel(), tokens_BT[:1]).interval is None


@pytest.mark.parametrize("length", [0, 25])
def test_lengths_out_of_range_are_refused(
    length: int, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    with pytest.raises(ConfigError, match="length"):
        kappa_measured(make_kernel(), tokens_BT, length=length)


def test_no_texts_are_refused(make_kernel: MakeKernel) -> None:
    with pytest.raises(ConfigError, match="one text"):
        kappa_measured(make_kernel(), torch.zeros(0, 8, dtype=torch.int64))


def test_learned_couplings_start_where_the_configuration_says(make_kernel: MakeKernel) -> None:
    learned = kappa_learned(make_kernel(coupling_start=7.0))
    assert learned.value == pytest.approx(7.0)
    assert learned.null == 7.0
    assert learned.n == 4
    assert learned.interval is None


def test_the_usual_scaled_product_has_no_learned_coupling(make_kernel: MakeKernel) -> None:
    learned = kappa_learned(make_kernel("dot"))
    assert learned.value is None
    assert learned.interval is None
