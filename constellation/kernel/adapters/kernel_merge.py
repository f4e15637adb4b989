"""Average several kernels of one base into one: plain or Fisher-weighted.

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
from constellation.kernel.network.decoder import Decoder

State = Mapping[str, Tensor]


def merge_kernels(
    decoders: Sequence[Decoder], *, fishers: Sequence[State] | None = None
) -> Decoder:
    """Return the average of kernels of one configuration.

    Args:
        decoders: Two or more that grew from one base, without live adapters (`merged` folds
            those in).
        fishers: One per kernel, as `empirical_fisher` gives them; plain averages when left out,
            and for parameters that they do not name.

    Returns:
        A kernel with tensors of its own, in the mode of the first.

    Raises:
        ConfigError: If there are fewer than two, the configurations differ, or there are not as
            many Fishers as kernels.
    """
    if len(decoders) < 2:
        raise ConfigError(f"an average needs two or more kernels, got {len(decoders)}")
    first = decoders[0]
    if any(decoder.config != first.config for decoder in decoders):
        raise ConfigError("kernels of different configurations have no average; train one base")
    plain = Decoder(first.config, seed=None)
    states = [decoder.state_dict() for decoder in decoders]
    if any(state.keys() != plain.state_dict().keys() for state in states):
        raise ConfigError("a kernel has a live adapter; fold it in with `merged` first")
    if fishers is not None and len(fishers) != len(decoders):
        raise ConfigError(f"{len(decoders)} kernels need as many Fishers, got {len(fishers)}")
    plain.load_state_dict(average(states, [1 / len(states)] * len(states), fishers), assign=True)
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


def _weighted(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    products = [weight * value for weight, value in zip(weights, values, strict=True)]
    return torch.stack(products).sum(0) / torch.stack(list(weights)).sum(0)
