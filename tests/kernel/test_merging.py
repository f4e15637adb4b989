"""Averages of models: the mathematics on quadratics, then kernels and adapters."""

import math

import pytest
import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.adapters.attach import attach, merged
from constellation.kernel.adapters.coordinate import CoordinateConfig
from constellation.kernel.adapters.kernel_merge import (
    average,
    merge_adapters,
    merge_kernels,
)
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import IGNORED
from constellation.kernel.observables.fisher_information import empirical_fisher
from tests.kernel.conftest import MakeKernel
from tests.kernel.test_adapters import disturbed

LORA = LoraConfig(rank=3, targets=("qkv", "down"))


def nudged(decoder: Decoder, seed: int) -> Decoder:
    """Return a neighbour, as a branch of the same base is."""
    generator = torch.Generator().manual_seed(seed)
    twin = Decoder(decoder.config, seed=None)
    state = {
        name: tensor + 0.02 * torch.randn(tensor.shape, generator=generator)
        for name, tensor in decoder.state_dict().items()
    }
    twin.load_state_dict(state, assign=True)
    return twin.requires_grad_()


def constant(decoder: Decoder, value: float) -> dict[str, Tensor]:
    return {name: torch.full_like(p, value) for name, p in decoder.named_parameters()}


@pytest.mark.parametrize("seed", range(3))
def test_a_fisher_average_is_the_peak_of_the_product_of_gaussians(seed: int) -> None:
    """The precision-weighted mean has the least sum of quadratics: no neighbour is lower."""
    generator = torch.Generator().manual_seed(seed)
    means = [{"w": torch.randn(5, generator=generator).double()} for _ in range(3)]
    precisions = [{"w": torch.rand(5, generator=generator).double() + 0.1} for _ in range(3)]
    shares = [0.2, 0.3, 0.5]

    def energy(w: Tensor) -> Tensor:
        terms = zip(shares, means, precisions, strict=True)
        return torch.stack([s * p["w"] * (w - m["w"]) ** 2 for s, m, p in terms]).sum()

    peak = average(means, shares, precisions)["w"]
    w = peak.clone().requires_grad_()
    (slope,) = torch.autograd.grad(energy(w), w)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-12, rtol=0)
    for _ in range(20):
        step = torch.randn(5, generator=generator).double()
        assert float(energy(peak + 0.1 * step)) > float(energy(peak))
    assert float(energy(average(means, shares)["w"])) > float(energy(peak))


def test_two_gaussians_by_hand() -> None:
    means = [{"w": torch.tensor([0.0, 1.0])}, {"w": torch.tensor([4.0, 3.0])}]
    fishers = [{"w": torch.tensor([3.0, 0.0])}, {"w": torch.tensor([1.0, 0.0])}]
    assert average(means, [0.5, 0.5])["w"].tolist() == [2.0, 2.0]
    # The second parameter matters to nobody's data: the plain mean stands.
    assert average(means, [0.5, 0.5], fishers)["w"].tolist() == [1.0, 2.0]


def test_equal_fishers_give_the_plain_average(make_kernel: MakeKernel) -> None:
    base = make_kernel()
    kernels = [nudged(base, seed) for seed in range(3)]
    plain = merge_kernels(kernels)
    same = merge_kernels(kernels, fishers=[constant(base, 0.7)] * 3)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], tensor, atol=1e-7, rtol=1e-6)
        expected = torch.stack([kernel.state_dict()[name] for kernel in kernels]).mean(0)
        torch.testing.assert_close(tensor, expected, atol=1e-7, rtol=1e-6)


def test_weights_move_the_average(make_kernel: MakeKernel) -> None:
    kernels = [nudged(make_kernel(), seed) for seed in range(2)]
    merge = merge_kernels(kernels, weights=[3.0, 1.0]).state_dict()
    first, second = (kernel.state_dict() for kernel in kernels)
    for name, tensor in merge.items():
        torch.testing.assert_close(tensor, 0.75 * first[name] + 0.25 * second[name])


def test_kernels_of_one_base_alone_are_merged(make_kernel: MakeKernel) -> None:
    base = make_kernel()
    with pytest.raises(ConfigError, match="different configurations"):
        merge_kernels([base, make_kernel(vocab_size=60)])
    with pytest.raises(ConfigError, match="live adapter"):
        merge_kernels([base, attach(base, LORA).decoder])
    with pytest.raises(ConfigError, match="two or more"):
        merge_kernels([base])
    with pytest.raises(ConfigError, match="weight above 0"):
        merge_kernels([base, base], weights=[1.0, 0.0])
    with pytest.raises(ConfigError, match="2 kernels need as many Fishers"):
        merge_kernels([base, base], fishers=[constant(base, 1.0)])


def test_the_fisher_is_the_mean_square_of_measured_slopes(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    """Against differences of the log-likelihood, one parameter at a time."""
    decoder = make_kernel().double()
    inputs, targets = tokens_BT[:, :6], tokens_BT[:, 1:7].clone()
    targets[0, :2] = IGNORED
    fisher = empirical_fisher(decoder, inputs, targets)
    step = 1e-3

    @torch.no_grad()
    def nats(row: int) -> float:
        counted = int((targets[row] != IGNORED).sum())
        return float(decoder.loss(inputs[row : row + 1], targets[row : row + 1])) * counted

    for name, index in (
        ("embedding", (5, 3)),
        ("blocks.0.attention.qkv.weight", (40, 2)),
        ("blocks.1.down.weight", (1, 1)),
        ("norm.weight", (4,)),
        ("coupling.log_kappa_NH", (1, 0)),
    ):
        parameter = decoder.get_parameter(name)
        start = float(parameter.detach()[index])
        squares = []
        for row in range(len(inputs)):
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[index] = start + sign * step
                ends.append(nats(row))
            squares.append(((ends[0] - ends[1]) / (2 * step)) ** 2)
        with torch.no_grad():
            parameter[index] = start
        expected = sum(squares) / len(squares)
        assert expected > 0
        assert math.isclose(float(fisher[name][index]), expected, rel_tol=0.02, abs_tol=1e-7)


def test_the_fisher_leaves_the_kernel_as_it_was(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    decoder = make_kernel()
    before = {name: tensor.clone() for name, tensor in decoder.state_dict().items()}
    fisher = empirical_fisher(decoder, tokens_BT[:, :-1], tokens_BT[:, 1:])
    assert fisher.keys() == dict(decoder.named_parameters()).keys()
    assert all(float(values.min()) >= 0 for values in fisher.values())
    assert all(torch.equal(before[name], t) for name, t in decoder.state_dict().items())
    assert all(parameter.grad is None for parameter in decoder.parameters())


def test_a_fisher_needs_something_to_predict(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    with pytest.raises(ConfigError, match="sequences with targets"):
        empirical_fisher(make_kernel(), tokens_BT, torch.full_like(tokens_BT, IGNORED))
    with pytest.raises(ConfigError, match="one shape"):
        empirical_fisher(make_kernel(), tokens_BT, tokens_BT[:, 1:])


@pytest.mark.parametrize("seed", range(3))
def test_an_average_of_adapters_is_that_of_their_kernels(
    make_kernel: MakeKernel, tokens_BT: Tensor, seed: int
) -> None:
    base = make_kernel(seed=seed)
    adapters = [disturbed(attach(base, LORA, seed=n), n) for n in range(2)]
    both = merge_adapters(base, adapters, weights=[1.0, 3.0])
    kernels = merge_kernels([merged(each) for each in adapters], weights=[1.0, 3.0])
    for name, tensor in merged(both).state_dict().items():
        torch.testing.assert_close(tensor, kernels.state_dict()[name], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both.decoder(tokens_BT), kernels(tokens_BT), atol=1e-3, rtol=1e-3)


def test_the_average_of_an_adapter_with_itself_is_the_adapter(make_kernel: MakeKernel) -> None:
    base = make_kernel()
    single = disturbed(attach(base, LORA))
    doubled = merge_adapters(base, [single, single])
    assert doubled.config.rank == 6  # type: ignore[union-attr]
    for name, tensor in merged(single).state_dict().items():
        torch.testing.assert_close(merged(doubled).state_dict()[name], tensor, atol=1e-5, rtol=1e-4)


def test_only_like_adapters_are_averaged(make_kernel: MakeKernel) -> None:
    base = make_kernel()
    single = attach(base, LORA)
    for other in (LoraConfig(rank=3), CoordinateConfig(num_coordinates=8)):
        with pytest.raises(ConfigError, match="same targets"):
            merge_adapters(base, [single, attach(base, other)])
