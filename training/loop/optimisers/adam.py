"""The AdamW update of one parameter, for optimisers that use AdamW on a part of the network.

Source: Loshchilov & Hutter (2019), Decoupled Weight Decay Regularization.
"""

from typing import Any

import torch
from torch import Tensor

EPSILON = 1e-8
"""Added to the root of the mean square, as in `torch.optim.AdamW`."""


def adam_update(
    parameter: Tensor, gradient: Tensor, state: dict[str, Any], *, betas: tuple[float, float]
) -> Tensor:
    """Return the direction of AdamW and move its moments on.

        m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + 1e-8)

    Args:
        parameter: Tells shape and device of new moments.
        gradient: Of the loss.
        state: Holds `step`, `exp_avg` and `exp_avg_sq`; filled on the first call.
        betas: Decay of the gradient's mean and of its square, in [0, 1).
    """
    if not state:
        state["step"] = torch.zeros(())
        state["exp_avg"] = torch.zeros_like(parameter)
        state["exp_avg_sq"] = torch.zeros_like(parameter)
    state["step"] += 1
    step = float(state["step"])
    mean = state["exp_avg"].lerp_(gradient, 1 - betas[0])
    square = state["exp_avg_sq"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
    root = square.sqrt().div_((1 - betas[1] ** step) ** 0.5).add_(EPSILON)
    direction: Tensor = mean.div(1 - betas[0] ** step).div_(root)
    return direction
