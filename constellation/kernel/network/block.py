"""A decoder block in either style (pre-norm or post-norm): attention and an MLP.

Shapes: B sequences, T positions, C channels.
Sources: Xiong et al. (2020), where norms go; Shazeer (2020), GLU variants; Radford et al. (2018),
the post-norm block with GELU and biases.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.kernel.network.attention import Attention, Linear
from constellation.kernel.network.cache import LayerCache
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.norm import RMSNorm


class Block(nn.Module):
    """Pre-norm block: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.gate_up = Linear(config.width, 2 * config.mlp_width)
        self.down = Linear(config.mlp_width, config.width)

    def forward(
        self, x_BTC: Tensor, phases: Tensor | None, scale: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """Return the residual stream after this block, shape (B, T, C)."""
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), phases, scale, cache)
        gate, up = self.gate_up(self.mlp_norm(x_BTC)).chunk(2, -1)
        return cast(Tensor, x_BTC + self.down(functional.silu(gate) * up))

    def remember(
        self,
        x_BTC: Tensor,
        phases: Tensor | None,
        scale: Tensor | None,
        caches: Sequence[LayerCache],
    ) -> None:
        """Append the keys and values of `x_BTC` to caches, without computing any output."""
        _, key, value = self.attention.project(self.attention_norm(x_BTC), phases, scale)
        for cache in caches:
            cache.append(key, value)

    def initialise(self, generator: torch.Generator, std: float, num_residuals: int) -> None:
        """Draw the matrices; those that write to the residual stream get smaller values."""
        for matrix in (self.attention.qkv, self.gate_up):
            matrix.initialise(generator, std)
        for matrix in (self.attention.out, self.down):
            matrix.initialise(generator, std / math.sqrt(num_residuals))


class PostNormBlock(nn.Module):
    """Post-norm block: norm(x + attention(x)), then norm(x + mlp(x)); GELU MLP, biases."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)
        self.up = Linear(config.width, config.mlp_width, bias=True)
        self.down = Linear(config.mlp_width, config.width, bias=True)
        self.mlp_norm = nn.LayerNorm(config.width, eps=config.norm_epsilon)

    def forward(
        self, x_BTC: Tensor, phases: Tensor | None, scale: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """Return the residual stream after this block, shape (B, T, C)."""
        x_BTC = self.attention_norm(x_BTC + self.attention(x_BTC, phases, scale, cache))
        mixed_BTC = self.down(functional.gelu(self.up(x_BTC)))
        return cast(Tensor, self.mlp_norm(x_BTC + mixed_BTC))

    def remember(
        self,
        x_BTC: Tensor,
        phases: Tensor | None,
        scale: Tensor | None,
        caches: Sequence[LayerCache],
    ) -> None:
        """Append the keys and values of `x_BTC` to caches, without computing any output."""
        _, key, value = self.attention.project(x_BTC, phases, scale)
        for cache in caches:
            cache.append(key, value)

    def initialise(self, generator: torch.Generator, std: float, num_residuals: int) -> None:
        """Draw the matrices; those that write to the residual stream get smaller values."""
        for matrix in (self.attention.qkv, self.up):
            matrix.initialise(generator, std)
        for matrix in (self.attention.out, self.down):
            matrix.initialise(generator, std / math.sqrt(num_residuals))


def make_block(config: KernelConfig) -> Block | PostNormBlock:
    """Return a block of the style that the configuration names."""
    return Block(config) if config.is_modern else PostNormBlock(config)
