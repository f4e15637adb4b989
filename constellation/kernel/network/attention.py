"""Causal multi-head attention of every kind, with its learned coupling and rotary positions.

Per head, query and key are unit vectors and the logit is kappa times the cosine of their geodesic
angle, so `scaled_dot_product_attention` serves every kind: no T x T x D broadcast, no arccosine of
scores. kappa is folded into the queries and may run with the number L of keys a query sees:

    kappa_h(L) = kappa_h max(0.1, 1 + beta_h ln(L / L_ref))

Shapes: N layers, B sequences, T new positions, L visible positions, S = 2 sides (query, key),
H heads, D channels of a head, C = H D.
Sources: Su et al. (2021), rotary positions; Dao et al. (2022), the fused product.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.kernel.network.cache import LayerCache
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.sphere import amplitudes, simplex_roots

COUPLING_FLOOR = 0.1
"""Least factor of the length-dependent coupling: attention never reverses, however steep beta
is."""


Positions = slice | Tensor
"""Positions of new tokens, from 0: one list for all sequences, or one per sequence, int64 of shape
(B, 1)."""


class Linear(nn.Linear):
    """A matrix product whose values are set by `Decoder.initialise` or a checkpoint, not by torch.

    Attributes:
        product: Computes x W^T + b without gradients, in place of `functional.linear`; set by
            `constellation.kernel.writing.fast_products.prepare`.
    """

    product: Callable[[Tensor], Tensor] | None = None

    def __init__(self, num_in: int, num_out: int, *, bias: bool = False) -> None:
        super().__init__(num_in, num_out, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return x W^T + b."""
        if self.product is not None and not torch.is_grad_enabled():
            return self.product(x)
        return super().forward(x)

    def reset_parameters(self) -> None:
        """Leave the memory uninitialised: the decoder fills it."""

    def initialise(self, generator: torch.Generator, std: float) -> None:
        """Draw the matrix at random and set a bias to 0."""
        self.weight.normal_(0.0, std, generator=generator)
        if self.bias is not None:
            self.bias.zero_()


class Coupling(nn.Module):
    """Learned couplings of all layers, evaluated together once per forward pass."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.config = config
        shape = (config.num_layers, config.num_heads)
        self.log_kappa_NH = nn.Parameter(torch.full(shape, math.log(config.coupling_start)))
        if config.learns_beta:
            self.beta_NH = nn.Parameter(torch.zeros(shape))

    def forward(self, positions: Positions) -> Tensor:
        """Return the lengths (norms) of query and key vectors of all layers.

        Args:
            positions: Positions of the new tokens, counted from 0.

        Returns:
            Shape (N, T, 2, H, 1), or (N, 1, 2, H, 1) without running coupling: kappa_h(L) on the
            query side, 1 on the key side. With positions per sequence (N, B, 1, 2, H, 1).
        """
        kappa_NTH = self.log_kappa_NH.float().exp().unsqueeze(1)
        if self.config.running_coupling:
            kappa_NTH = self._running(kappa_NTH, positions)
        return torch.stack((kappa_NTH, torch.ones_like(kappa_NTH)), -2).unsqueeze(-1)

    def _running(self, kappa_N1H: Tensor, positions: Positions) -> Tensor:
        """Return kappa max(0.1, 1 + beta ln(L / L_ref)), shape (N, T, H) or (N, B, 1, H)."""
        device = self.log_kappa_NH.device
        table = log_length_table(self.config.context, self.config.coupling_reference_length, device)
        log_T1 = table[positions].unsqueeze(-1)
        per_sequence = log_T1.ndim == 3
        kappa = kappa_N1H.unsqueeze(1) if per_sequence else kappa_N1H
        if self.config.beta_frozen is not None:
            slope = self.config.beta_frozen * log_T1
        else:
            beta_N1H = self.beta_NH.float().unsqueeze(1)
            slope = (beta_N1H.unsqueeze(1) if per_sequence else beta_N1H) * log_T1
        return kappa * slope.add(1.0).clamp(min=COUPLING_FLOOR)


class Attention(nn.Module):
    """One layer of causal multi-head attention of any kind."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.config = config
        bias = not config.is_modern
        self.qkv = Linear(config.width, 3 * config.width, bias=bias)
        self.out = Linear(config.width, config.width, bias=bias)

    def forward(
        self,
        x_BTC: Tensor,
        phases_T11D: Tensor | None,
        scale_TSH1: Tensor | None,
        cache: LayerCache | None,
    ) -> Tensor:
        """Return the attention output.

        Args:
            x_BTC: Normalised residual stream of the new positions.
            phases_T11D: Rotary phases of the new positions, complex, D / 2 entries, or one set
                per sequence, shape (B, 1, 1, 1, D / 2); None where positions are in the residual
                stream already.
            scale_TSH1: One layer of `Coupling`'s result; None for `dot`.
            cache: Keys and values of earlier positions; the new ones are appended.

        Returns:
            Shape (B, T, C).
        """
        query, key, value = self.project(x_BTC, phases_T11D, scale_TSH1)
        mix = attend if cache is None or cache.attend is None else cache.attend
        return cast(Tensor, self.out(mix(query, key, value, cache, self.logit_scale)))

    @property
    def logit_scale(self) -> float:
        """Factor of the products of queries and keys; the coupling is contained in the queries."""
        return 1.0 if self.config.has_coupling else self.config.head_dim**-0.5

    def project(
        self, x_BTC: Tensor, phases_T11D: Tensor | None, scale_TSH1: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries (coupling included), keys and values, each of shape (B, H, T, D)."""
        B, T, C = x_BTC.shape
        H, D = self.config.num_heads, self.config.head_dim
        qk_BTC2, value = self.qkv(x_BTC).split((2 * C, C), -1)
        points_BTSHD = self._points(qk_BTC2.view(B, T, 2, H, D).float(), scale_TSH1)
        if phases_T11D is not None:
            points_BTSHD = rotate(points_BTSHD, phases_T11D)
        query, key = points_BTSHD.to(value.dtype).unbind(2)
        return query.transpose(1, 2), key.transpose(1, 2), value.view(B, T, H, D).transpose(1, 2)

    def _points(self, v_BTSHD: Tensor, scale_TSH1: Tensor | None) -> Tensor:
        """Return the vectors as points of the kind's geometry, before rotary positions."""
        if scale_TSH1 is None:
            return v_BTSHD
        if self.config.attention == "qfi":
            return amplitudes(v_BTSHD, scale_TSH1)
        return simplex_roots(v_BTSHD, scale_TSH1, sharpness=self.config.simplex_scale)


def attend(
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    cache: LayerCache | None,
    logit_scale: float,
) -> Tensor:
    """Return the attention-weighted values, heads side by side, shape (B, T, C).

    The new keys and values are appended to those of earlier positions in the cache.
    """
    if cache is not None:
        key_BHTD, value_BHTD = cache.append(key_BHTD, value_BHTD)
    num_new, num_visible = query_BHTD.shape[2], key_BHTD.shape[2]
    mask = None if cache is None else cache.bias_B11L
    if num_new > 1:
        mask = _mask(num_new, num_visible, query_BHTD.device)
    mixed_BHTD = functional.scaled_dot_product_attention(
        query_BHTD,
        key_BHTD,
        value_BHTD,
        attn_mask=mask,
        is_causal=num_new == num_visible > 1,
        scale=logit_scale,
    )
    return mixed_BHTD.transpose(1, 2).flatten(2)


def rotate(v_BTSHD: Tensor, phases_T11D: Tensor) -> Tensor:
    """Rotate adjacent pairs of channels by the phases of their position: one complex product.

    The rotation is an isometry of the sphere, so products depend on relative positions only, and
    at equal positions equal those of the unrotated points.

    Args:
        v_BTSHD: float32.
        phases_T11D: Complex, D / 2 entries; or their real and imaginary parts in one more
            dimension, which compilers understand.

    Returns:
        Shape of `v_BTSHD`.
    """
    pairs = v_BTSHD.view(*v_BTSHD.shape[:-1], -1, 2)
    if not phases_T11D.is_complex():
        (real, imaginary), (cosine, sine) = pairs.unbind(-1), phases_T11D.unbind(-1)
        turned = (real * cosine - imaginary * sine, real * sine + imaginary * cosine)
        return torch.stack(turned, -1).flatten(-2)
    return torch.view_as_real(torch.view_as_complex(pairs) * phases_T11D).flatten(-2)


def rotary_phases(config: KernelConfig, device: torch.device) -> Tensor:
    """Return exp(i t base^(-2j/D)) for all positions t < context, shape (context, 1, 1, D/2)."""
    return _phase_table(config.context, config.head_dim, config.rotary_base, device)


# The two tables are pure functions of their arguments, kept out of the modules so that `.to(dtype)`
# cannot round them and checkpoints do not hold them. `inference_mode(False)`: a table first made
# while generating must still be fit for training.
@lru_cache(maxsize=32)
def _phase_table(context: int, head_dim: int, base: float, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        half = torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim
        angles = torch.outer(torch.arange(context, dtype=torch.float64), base**-half)
        phases = torch.polar(torch.ones_like(angles), angles)
        return phases.to(torch.complex64).view(context, 1, 1, head_dim // 2).to(device)


@lru_cache(maxsize=32)
def log_length_table(context: int, reference: int, device: torch.device) -> Tensor:
    """Return ln(L / L_ref) for L = 1..context, shape (context,), float32."""
    with torch.inference_mode(False):
        lengths = torch.arange(1, context + 1, dtype=torch.float64)
        return lengths.div(reference).log().to(torch.float32).to(device)


def _mask(num_new: int, num_visible: int, device: torch.device) -> Tensor | None:
    """Return which keys each new position sees, shape (T, L); None where plain causality does."""
    if num_new == num_visible:
        return None
    ones = torch.ones(num_new, num_visible, dtype=torch.bool, device=device)
    return ones.tril(num_visible - num_new)
