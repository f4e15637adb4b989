"""DiagonalFisher: natural-gradient steps with a damped diagonal of the empirical Fisher matrix.

A natural-gradient step divides by the Fisher matrix F itself, not by its root: Adam's rule is a
different one. Here F is the running mean of squared gradients. For batches of one sequence that is
the diagonal of the empirical Fisher matrix; the gradient of a batch of B has the square
F / B + (mean gradient)^2 in the mean, and the learning rate takes up the factor.

Sources: Amari (1998), Natural Gradient Works Efficiently in Learning; Kunstner et al. (2019),
Limitations of the Empirical Fisher Approximation, for what the approximation loses.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from constellation.errors import ConfigError


class DiagonalFisher(torch.optim.Optimizer):
    """Divides the mean gradient by F plus a share of F's mean over the parameter.

    Args:
        groups: Dicts with `params` and optionally `weight_decay`.
        lr: Learning rate, in the units of 1 / loss: far below Adam's.
        betas: Decay of the mean gradient and of F, in [0, 1).
        damping: Share of the mean of F over the same tensor that is added to F, above 0.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        groups: Iterable[Any],
        *,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        damping: float = 0.1,
    ) -> None:
        if not (damping > 0 and all(0 <= beta < 1 for beta in betas)):
            raise ConfigError(
                f"need damping > 0 and betas in [0, 1), got {damping} and {betas}; without damping "
                "parameters that hardly matter would move without limit"
            )
        defaults = {"lr": lr, "betas": betas, "damping": damping, "weight_decay": 0.0}
        super().__init__(groups, defaults)

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
        """Return mean / (F + damping mean(F)), both freed of their start at 0."""
        state, (beta1, beta2) = self.state[parameter], group["betas"]
        if not state:
            state["step"] = torch.zeros(())
            state["mean"] = torch.zeros_like(parameter)
            state["fisher"] = torch.zeros_like(parameter)
        state["step"] += 1
        step = float(state["step"])
        mean = state["mean"].lerp_(gradient, 1 - beta1).div(1 - beta1**step)
        fisher = state["fisher"].lerp_(gradient * gradient, 1 - beta2).div(1 - beta2**step)
        # A parameter without any gradient so far: 0 / tiny is 0.
        floor = group["damping"] * fisher.mean() + torch.finfo(fisher.dtype).tiny
        direction: Tensor = mean / (fisher + floor)
        return direction
