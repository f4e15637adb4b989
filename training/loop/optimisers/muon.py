"""Muon: update matrices by the orthogonal factor of their momentum, other parameters by AdamW.

The orthogonal factor U V^T of M = U S V^T is the steepest direction under the spectral norm: every
singular direction moves by the same amount. It is found without a decomposition by an odd
polynomial applied to the singular values again and again.

Sources: Jordan et al. (2024), Muon: an optimizer for hidden layers in neural networks; Bernstein &
Newhouse (2024), Old Optimizer, New Norm; Liu et al. (2025), Muon is Scalable for LLM Training, for
the factor that lets one learning rate serve both rules.
"""

import math
from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.network.decoder import Decoder
from training.loop.optimisers.adam import adam_update

QUINTIC: Final = (3.4445, -4.7750, 2.0315)
"""a, b, c of x -> a x + b x^3 + c x^5: steep at 0, and it keeps (0, 1] inside the band."""

BAND: Final = (0.65, 1.25)
"""Where singular values end that were above `REACH` of the Frobenius norm."""

REACH: Final = 0.01
"""Smallest share of the Frobenius norm that five rounds lift into the band."""

ADAM_RMS: Final = 0.2
"""Root mean square of a typical AdamW update, which Muon's is scaled to."""


class Muon(torch.optim.Optimizer):
    """Muon for groups with `orthogonal` set, AdamW for the others.

    Args:
        groups: Dicts with `params`, and optionally `weight_decay` and `orthogonal`; the latter
            needs matrices.
        lr: Learning rate of both rules.
        betas: Decays of AdamW.
        momentum: Decay of the matrices' mean gradient, in [0, 1); used with Nesterov's look ahead.
        rounds: Of the polynomial; more come no nearer, since it does not converge to 1 exactly.

    Raises:
        ConfigError: An orthogonal group holds something else than matrices.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        momentum: float = 0.95,
        rounds: int = 5,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "momentum": momentum,
            "rounds": rounds,
            "weight_decay": 0.0,
            "orthogonal": False,
        }
        super().__init__(groups, defaults)
        for group in self.param_groups:
            if group["orthogonal"] and any(p.ndim != 2 for p in group["params"]):
                raise ConfigError("Muon moves matrices; give other parameters to a plain group")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                direction = self._direction(parameter, parameter.grad, group)
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(direction, alpha=-group["lr"])

    def _direction(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> Tensor:
        state = self.state[parameter]
        if not group["orthogonal"]:
            return adam_update(parameter, gradient, state, betas=group["betas"])
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        mean = state["momentum"].lerp_(gradient, 1 - group["momentum"])
        ahead = torch.lerp(gradient, mean, group["momentum"])
        scale = ADAM_RMS * math.sqrt(max(parameter.shape))
        return orthogonalise(ahead, rounds=group["rounds"]).mul_(scale)


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


def orthogonalise(matrix: Tensor, *, rounds: int = 5) -> Tensor:
    """Return about U V^T of the matrix U S V^T, by a Newton-Schulz iteration.

        X <- a X + (b A + c A^2) X,  A = X X^T,  from X = M / |M|

    Args:
        matrix: Shape (m, n), float32 or bfloat16.
        rounds: At least 1.

    Returns:
        Same shape and dtype. Singular values of `REACH` of the Frobenius norm or more end in
        `BAND`; smaller ones are lifted but stay below it. A zero matrix stays zero.
    """
    a, b, c = QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.mT if tall else matrix  # the smaller Gram matrix
    x = x / (torch.linalg.matrix_norm(x) + torch.finfo(matrix.dtype).tiny)
    for _ in range(rounds):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
