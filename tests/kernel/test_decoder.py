"""Laws of the network: causality, the same with and without cache, lean forms equal plain ones."""

from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from constellation.errors import ConfigError, InvalidPrompt
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import ATTENTION_KINDS, STYLES, AttentionKind, Style
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import CHUNK_LOGITS, IGNORED, mean_nats, token_nats
from constellation.kernel.network.norm import RMSNorm
from tests.kernel.conftest import NETWORKS, MakeKernel

every_kind = pytest.mark.parametrize("kind", ATTENTION_KINDS)
every_network = pytest.mark.parametrize("network", NETWORKS)


def read_in_pieces(decoder: Decoder, tokens_BT: Tensor, pieces: list[int]) -> Tensor:
    cache = KVCache(decoder.config, batch=len(tokens_BT))
    return torch.cat([decoder(piece, cache) for piece in tokens_BT.split(pieces, 1)], 1)


@every_kind
@every_network
@torch.no_grad()
def test_no_logit_depends_on_a_later_token(
    network: str, kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, **NETWORKS[network])
    logits = decoder(tokens_BT)
    for position in (1, 2, 9, 15, 22, 23):
        changed = tokens_BT.clone()
        changed[:, position:] = (changed[:, position:] + 1) % 61
        other = decoder(changed)
        assert torch.equal(other[:, :position], logits[:, :position])
        assert not torch.allclose(other[:, position], logits[:, position])


@pytest.mark.slow
@every_kind
@every_network
@torch.no_grad()
def test_no_logit_depends_on_a_later_token_of_the_same_piece_with_a_cache(
    network: str, kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, **NETWORKS[network])
    pieces = [9, 8, 7]
    logits = read_in_pieces(decoder, tokens_BT, pieces)
    for position in (10, 11, 16, 17, 23):
        changed = tokens_BT.clone()
        changed[:, position:] = (changed[:, position:] + 1) % 61
        other = read_in_pieces(decoder, changed, pieces)
        assert torch.equal(other[:, :position], logits[:, :position])
        assert not torch.allclose(other[:, position], logits[:, position])


@pytest.mark.slow
@every_kind
@every_network
@pytest.mark.parametrize("pieces", [[24], [1] * 24, [10, 1, 1, 5, 7]])
@torch.no_grad()
def test_logits_are_the_same_with_a_cache(
    network: str,
    kind: AttentionKind,
    pieces: list[int],
    make_kernel: MakeKernel,
    tokens_BT: Tensor,
) -> None:
    decoder = make_kernel(kind, **NETWORKS[network])
    cached = read_in_pieces(decoder, tokens_BT, pieces)
    torch.testing.assert_close(cached, decoder(tokens_BT), atol=1e-4, rtol=1e-4)


@every_kind
@every_network
@torch.no_grad()
def test_a_truncated_cache_has_forgotten(
    network: str, kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, **NETWORKS[network])
    cache = KVCache(decoder.config, batch=3)
    decoder(tokens_BT, cache)
    cache.truncate(6)
    again = decoder(tokens_BT[:, 6:], cache)
    torch.testing.assert_close(again, decoder(tokens_BT)[:, 6:], atol=1e-4, rtol=1e-4)


@every_network
@torch.no_grad()
def test_sequences_of_a_batch_do_not_mix(
    network: str, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(**NETWORKS[network])
    alone = torch.cat([decoder(row.unsqueeze(0)) for row in tokens_BT])
    torch.testing.assert_close(decoder(tokens_BT), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("style", STYLES)
@torch.no_grad()
def test_order_matters(style: Style, make_kernel: MakeKernel, tokens_BT: Tensor) -> None:
    """Without positions, swapping two earlier tokens would leave the last logits as they are."""
    swapped = tokens_BT.clone()
    swapped[:, [3, 9]] = tokens_BT[:, [9, 3]]
    decoder = make_kernel(num_layers=1, style=style)
    assert not torch.allclose(decoder(swapped)[:, -1], decoder(tokens_BT)[:, -1], atol=1e-3)


@every_kind
@every_network
@pytest.mark.parametrize("running", [True, False])
def test_gradients_reach_every_parameter(
    network: str, kind: AttentionKind, running: bool, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    changes = NETWORKS[network] | {"basin_outcomes": 5}
    decoder = make_kernel(kind, running_coupling=running, **changes)
    hidden_BTC = decoder.hidden(tokens_BT[:, :-1])
    first_outcome = decoder.basin(hidden_BTC)[:, 0].sum()
    (decoder.mean_nats(hidden_BTC, tokens_BT[:, 1:]) + first_outcome).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_kind
@every_network
def test_loss_and_gradients_equal_the_plain_form(
    network: str, kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, **NETWORKS[network])
    targets = tokens_BT.roll(-1, 1).clone()
    targets[0, 5:9] = IGNORED
    loss = decoder.loss(tokens_BT, targets)
    logits = decoder(tokens_BT)
    plain = functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    torch.testing.assert_close(loss, plain)
    parameters = list(decoder.parameters())
    lean = torch.autograd.grad(3 * loss, parameters)
    torch.testing.assert_close(lean, torch.autograd.grad(3 * plain, parameters))


@every_network
def test_the_loss_without_gradients_is_the_same(
    network: str, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(**NETWORKS[network])
    with torch.no_grad():
        quiet = decoder.loss(tokens_BT, tokens_BT)
    torch.testing.assert_close(quiet, decoder.loss(tokens_BT, tokens_BT).detach())


def test_many_chunks_give_the_loss_of_one() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = 2 * (CHUNK_LOGITS // 65_536) + 5
    hidden = torch.randn(rows, 4, generator=generator, requires_grad=True)
    weight = torch.randn(65_536, 4, generator=generator, requires_grad=True)
    targets = torch.randint(0, 65_536, (rows,), generator=generator)
    loss, plain = (
        mean_nats(hidden, weight, targets),
        functional.cross_entropy(hidden @ weight.T, targets),
    )
    torch.testing.assert_close(loss, plain)
    lean = torch.autograd.grad(loss, (hidden, weight))
    torch.testing.assert_close(lean, torch.autograd.grad(plain, (hidden, weight)))
    torch.testing.assert_close(token_nats(hidden, weight, targets).mean(), plain)


def test_a_loss_over_nothing_is_zero() -> None:
    hidden, weight = torch.ones(3, 2, requires_grad=True), torch.ones(5, 2, requires_grad=True)
    loss = mean_nats(hidden, weight, torch.full((3,), IGNORED))
    loss.backward()
    assert loss == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def test_normalisation_equals_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(5, 7, 12, generator=generator, dtype=torch.float64, requires_grad=True)
    norm = RMSNorm(12, epsilon=1e-6).double()
    with torch.no_grad():
        norm.weight.normal_(generator=generator)
    ours = norm(x)
    theirs = functional.rms_norm(x, (12,), norm.weight, 1e-6)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
    seeds = torch.randn(5, 7, 12, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (x, norm.weight), seeds),
        torch.autograd.grad(theirs, (x, norm.weight), seeds),
        atol=1e-6,
        rtol=1e-6,
    )


@every_kind
@pytest.mark.parametrize("network", ["modern", "post_norm", "recurrent"])
def test_training_under_bfloat16_autocast_stays_near(
    network: str, kind: AttentionKind, make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel(kind, init_std=0.05, **NETWORKS[network])
    with torch.autocast("cpu", torch.bfloat16):
        loss = decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
    loss.backward()
    exact = decoder.loss(tokens_BT[:, :-1], tokens_BT[:, 1:])
    torch.testing.assert_close(loss, exact, atol=0.02, rtol=0)
    assert all(parameter.grad is not None for parameter in decoder.parameters())


def test_the_same_seed_gives_the_same_weights(make_kernel: MakeKernel) -> None:
    first, again, other = (make_kernel(seed=seed).state_dict() for seed in (4, 4, 5))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embedding"], other["embedding"])


def test_a_basin_head_leaves_the_other_weights_of_a_seed_as_they_are(
    make_kernel: MakeKernel,
) -> None:
    """Comparisons with and without the head start from the same network."""
    without, with_head = make_kernel(), make_kernel(basin_outcomes=5)
    expected = without.state_dict()
    found = with_head.state_dict()
    assert set(found) == {*expected, "basin_head.weight"}
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("changes", [*NETWORKS.values(), {"basin_outcomes": 5}])
def test_only_matrices_decay(changes: dict[str, object], make_kernel: MakeKernel) -> None:
    decoder = make_kernel(**changes)
    decays, keeps = decoder.parameter_groups(weight_decay=0.1)
    assert decays["weight_decay"] == 0.1
    assert keeps["weight_decay"] == 0
    decayed = {id(parameter) for parameter in cast(list[Tensor], decays["params"])}
    kept = {id(parameter) for parameter in cast(list[Tensor], keeps["params"])}
    for name, parameter in decoder.named_parameters():
        is_matrix = parameter.ndim == 2 and not name.startswith("coupling.")
        assert (id(parameter) in decayed) == is_matrix, name
        assert (id(parameter) in kept) != is_matrix, name


def test_a_text_beyond_the_context_is_refused(make_kernel: MakeKernel) -> None:
    with pytest.raises(InvalidPrompt, match="25 tokens"):
        make_kernel()(torch.zeros(1, 25, dtype=torch.int64))


def test_an_empty_text_is_refused(make_kernel: MakeKernel) -> None:
    with pytest.raises(InvalidPrompt, match="empty"):
        make_kernel()(torch.zeros(1, 0, dtype=torch.int64))


@torch.no_grad()
def test_a_refused_piece_leaves_the_cache_as_it_was(
    make_kernel: MakeKernel, tokens_BT: Tensor
) -> None:
    decoder = make_kernel()
    cache = KVCache(decoder.config, batch=3, capacity=10)
    decoder(tokens_BT[:, :8], cache)
    with pytest.raises(InvalidPrompt):
        decoder(tokens_BT[:, 8:12], cache)
    assert cache.length == 8
    logits = decoder(tokens_BT[:, 8:10], cache)
    torch.testing.assert_close(logits, decoder(tokens_BT)[:, 8:10], atol=1e-4, rtol=1e-4)


def test_a_cache_is_no_longer_than_the_context(make_kernel: MakeKernel) -> None:
    assert KVCache(make_kernel().config, capacity=1000).capacity == 24


@pytest.mark.parametrize("length", [-1, 1])
def test_a_cache_cannot_be_truncated_to_what_it_does_not_hold(
    length: int, make_kernel: MakeKernel
) -> None:
    with pytest.raises(ConfigError):
        KVCache(make_kernel().config).truncate(length)
