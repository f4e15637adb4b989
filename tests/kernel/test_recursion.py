"""Recurrent layers do what their formula says, and every token stops by its own steps alone."""

import math

import pytest
import torch
from torch import Tensor

from constellation.kernel.network.attention import rotary_phases
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.recursion import Depths, RecurrentBlock, next_token_steps
from tests.kernel.conftest import NETWORKS, MakeKernel

every_adaptive_network = pytest.mark.parametrize("network", ["adaptive", "post_norm_adaptive"])


def depth_of(decoder: Decoder, tokens_BT: Tensor) -> float:
    depths = Depths()
    decoder.hidden(tokens_BT, depths=depths)
    assert depths.mean is not None
    return depths.mean


def plain_hidden(decoder: Decoder, tokens_T: Tensor) -> tuple[Tensor, list[int]]:
    """Return a text's hidden states, one token and one decision at a time, and all depths.

    A token that has stopped is passed again with the others and then put back to its state.
    """
    config = decoder.config
    assert decoder.coupling is not None
    assert decoder.norm is not None
    scales = decoder.coupling(slice(0, len(tokens_T)))
    phases = rotary_phases(config, tokens_T.device)[: len(tokens_T)]
    x_TC, depths = decoder.embedding[tokens_T], []
    for layer, block in enumerate(decoder.blocks):
        assert isinstance(block, RecurrentBlock)
        stopped: dict[int, Tensor] = {}
        for number in range(1, config.loops_max + 1):
            weight, bias = block.gate.weight, block.gate.bias
            share_T1 = torch.sigmoid(x_TC @ weight + bias).unsqueeze(-1)
            target_TC = block.block(x_TC.unsqueeze(0), phases, scales[layer], None)[0]
            next_TC = x_TC + share_T1 * (target_TC - x_TC)
            for place in range(len(tokens_T)):
                if place in stopped:
                    next_TC[place] = stopped[place]
                    continue
                p, q = (
                    torch.softmax(decoder.norm(x) @ decoder.embedding.T, -1).double()
                    for x in (x_TC[place], next_TC[place])
                )
                step = 2 * math.acos(min(1.0, float((p * q).sqrt().sum())))
                assert config.depth_threshold is not None
                if number == config.loops_max or (
                    number >= config.loops_min and step < config.depth_threshold
                ):
                    stopped[place] = next_TC[place].clone()
                    depths.append(number)
            x_TC = next_TC
    return decoder.norm(x_TC), depths


@torch.no_grad()
def test_tokens_stop_one_by_one_as_the_plain_form_says(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(**NETWORKS["adaptive"])
    hidden_TC, every_depth = plain_hidden(decoder, tokens_BT[0])
    assert set(every_depth) == {3, 4, 5, 6}
    torch.testing.assert_close(decoder.hidden(tokens_BT[:1])[0], hidden_TC, atol=1e-4, rtol=1e-4)
    mean = sum(every_depth) / len(every_depth)
    assert depth_of(decoder, tokens_BT[:1]) == pytest.approx(mean)


@torch.no_grad()
def test_a_fixed_depth_passes_the_block_so_often(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel("dot", num_layers=1, recurrent_layers=[0], loops_max=5)
    (block,) = decoder.blocks
    assert isinstance(block, RecurrentBlock)
    assert decoder.norm is not None
    phases = rotary_phases(decoder.config, tokens_BT.device)
    x_BTC = decoder.embedding[tokens_BT]
    for _ in range(5):
        share = torch.sigmoid(x_BTC @ block.gate.weight + block.gate.bias).unsqueeze(-1)
        x_BTC = (1 - share) * x_BTC + share * block.block(x_BTC, phases, None, None)
    torch.testing.assert_close(decoder.hidden(tokens_BT), decoder.norm(x_BTC), atol=1e-5, rtol=1e-5)
    assert depth_of(decoder, tokens_BT) == 5


@pytest.mark.parametrize(("threshold", "depth"), [(1e-9, 6), (3.1, 3)])
@pytest.mark.parametrize("style", ["modern", "post_norm"])
@torch.no_grad()
def test_the_bounds_of_the_depth_hold(
    style: str, threshold: float, depth: int, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    """The least and greatest depth are those of the kernel whose depth is fixed there."""
    changes = {"style": style, "recurrent_layers": [1]}
    adaptive = make_kernel(**changes, loops_max=6, depth_threshold=threshold)
    fixed = make_kernel(**changes, loops_max=depth)
    fixed.load_state_dict(adaptive.state_dict())
    assert torch.equal(adaptive.hidden(tokens_BT), fixed.hidden(tokens_BT))
    assert depth_of(adaptive, tokens_BT) == depth


@every_adaptive_network
@torch.no_grad()
def test_depths_are_the_same_alone_in_a_batch_and_in_pieces(
    network: str, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(**NETWORKS[network])
    together, pieces = depth_of(decoder, tokens_BT), Depths()
    alone = [depth_of(decoder, row.unsqueeze(0)) for row in tokens_BT]
    assert len(set(alone)) > 1
    assert together == pytest.approx(sum(alone) / len(alone))
    cache = KVCache(decoder.config, batch=3)
    for piece in tokens_BT.split([9, 1, 1, 8, 5], 1):
        decoder.hidden(piece, cache, depths=pieces)
    assert pieces.mean == pytest.approx(together)


@torch.no_grad()
def test_depths_belong_to_the_caller(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    decoder = make_kernel(**NETWORKS["adaptive"])
    first, second = Depths(), Depths()
    decoder.hidden(tokens_BT[:1], depths=first)
    before = first.mean
    decoder.hidden(tokens_BT[1:], depths=second)
    assert first.mean == before
    assert second.mean == pytest.approx(depth_of(decoder, tokens_BT[1:]))


def test_training_counts_depths_too(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    decoder, depths = make_kernel(**NETWORKS["adaptive"]), Depths()
    decoder.loss(tokens_BT, tokens_BT, depths=depths)
    assert depths.mean == pytest.approx(depth_of(decoder, tokens_BT))


@torch.no_grad()
def test_a_kernel_without_recurrent_layers_has_no_depth(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    depths = Depths()
    make_kernel().hidden(tokens_BT, depths=depths)
    assert depths.mean is None


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_steps_are_fisher_rao_distances(rows: int) -> None:
    generator = torch.Generator().manual_seed(3)
    before, after = torch.randn(2, 9, 6, generator=generator)
    steps = next_token_steps(before, after, lambda x: 2 * x, rows=rows)
    p, q = (torch.softmax(2 * x.double(), -1) for x in (before, after))
    expected = 2 * (p * q).sqrt().sum(-1).acos()
    torch.testing.assert_close(steps.double(), expected, atol=1e-5, rtol=1e-5)


def test_a_step_of_nothing_is_nothing() -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(3))
    assert not next_token_steps(x, x.clone(), lambda x: x, rows=2).any()


def test_deciding_stays_exact_under_autocast(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    """Rounded to bfloat16, the logits of two equal states would be as good as any; steps are not.

    At a threshold below bfloat16's resolution no token may stop early for want of digits.
    """
    decoder = make_kernel(init_std=0.05, **{**NETWORKS["adaptive"], "depth_threshold": 1e-4})
    depths = Depths()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        decoder.hidden(tokens_BT, depths=depths)
    assert depths.mean == 6


@every_adaptive_network
def test_gradients_equal_finite_differences(network: str, make_kernel: MakeKernel) -> None:
    """Between decisions the loss is smooth: its slope along a direction is what backward says."""
    decoder = make_kernel(**NETWORKS[network])
    tokens_BT = torch.arange(14).view(2, 7) * 4 % 61
    parameters = list(decoder.parameters())
    gradients = torch.autograd.grad(decoder.loss(tokens_BT, tokens_BT), parameters)
    generator = torch.Generator().manual_seed(5)
    direction = [torch.randn(p.shape, generator=generator) * 1e-4 for p in parameters]
    slope = sum(float((g * v).sum()) for g, v in zip(gradients, direction, strict=True))
    with torch.no_grad():
        losses = []
        for sign in (1, -2):
            for parameter, change in zip(parameters, direction, strict=True):
                parameter.add_(change, alpha=sign)
            losses.append(float(decoder.loss(tokens_BT, tokens_BT)))
    assert (losses[0] - losses[1]) / 2 == pytest.approx(slope, rel=0.05)
