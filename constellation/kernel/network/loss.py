"""Cross-entropy of an output matrix, computed in chunks so that not all logits are held.

For a vocabulary of 32,000 the logits of 12 x 512 positions take 786 MB; here they exist a chunk at
a time, and the gradients of a chunk are made while its logits are still in the cache. The same
products are computed as in the plain form.

Shapes: M positions (batch and time flattened), C channels, V tokens.
"""

from typing import Any, Final, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

IGNORED: Final = -100
"""Target value of a position that does not count."""

CHUNK_LOGITS: Final = 1 << 22
"""Number of logits held at once (16 MB in float32), at least one row. A smaller number would add to
the weight's gradient more often, a larger one would need fresh memory pages for every chunk."""

SLICE_NUMBERS: Final = 1 << 20
"""Entries of the weight's gradient that are converted and added at once (4 MB in float32)."""


def token_nats(
    hidden_MC: Tensor, weight_VC: Tensor, targets_M: Tensor, bias_V: Tensor | None = None
) -> Tensor:
    """Return -ln p(target) per position, shape (M,), float32; 0 where the target is ignored."""
    rows = _rows_per_chunk(weight_VC)
    nats = []
    for hidden, targets in zip(
        torch.split(hidden_MC, rows), torch.split(targets_M, rows), strict=True
    ):
        logits = functional.linear(hidden, weight_VC, bias_V).float()
        nats.append(
            functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")
        )
    return torch.cat(nats)


def mean_nats(
    hidden_MC: Tensor, weight_VC: Tensor, targets_M: Tensor, bias_V: Tensor | None = None
) -> Tensor:
    """Return the mean of -ln p(target) over counted positions, a scalar in nats.

    0 with zero gradients when no position counts.
    """
    if torch.is_grad_enabled():
        arguments = (hidden_MC, weight_VC, targets_M, bias_V)
        return cast(Tensor, _ChunkedCrossEntropy.apply(*arguments))  # type: ignore[no-untyped-call]
    count = (targets_M != IGNORED).sum().clamp(min=1)
    return token_nats(hidden_MC, weight_VC, targets_M, bias_V).sum() / count


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Mean cross-entropy; gradients are computed in the forward pass and scaled in the backward."""

    @staticmethod
    def forward(
        ctx: Any, hidden_MC: Tensor, weight_VC: Tensor, targets_M: Tensor, bias_V: Tensor | None
    ) -> Tensor:
        dtype = _product_dtype(hidden_MC)
        weight = weight_VC.to(dtype)
        bias = None if bias_V is None else bias_V.to(dtype)
        rows = _rows_per_chunk(weight_VC)
        scale = 1.0 / max(1, int((targets_M != IGNORED).sum()))
        grad_hidden = torch.empty_like(hidden_MC)
        grad_weight = torch.zeros_like(weight_VC)
        grad_bias = None if bias_V is None else torch.zeros_like(bias_V)
        total = torch.zeros((), dtype=torch.float32, device=hidden_MC.device)
        for start in range(0, len(targets_M), rows):
            chunk = slice(start, start + rows)
            hidden = hidden_MC[chunk].to(dtype)
            logits = hidden @ weight.T if bias is None else functional.linear(hidden, weight, bias)
            nats, grad_logits = _nats_and_gradient(logits, targets_M[chunk], scale)
            total += nats
            grad_hidden[chunk] = grad_logits @ weight
            _add_product(grad_weight, grad_logits, hidden)
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0)
        ctx.save_for_backward(grad_hidden, grad_weight, grad_bias)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None]:
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        scaled_bias = None if grad_bias is None else grad_bias * gradient
        return grad_hidden * gradient, grad_weight * gradient, None, scaled_bias


def _nats_and_gradient(logits: Tensor, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Return the scaled sum of nats and its gradient with respect to the logits."""
    log_p = torch.log_softmax(logits, -1, dtype=torch.float32)
    counted = targets != IGNORED
    index = targets.where(counted, 0).unsqueeze(-1)
    weight = counted.unsqueeze(-1).to(log_p.dtype) * scale
    nats = -(log_p.gather(-1, index) * weight).sum()
    gradient = log_p.exp_().mul_(weight).scatter_add_(-1, index, -weight)
    return nats, gradient.to(logits.dtype)


def _add_product(total_VC: Tensor, grad_logits_MV: Tensor, hidden_MC: Tensor) -> None:
    """Add `grad_logits.T @ hidden` to `total`, in one pass where the dtypes allow it."""
    if total_VC.dtype == hidden_MC.dtype:
        total_VC.addmm_(grad_logits_MV.T, hidden_MC)
        return
    rows = max(1, SLICE_NUMBERS // total_VC.shape[1])
    for total, grad_logits in zip(
        torch.split(total_VC, rows), torch.split(grad_logits_MV, rows, 1), strict=True
    ):
        total.add_(grad_logits.T @ hidden_MC)


def _product_dtype(hidden_MC: Tensor) -> torch.dtype:
    device = hidden_MC.device.type
    enabled = torch.is_autocast_enabled(device)
    return torch.get_autocast_dtype(device) if enabled else hidden_MC.dtype


def _rows_per_chunk(weight_VC: Tensor) -> int:
    return max(1, CHUNK_LOGITS // weight_VC.shape[0])


def output_entropy_nats(logits_MV: Tensor) -> Tensor:
    """Return the entropy of the next-token distribution, nats in [0, ln V], shape (..., M)."""
    log_p = torch.log_softmax(logits_MV.float(), -1)
    return -(log_p.exp() * log_p).sum(-1)
