"""Average several kernels of one base into one: plain or Fisher-weighted; also adapters.

    plain    theta = sum_k w_k theta_k / sum_k w_k
    Fisher   theta = sum_k w_k F_k theta_k / sum_k w_k F_k

The second is the most likely theta when each kernel's data are taken as a Gaussian of precision
F_k around theta_k. Where no kernel's data say anything (all F_k are 0) the plain average stands.

Kernels of different bases are no neighbours: between them an average means nothing. What a merge
is worth is measured on held-out text, not promised.

Sources: Matena & Raffel (2022) for Fisher-weighted averaging; Wortsman et al. (2022) for plain.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.adapters.attach import Adapted, attach
from constellation.kernel.adapters.lora import LoraConfig
from constellation.kernel.network.decoder import Decoder

State = Mapping[str, Tensor]


def merge_kernels(
    decoders: Sequence[Decoder],
    *,
    weights: Sequence[float] | None = None,
    fishers: Sequence[State] | None = None,
) -> Decoder:
    """Return the average of kernels of one configuration.

    Args:
        decoders: Two or more that grew from one base, without live adapters (`merged` folds
            those in).
        weights: One per kernel, above 0; equal ones when left out.
        fishers: One per kernel, as `empirical_fisher` gives them; plain averages when left out,
            and for parameters that they do not name.

    Returns:
        A kernel with tensors of its own, in the mode of the first.

    Raises:
        ConfigError: If the configurations differ, or numbers of weights or Fishers do not match.
    """
    shares = _shares(len(decoders), weights)
    first = decoders[0]
    if any(decoder.config != first.config for decoder in decoders):
        raise ConfigError("kernels of different configurations have no average; train one base")
    plain = Decoder(first.config, seed=None)
    states = [decoder.state_dict() for decoder in decoders]
    if any(state.keys() != plain.state_dict().keys() for state in states):
        raise ConfigError("a kernel has a live adapter; fold it in with `merged` first")
    if fishers is not None and len(fishers) != len(decoders):
        raise ConfigError(f"{len(decoders)} kernels need as many Fishers, got {len(fishers)}")
    plain.load_state_dict(average(states, shares, fishers), assign=True)
    return plain.requires_grad_().train(first.training)


def average(
    states: Sequence[State], shares: Sequence[float], fishers: Sequence[State] | None = None
) -> dict[str, Tensor]:
    """Return the average of tensors of the same names and shapes, in their own dtype.

    Args:
        states: Name -> tensor, one mapping per model.
        shares: One per model.
        fishers: Name -> precision of the tensor's shape, at least 0; names may be missing.
    """
    result = {}
    for name, like in states[0].items():
        values = [state[name].detach().double() for state in states]
        mean = _weighted(values, [torch.tensor(share).double() for share in shares])
        if fishers is not None and all(name in fisher for fisher in fishers):
            precisions = [
                share * fisher[name].double() for share, fisher in zip(shares, fishers, strict=True)
            ]
            known = torch.stack(precisions).sum(0) > 0
            mean = torch.where(known, _weighted(values, precisions), mean)
        result[name] = mean.to(like.dtype)
    return result


def merge_adapters(
    base: Decoder, adapters: Sequence[Adapted], *, weights: Sequence[float] | None = None
) -> Adapted:
    """Return one low-rank adapter whose matrices are the exact average of several.

    The average of B_k A_k, not of B_k and of A_k, which any rotation between the two would change:
    the factors are laid side by side, so the ranks add up.

    Args:
        base: The kernel that all of them adapt.
        adapters: Two or more low-rank adapters with the same targets.
        weights: One per adapter, above 0; equal ones when left out.

    Raises:
        ConfigError: If an adapter is of another kind or has other targets.
    """
    shares = _shares(len(adapters), weights)
    configs = [adapted.config for adapted in adapters if isinstance(adapted.config, LoraConfig)]
    if len(configs) != len(adapters) or len({_targets(c) for c in configs}) > 1:
        raise ConfigError("only low-rank adapters with the same targets have an average")
    rank = sum(config.rank for config in configs)
    both = attach(base, LoraConfig(rank=rank, alpha=float(rank), targets=configs[0].targets))
    states = [adapted.state() for adapted in adapters]
    factors = [share * config.scale for share, config in zip(shares, configs, strict=True)]
    both.load({name: _side_by_side(name, states, factors) for name in both.state()})
    return both


def _targets(config: LoraConfig) -> frozenset[str] | None:
    return None if config.targets is None else frozenset(config.targets)


def _side_by_side(name: str, states: Sequence[State], factors: Sequence[float]) -> Tensor:
    if name.endswith(".a_RI"):
        return torch.cat([state[name] for state in states], 0)
    scaled = [factor * state[name] for factor, state in zip(factors, states, strict=True)]
    return torch.cat(scaled, 1)


def _weighted(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    products = [weight * value for weight, value in zip(weights, values, strict=True)]
    return torch.stack(products).sum(0) / torch.stack(list(weights)).sum(0)


def _shares(num_models: int, weights: Sequence[float] | None) -> list[float]:
    """Return weights that sum to 1."""
    given = [1.0] * num_models if weights is None else list(weights)
    if num_models < 2 or len(given) != num_models or not all(0 < w < torch.inf for w in given):
        raise ConfigError(f"need two or more models, each with a weight above 0, got {given}")
    return [weight / sum(given) for weight in given]
