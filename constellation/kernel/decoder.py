"""The kernel itself: a causal decoder-only language model, readable top to bottom.

Pre-norm RMSNorm, rotary positions, SwiGLU, tied embedding, KV cache, no biases.

Shapes: B sequences, T positions, C channels, V tokens, N layers.
Sources: Vaswani et al. (2017); Zhang & Sennrich (2019); Su et al. (2021); Shazeer (2020), GLU
variants; Press & Wolf (2017), tied embeddings.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.errors import InvalidPrompt
from constellation.kernel.attention import Attention, Coupling, Linear, rotary_phases
from constellation.kernel.cache import KVCache, LayerCache
from constellation.kernel.config import KernelConfig
from constellation.kernel.loss import mean_nats
from constellation.kernel.norm import RMSNorm


class Decoder(nn.Module):
    """A kernel's network.

    Args:
        config: Its shape and geometry.
        seed: Of the initial weights, which are the same on every machine; None leaves the memory
            as it is, for a loader that overwrites all of it.
    """

    def __init__(self, config: KernelConfig, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.coupling = Coupling(config) if config.has_coupling else None
        if seed is not None:
            self.initialise(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the logits of the next token at every position, shape (B, T, V).

        Args:
            tokens_BT: Token ids, int64 or int32.
            cache: What was read before; the new positions are appended to it.

        Raises:
            InvalidPrompt: If there is no token, or more than the context or the cache holds.
        """
        return functional.linear(self.hidden(tokens_BT, cache), self.embedding)

    def hidden(self, tokens_BT: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the normalised final hidden states, shape (B, T, C); errors as `forward`."""
        x_BTC = functional.embedding(tokens_BT, self.embedding)
        start, num_new = self._reserve(tokens_BT.shape[1], cache)
        phases = rotary_phases(self.config, tokens_BT.device)[start : start + num_new]
        scales: Sequence[Tensor | None] = [None] * len(self.blocks)
        if self.coupling is not None:
            scales = self.coupling(start, num_new).unbind(0)
        for index, block in enumerate(self.blocks):
            layer_cache = None if cache is None else cache.layer(index)
            x_BTC = block(x_BTC, phases, scales[index], layer_cache)
        if cache is not None:
            cache.advance(num_new)
        return cast(Tensor, self.norm(x_BTC))

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats, a scalar; targets of -100 do not count.

        The logits are never held all at once.
        """
        hidden_MC = self.hidden(tokens_BT).flatten(0, 1)
        return mean_nats(hidden_MC, self.embedding, targets_BT.flatten().long())

    def parameter_groups(self, *, weight_decay: float) -> list[dict[str, object]]:
        """Return what an optimiser wants: matrices decay, norms and couplings do not.

        A decayed log-coupling would pull kappa to 1, a decayed norm to silence.
        """
        named = list(self.named_parameters())
        decays = [p for name, p in named if p.ndim > 1 and not name.startswith("coupling.")]
        keeps = [p for name, p in named if p.ndim <= 1 or name.startswith("coupling.")]
        return [
            {"params": decays, "weight_decay": weight_decay},
            {"params": keeps, "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all matrices anew; norms, couplings and slopes keep their starting values."""
        std = self.config.init_std
        self.embedding.normal_(0.0, std, generator=generator)
        for block in self.blocks:
            cast(Block, block).initialise(generator, std, 2 * self.config.num_layers)

    def _reserve(self, num_new: int, cache: KVCache | None) -> tuple[int, int]:
        """Return the first new position and the number of new ones, if they fit."""
        start = 0 if cache is None else cache.length
        if not 1 <= num_new <= self.config.context - start:
            length = 0 if num_new == 0 else start + num_new
            raise InvalidPrompt(length=length, limit=self.config.context)
        if cache is not None:
            cache.reserve(num_new)
        return start, num_new


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: KernelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, epsilon=config.norm_epsilon)
        self.gate_up = Linear(config.width, 2 * config.mlp_width)
        self.down = Linear(config.mlp_width, config.width)

    def forward(
        self, x_BTC: Tensor, phases: Tensor, scale: Tensor | None, cache: LayerCache | None
    ) -> Tensor:
        """Return the residual stream after this block, shape (B, T, C)."""
        x_BTC = x_BTC + self.attention(self.attention_norm(x_BTC), phases, scale, cache)
        gate, up = self.gate_up(self.mlp_norm(x_BTC)).chunk(2, -1)
        return cast(Tensor, x_BTC + self.down(functional.silu(gate) * up))

    def initialise(self, generator: torch.Generator, std: float, num_residuals: int) -> None:
        """Draw the matrices; those that write to the residual stream are smaller."""
        for matrix in (self.attention.qkv, self.gate_up):
            matrix.weight.normal_(0.0, std, generator=generator)
        for matrix in (self.attention.out, self.down):
            matrix.weight.normal_(0.0, std / math.sqrt(num_residuals), generator=generator)
