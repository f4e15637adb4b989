"""Measure the Fisher information of every parameter on data: the empirical diagonal.

    F_i = 1/M sum_m (d ln p(x_m) / d theta_i)^2

One sequence is one observation, so that F is exact for the kernel as a model of whole sequences,
whatever their tokens have in common.

Shapes: M sequences, T positions.
Sources: Amari (1998) for the natural gradient; Kunstner et al. (2019) on what the empirical
Fisher is not: the Fisher of the model's own samples.
"""

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from constellation.kernel.network.loss import IGNORED


def empirical_fisher(decoder: Decoder, inputs_MT: Tensor, targets_MT: Tensor) -> dict[str, Tensor]:
    """Measure the diagonal empirical Fisher information on sequences.

    Args:
        decoder: The kernel; its parameters and their gradients are left as they are.
        inputs_MT: Token ids.
        targets_MT: The tokens that follow; -100 does not count.

    Returns:
        Parameter -> its shape, float32, at least 0, in squared nats per sequence and squared unit
        of the parameter. Frozen parameters are left out.

    Raises:
        ConfigError: If there is no sequence, or no target counts.
    """
    if inputs_MT.shape != targets_MT.shape or not (targets_MT != IGNORED).any():
        shapes = tuple(inputs_MT.shape), tuple(targets_MT.shape)
        raise ConfigError(f"a Fisher needs sequences with targets of one shape, got {shapes}")
    named = {name: p for name, p in decoder.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in named.items()}
    for inputs_T, targets_T in zip(inputs_MT, targets_MT, strict=True):
        nats = decoder.loss(inputs_T[None], targets_T[None]) * (targets_T != IGNORED).sum()
        scores = torch.autograd.grad(nats, list(named.values()), allow_unused=True)
        for name, score in zip(named, scores, strict=True):
            if score is not None:
                total[name].addcmul_(score.float(), score.float())
    return {name: squares.div_(len(inputs_MT)) for name, squares in total.items()}
