"""Make the optimiser of a given name over a network's parameter groups."""

from typing import Any, Literal

import torch

from constellation.kernel.network.decoder import Decoder
from training.loop.optimisers.fisher import DiagonalFisher
from training.loop.optimisers.muon import Muon

OptimiserKind = Literal["adamw", "muon", "diagonal_fisher"]


def build(
    decoder: Decoder,
    kind: OptimiserKind,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    momentum: float,
    damping: float,
) -> torch.optim.Optimizer:
    """Return an optimiser that decays matrices and leaves vectors and couplings alone.

    Args:
        decoder: The network.
        kind: Which rule.
        learning_rate: Highest rate.
        weight_decay: Of matrices, per unit of rate.
        betas: Decay of the gradient's mean and of its square.
        momentum: Of `muon`'s matrices.
        damping: Of `diagonal_fisher`.
    """
    groups = decoder.parameter_groups(weight_decay=weight_decay)
    if kind == "muon":
        return Muon(muon_groups(decoder, groups), lr=learning_rate, betas=betas, momentum=momentum)
    if kind == "diagonal_fisher":
        return DiagonalFisher(groups, lr=learning_rate, betas=betas, damping=damping)
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def muon_groups(decoder: Decoder, groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the groups with the hidden matrices in groups of their own, marked `orthogonal`.

    Hidden matrices map states to states. Tables with a row per token or position, and the output
    matrix, are left to AdamW, as Jordan et al. (2024) found best.
    """
    rows = {decoder.config.vocab_size, decoder.config.context}
    hidden = {
        parameter
        for name, parameter in decoder.named_parameters()
        if parameter.ndim == 2
        and name.rpartition(".")[2] == "weight"
        and not (name.count(".") == 1 and parameter.shape[0] in rows)
    }
    split = []
    for group in groups:
        for orthogonal in (True, False):
            members = [p for p in group["params"] if (p in hidden) is orthogonal]
            if members:
                split.append({**group, "params": members, "orthogonal": orthogonal})
    return split
