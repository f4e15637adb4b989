"""Adapters: equal to the base at first, trained alone, shared storage, folded in and out again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.adapters.attach import Adapted, AdapterConfig, attach, merged, unmerged
from constellation.kernel.adapters.coordinate import CoordinateConfig, Coordinates
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import PRESETS
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.generation import generate
from constellation.records import Sampling
from tests.kernel.conftest import MakeKernel

CONFIGS = [
    pytest.param(LoraConfig(rank=3), id="lora"),
    pytest.param(CoordinateConfig(num_coordinates=8), id="coordinate"),
]
each_kind = pytest.mark.parametrize("config", CONFIGS)


def disturbed(adapted: Adapted, seed: int = 1) -> Adapted:
    """Give an adapter numbers as training might, so that it changes the output."""
    generator = torch.Generator().manual_seed(seed)
    adapted.load(
        {n: t + 0.3 * torch.randn(t.shape, generator=generator) for n, t in adapted.state().items()}
    )
    return adapted


def storages(decoder: Decoder) -> set[int]:
    return {tensor.data_ptr() for tensor in decoder.state_dict().values()}


@each_kind
@pytest.mark.parametrize("attention", ["dot", "qfi", "fisher_rao"])
def test_a_new_adapter_changes_no_bit(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig, attention: str
) -> None:
    base = make_kernel(attention)
    for seed in range(3):
        adapted = attach(base, config, seed=seed).decoder
        assert torch.equal(adapted(tokens_BT), base(tokens_BT))


@each_kind
def test_only_the_adapter_takes_gradients(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig
) -> None:
    base = make_kernel()
    adapted = disturbed(attach(base, config))
    adapted.decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:]).backward()  # type: ignore[no-untyped-call]
    assert all(
        float(p.grad.norm()) > 0 for p in adapted.parameters().values() if p.grad is not None
    )
    with_gradient = {n for n, p in adapted.decoder.named_parameters() if p.grad is not None}
    assert with_gradient == set(adapted.parameters())
    assert all(parameter.grad is None for parameter in base.parameters())
    assert all(parameter.requires_grad for parameter in base.parameters())


@each_kind
def test_an_adapter_learns_and_its_base_stays(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig
) -> None:
    base = make_kernel()
    before = {name: tensor.clone() for name, tensor in base.state_dict().items()}
    adapted = attach(base, config)
    optimiser = torch.optim.AdamW(adapted.parameters().values(), lr=3e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = adapted.decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.3
    assert all(torch.equal(before[name], tensor) for name, tensor in base.state_dict().items())


@each_kind
def test_a_cache_gives_what_the_whole_text_gives(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig
) -> None:
    decoder = disturbed(attach(make_kernel().eval(), config)).decoder
    with torch.inference_mode():
        cache = KVCache(decoder.config, batch=len(tokens_BT))
        parts = [decoder(tokens_BT[:, a:b], cache) for a, b in ((0, 9), (9, 10), (10, 24))]
        torch.testing.assert_close(torch.cat(parts, 1), decoder(tokens_BT), atol=1e-4, rtol=1e-4)


@each_kind
@pytest.mark.parametrize(
    "network",
    [
        {"recurrent_layers": (0,), "loops_max": 4, "depth_threshold": 0.3},
        {"style": "post_norm", "attention": "dot"},
        {"basin_outcomes": 8},
    ],
)
def test_adapters_fit_every_network(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig, network: dict[str, object]
) -> None:
    base = make_kernel(**network).eval()
    adapted = attach(base, config)
    assert torch.equal(adapted.decoder(tokens_BT), base(tokens_BT))
    decoder = disturbed(adapted).decoder
    cache = KVCache(decoder.config, batch=len(tokens_BT))
    with torch.inference_mode():
        parts = [decoder(tokens_BT[:, a:b], cache) for a, b in ((0, 10), (10, 11), (11, 24))]
        torch.testing.assert_close(torch.cat(parts, 1), decoder(tokens_BT), atol=1e-3, rtol=1e-3)
    if isinstance(config, LoraConfig):
        torch.testing.assert_close(
            merged(adapted)(tokens_BT), decoder(tokens_BT), atol=1e-3, rtol=1e-3
        )


@each_kind
def test_an_adapted_kernel_writes(make_kernel: MakeKernel, config: AdapterConfig) -> None:
    decoder = disturbed(attach(make_kernel().eval(), config)).decoder
    greedy = Sampling(tokens_max=8, temperature=0.0)
    written = list(generate(decoder, [1, 2, 3], greedy, None))
    tokens = [1, 2, 3]
    for _ in range(8):
        tokens.append(int(decoder(torch.tensor([tokens]))[0, -1].argmax()))
    assert written == tokens[3:]


@each_kind
def test_many_adapters_share_the_weights_of_one_base(
    make_kernel: MakeKernel, tokens_BT: Tensor, config: AdapterConfig
) -> None:
    base = make_kernel()
    adapters = [disturbed(attach(base, config, seed=n), seed=n) for n in range(50)]
    shared = storages(base)
    for adapted in adapters:
        own = {tensor.data_ptr() for tensor in adapted.parameters().values()}
        assert storages(adapted.decoder) == shared | own
        assert own.isdisjoint(shared)
    outputs = torch.stack([adapted.decoder(tokens_BT[:1]) for adapted in adapters[:3]])
    assert len(torch.unique(outputs, dim=0)) == 3


@pytest.mark.parametrize("seed", range(3))
def test_merged_equals_live_and_unmerged_equals_the_base(
    make_kernel: MakeKernel, tokens_BT: Tensor, seed: int
) -> None:
    base = make_kernel(seed=seed)
    adapted = disturbed(attach(base, LoraConfig(rank=4, alpha=6.0), seed=seed), seed)
    whole = merged(adapted)
    torch.testing.assert_close(whole(tokens_BT), adapted.decoder(tokens_BT), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(whole(tokens_BT), base(tokens_BT), atol=1e-2)
    assert storages(whole).isdisjoint(storages(base))
    back = unmerged(whole, adapted).state_dict()
    assert back.keys() == base.state_dict().keys()
    for name, tensor in base.state_dict().items():
        torch.testing.assert_close(back[name], tensor, atol=1e-6, rtol=1e-5)


def test_the_product_is_scaled_by_alpha_over_rank(make_kernel: MakeKernel) -> None:
    base = make_kernel()
    small = attach(base, LoraConfig(rank=2, alpha=2.0, targets=("down",)))
    large = attach(base, LoraConfig(rank=2, alpha=6.0, targets=("down",)))
    large.load(disturbed(small).state())
    moved = [
        merged(each).state_dict()["blocks.1.down.weight"]
        - base.state_dict()["blocks.1.down.weight"]
        for each in (small, large)
    ]
    torch.testing.assert_close(moved[1], 3 * moved[0], atol=1e-5, rtol=1e-4)


def test_dropout_acts_in_training_only(make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    adapted = disturbed(attach(make_kernel(), LoraConfig(rank=2, dropout=0.5)))
    plain = attach(make_kernel(), LoraConfig(rank=2))
    plain.load(adapted.state())
    adapted.decoder.train()
    assert not torch.equal(adapted.decoder(tokens_BT), adapted.decoder(tokens_BT))
    adapted.decoder.eval()
    assert torch.equal(adapted.decoder(tokens_BT), plain.decoder.eval()(tokens_BT))


def test_the_coordinate_adapter_of_the_23_m_kernel_has_25_thousand_numbers() -> None:
    shape = PRESETS["qig-23m"]
    adapted = attach(Decoder(shape, seed=None), CoordinateConfig())
    formula = CoordinateConfig().num_parameters(width=shape.width, num_blocks=shape.num_layers)
    assert adapted.num_parameters() == formula == 384 * 64 + 8 * 64 == 25_088


def test_coordinates_are_amplitudes_of_simplex_points() -> None:
    generator = torch.Generator().manual_seed(0)
    part = Coordinates(torch.nn.Parameter(torch.randn(12, 8, generator=generator)))
    x_BTC = torch.randn(2, 5, 12, generator=generator)
    points_BTK = part.read(x_BTC).square() / 8
    torch.testing.assert_close(points_BTK.sum(-1), torch.ones(2, 5))
    torch.testing.assert_close(part.read(7 * x_BTC), part.read(x_BTC))
    assert torch.equal(part.read(torch.zeros(1, 1, 12)), torch.zeros(1, 1, 8))


def test_the_coordinate_adapter_sees_no_later_token(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = disturbed(attach(make_kernel(), CoordinateConfig(num_coordinates=8))).decoder
    changed = tokens_BT.clone()
    changed[:, 12:] = (changed[:, 12:] + 1) % decoder.config.vocab_size
    assert torch.equal(decoder(tokens_BT)[:, :12], decoder(changed)[:, :12])


def test_a_coordinate_adapter_is_not_merged(make_kernel: MakeKernel) -> None:
    with pytest.raises(ConfigError, match="cannot be merged"):
        merged(attach(make_kernel(), CoordinateConfig(num_coordinates=8)))


def test_a_second_adapter_is_refused(make_kernel: MakeKernel) -> None:
    once = attach(make_kernel(), LoraConfig()).decoder
    with pytest.raises(ConfigError, match="already has an adapter"):
        attach(once, CoordinateConfig())


def test_an_unknown_target_names_the_known_ones(make_kernel: MakeKernel) -> None:
    with pytest.raises(ConfigError, match=r"q_proj; there are: down, gate_up, out, qkv"):
        attach(make_kernel(), LoraConfig(targets=("qkv", "q_proj")))


@pytest.mark.parametrize(
    "make",
    [
        lambda: LoraConfig(rank=0),
        lambda: LoraConfig(alpha=float("inf")),
        lambda: LoraConfig(alpha=0.0),
        lambda: LoraConfig(dropout=1.0),
        lambda: LoraConfig(targets=()),
        lambda: LoraConfig(targets=("qkv", "qkv")),
        lambda: CoordinateConfig(num_coordinates=1),
    ],
)
def test_a_wrong_configuration_is_refused(make: Callable[[], AdapterConfig]) -> None:
    with pytest.raises(ConfigError, match=r"allowed|name at least"):
        make()
