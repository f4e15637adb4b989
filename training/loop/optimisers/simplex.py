"""Exponentiated gradient: update parameters that are probabilities, staying on the simplex.

    p_k <- p_k exp(-lr g_k) / Z

This is mirror descent with the negative entropy as mirror map: each step minimises the linearised
loss plus KL(new, old) / lr. It equals plain gradient steps on the logits that mirror p, taken with
the gradient with respect to p. For a small rate it follows the Fisher-Rao gradient flow.

Sources: Kivinen & Warmuth (1997), Exponentiated Gradient versus Gradient Descent; Beck & Teboulle
(2003), Mirror descent.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from constellation.errors import ConfigError, InvalidBasin
from constellation.geometry import check_simplex


class ExponentiatedGradient(torch.optim.Optimizer):
    """Moves tensors whose last axis is a point of the simplex; they never leave it.

    Entries that are 0 stay 0, all others stay above 0 up to underflow. Has no state.

    Args:
        parameters: float32 or float64, shape (..., K), each row on the simplex.
        lr: Learning rate, in the units of 1 / loss, above 0.

    Raises:
        ConfigError: A parameter is not on the simplex, or the rate is not above 0.
    """

    def __init__(self, parameters: Iterable[Any], *, lr: float) -> None:
        if not lr > 0:
            raise ConfigError(f"need a learning rate above 0, got {lr}")
        super().__init__(parameters, {"lr": lr})
        for group in self.param_groups:
            for parameter in group["params"]:
                _check(parameter.detach())

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.copy_(_moved(parameter, parameter.grad, group["lr"]))


def _moved(p_K: Tensor, gradient_K: Tensor, rate: float) -> Tensor:
    # In logarithms, so that no rate overflows; a softmax is the division by Z.
    return torch.softmax(p_K.log() - rate * gradient_K, dim=-1)


def _check(p_K: Tensor) -> None:
    try:
        check_simplex(p_K)
    except InvalidBasin as error:
        raise ConfigError(
            f"exponentiated gradient moves points of the simplex: {error}; use another optimiser"
        ) from error
