"""Map queries and keys to points of a unit sphere, for attention kinds `qfi` and `fisher_rao`.

Both maps send a vector v to a unit vector psi, so that <psi_q, psi_k> is the cosine of a geodesic
angle; a factor `scale` (the coupling) is folded into the queries. As autograd functions they cost
few passes over memory, and their backward passes are the projection to the sphere's tangent space:

    qfi         psi = v / |v|               dv = (scale / |v|) (g - psi <g, psi>)
    fisher_rao  psi = sqrt(softmax(s v))    dv = (scale s / 2) psi (g - psi <g, psi>)

and dscale = <g, psi> comes free. Neither divides by a vanishing probability.

Shapes: B sequences, T positions, S = 2 sides (query, key), H heads, D channels of a head.
Sources: Braunstein & Caves (1994) for the quantum Fisher metric, of which real amplitudes
psi = sqrt(p) with signs are the pure case; Bhattacharyya (1943) for sum sqrt(p q).
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NORM_FLOOR = 1e-12
"""Added to |v|^2: the zero vector maps to zero, with a finite gradient."""


class _Amplitudes(torch.autograd.Function):
    """scale * v / |v|."""

    @staticmethod
    def forward(ctx: Any, v_BTSHD: Tensor, scale_TSH1: Tensor) -> Tensor:
        inverse = _inverse_length(v_BTSHD)
        ctx.save_for_backward(v_BTSHD, inverse, scale_TSH1)
        return v_BTSHD * (inverse * scale_TSH1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        v_BTSHD, inverse, scale_TSH1 = ctx.saved_tensors
        radial = (gradient * v_BTSHD).sum(-1, keepdim=True).mul_(inverse)  # <g, psi>
        factor = inverse * scale_TSH1
        grad_v = (gradient * factor).addcmul_(v_BTSHD, factor.mul_(inverse).mul_(radial), value=-1)
        return grad_v, radial.sum(0) if ctx.needs_input_grad[1] else None


class _SimplexRoots(torch.autograd.Function):
    """scale * sqrt(softmax(sharpness v))."""

    @staticmethod
    def forward(ctx: Any, v_BTSHD: Tensor, scale_TSH1: Tensor, sharpness: float) -> Tensor:
        psi = _roots(v_BTSHD, sharpness)
        ctx.save_for_backward(psi, scale_TSH1)
        ctx.sharpness = sharpness
        return psi * scale_TSH1

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        psi, scale_TSH1 = ctx.saved_tensors
        radial = (gradient * psi).sum(-1, keepdim=True)  # <g, psi>
        tangent = torch.addcmul(gradient, psi, radial, value=-1)
        grad_v = tangent.mul_(psi).mul_(scale_TSH1 * (ctx.sharpness / 2))
        return grad_v, radial.sum(0) if ctx.needs_input_grad[1] else None, None


def _inverse_length(v_BTSHD: Tensor) -> Tensor:
    inverse = torch.linalg.vector_norm(v_BTSHD, dim=-1, keepdim=True)
    return cast(Tensor, inverse.square_().add_(NORM_FLOOR).rsqrt_())


def _roots(v_BTSHD: Tensor, sharpness: float) -> Tensor:
    return torch.softmax(v_BTSHD * sharpness, -1).sqrt_()


def amplitudes(v_BTSHD: Tensor, scale_TSH1: Tensor) -> Tensor:
    """Return `scale * v / |v|`: real amplitude vectors, signs kept.

    Args:
        v_BTSHD: Any real vectors, float32 or wider.
        scale_TSH1: Length of the result, at least 0.

    Returns:
        The shape of `v_BTSHD`. Zero where v is zero, with a finite gradient.
    """
    if not torch.is_grad_enabled():  # the same bits without what `apply` costs
        return v_BTSHD * (_inverse_length(v_BTSHD) * scale_TSH1)
    return cast(Tensor, _Amplitudes.apply(v_BTSHD, scale_TSH1))  # type: ignore[no-untyped-call]


def simplex_roots(v_BTSHD: Tensor, scale_TSH1: Tensor, *, sharpness: float = 1.0) -> Tensor:
    """Return `scale * sqrt(softmax(sharpness v))`: roots of points of the probability simplex.

    Args:
        v_BTSHD: Any real vectors, float32 or wider.
        scale_TSH1: Length of the result, at least 0.
        sharpness: s, above 0.

    Returns:
        The shape of `v_BTSHD`, entries at least 0. Gradients stay finite where probabilities
        underflow to 0.
    """
    if not torch.is_grad_enabled():
        return _roots(v_BTSHD, sharpness) * scale_TSH1
    roots = _SimplexRoots.apply(v_BTSHD, scale_TSH1, sharpness)  # type: ignore[no-untyped-call]
    return cast(Tensor, roots)
