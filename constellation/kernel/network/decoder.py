"""The kernel's network: a causal decoder-only language model, from token ids to logits.

Of the style `modern`: pre-norm RMSNorm, rotary positions, SwiGLU, tied embedding, KV cache, no
biases. Of `post_norm`: learned positions, and a head of its own; see `block.py` for the rest.

Shapes: B sequences, T positions, C channels, V tokens, N layers, K outcomes of the basin.
Sources: Vaswani et al. (2017); Zhang & Sennrich (2019); Su et al. (2021); Press & Wolf (2017), tied
embeddings.
"""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.errors import ConfigError, InvalidPrompt
from constellation.kernel.network.attention import Coupling, Linear, Positions, rotary_phases
from constellation.kernel.network.basin_head import BasinHead
from constellation.kernel.network.block import make_block
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.loss import mean_nats
from constellation.kernel.network.norm import RMSNorm
from constellation.kernel.network.recursion import Depths, RecurrentBlock
from constellation.kernel.network.slots import SlotRows

Memory = KVCache | SlotRows
"""Cache of what was read before: of sequences of equal length, or of different lengths."""


class Decoder(nn.Module):
    """A causal language model: the network of one kernel.

    Attributes:
        output_product: Makes logits without gradients, in place of `functional.linear`; set by
            `constellation.kernel.writing.fast_products.prepare`.

    Args:
        config: Shape and geometry of the network.
        seed: Seed of the initial weights, which are the same on every machine; None leaves the
            memory uninitialised, for a loader that overwrites all of it.
    """

    output_product: Callable[[Tensor], Tensor] | None = None

    def __init__(self, config: KernelConfig, *, seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocab_size, config.width))
        self.frozen_input: Tensor | None
        frozen = torch.empty(config.vocab_size, config.width) if config.frozen_input else None
        self.register_buffer("frozen_input", frozen)
        self.blocks = nn.ModuleList(
            RecurrentBlock(config) if layer in config.recurrent_layers else make_block(config)
            for layer in range(config.num_layers)
        )
        self.norm = RMSNorm(config.width, epsilon=config.norm_epsilon) if config.is_modern else None
        self.coupling = Coupling(config) if config.has_coupling else None
        self.positions: nn.Parameter | None = None
        self.head: Linear | None = None
        if not config.is_modern:
            self.positions = nn.Parameter(torch.empty(config.context, config.width))
            self.head = Linear(config.width, config.vocab_size, bias=True)
        outcomes = config.basin_outcomes
        self.basin_head = None if outcomes is None else BasinHead(config.width, outcomes)
        if seed is not None:
            self.initialise(torch.Generator().manual_seed(seed))

    def forward(self, tokens_BT: Tensor, cache: Memory | None = None) -> Tensor:
        """Return the logits of the next token at every position, shape (B, T, V).

        Args:
            tokens_BT: Token ids, int64 or int32.
            cache: Keys and values of earlier tokens; the new positions are appended to it.

        Raises:
            InvalidPrompt: If there is no token, or more than the context or the cache holds.
        """
        return self.logits(self.hidden(tokens_BT, cache))

    def hidden(
        self, tokens_BT: Tensor, cache: Memory | None = None, *, depths: Depths | None = None
    ) -> Tensor:
        """Return the final hidden states, normalised, shape (B, T, C); errors as `forward`.

        Arguments and errors are those of `forward`; `depths` counts the passes through recurrent
        layers.
        """
        positions = self.reserve(tokens_BT.shape[1], cache)
        x_BTC, phases, scales = self.begin(tokens_BT, positions)
        for index, block in enumerate(self.blocks):
            caches = None if cache is None else cache.layer(index)
            if index in self.config.recurrent_layers:
                x_BTC = block(x_BTC, phases, scales[index], caches, self._readout, depths)
            else:
                layer_cache = None if caches is None else caches[0]
                x_BTC = block(x_BTC, phases, scales[index], layer_cache)
        if cache is not None:
            cache.advance(tokens_BT.shape[1])
        return self.normalised(x_BTC)

    def begin(
        self, tokens_BT: Tensor, positions: Positions
    ) -> tuple[Tensor, Tensor | None, Sequence[Tensor | None]]:
        """Return what the blocks take: the stream, rotary phases, and every layer's couplings."""
        x_BTC, phases = self._placed(tokens_BT, positions)
        if self.coupling is None:
            return x_BTC, phases, [None] * len(self.blocks)
        return x_BTC, phases, self.coupling(positions).unbind(0)

    def normalised(self, x_BTC: Tensor) -> Tensor:
        """Return the stream after the last norm; `post_norm` has normalised it already."""
        return x_BTC if self.norm is None else cast(Tensor, self.norm(x_BTC))

    def reserve(self, num_new: int, cache: Memory | None) -> Positions:
        """Return the places of the new tokens, if they fit; errors as `forward`."""
        start = 0 if cache is None else cache.length
        if not 1 <= num_new <= self.config.context - start:
            length = 0 if num_new == 0 else start + num_new
            raise InvalidPrompt(length=length, limit=self.config.context)
        if cache is None:
            return slice(0, num_new)
        cache.reserve(num_new)
        return cache.positions(num_new)

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of the next token, shape (..., V), of final hidden states (..., C)."""
        if self.output_product is not None and not torch.is_grad_enabled():
            return self.output_product(hidden)
        return functional.linear(hidden, self.output_weight, self.output_bias)

    def loss(
        self, tokens_BT: Tensor, targets_BT: Tensor, *, depths: Depths | None = None
    ) -> Tensor:
        """Return the mean cross-entropy in nats, a scalar; targets of -100 do not count.

        The logits are never held all at once.
        """
        return self.mean_nats(self.hidden(tokens_BT, depths=depths), targets_BT)

    def mean_nats(self, hidden_BTC: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the loss of hidden states that were computed before."""
        targets_M = targets_BT.flatten().long()
        return mean_nats(hidden_BTC.flatten(0, 1), self.output_weight, targets_M, self.output_bias)

    def basin(self, hidden_BTC: Tensor) -> Tensor:
        """Return where the kernel places each sequence on the simplex, shape (B, K).

        Args:
            hidden_BTC: What `hidden` returned; all of its positions count the same.

        Raises:
            ConfigError: If the kernel has no basin head.
        """
        if self.basin_head is None:
            raise ConfigError("this kernel has no basin head; train one with basin_outcomes set")
        return cast(Tensor, self.basin_head(hidden_BTC))

    @property
    def output_weight(self) -> Tensor:
        """Matrix that makes logits, shape (V, C): the embedding where the two are tied."""
        return self.embedding if self.head is None else self.head.weight

    @property
    def output_bias(self) -> Tensor | None:
        """Bias of the logits, shape (V,); None in the style `modern`."""
        return None if self.head is None else self.head.bias

    def parameter_groups(self, *, weight_decay: float) -> list[dict[str, object]]:
        """Return parameters grouped for an optimiser: matrices decay, vectors and couplings do not.

        Frozen parameters, such as those under an adapter, are left out.

        Decay of a log-coupling would pull kappa to 1, decay of a norm would pull its output to 0.
        """
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        decays = [p for name, p in named if p.ndim > 1 and not name.startswith("coupling.")]
        keeps = [p for name, p in named if p.ndim <= 1 or name.startswith("coupling.")]
        return [
            {"params": decays, "weight_decay": weight_decay},
            {"params": keeps, "weight_decay": 0.0},
        ]

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all matrices again; norms, couplings and slopes keep their starting values."""
        std = self.config.init_std
        self.embedding.normal_(0.0, std, generator=generator)
        for block in self.blocks:
            cast(RecurrentBlock, block).initialise(generator, std, 2 * self.config.num_passes())
        if self.positions is not None:
            self.positions.normal_(0.0, std, generator=generator)
        for head in (self.head, self.basin_head):
            if head is not None:
                head.initialise(generator, std)
        if self.frozen_input is not None:
            self.frozen_input.normal_(0.0, std, generator=generator)

    def _placed(self, tokens_BT: Tensor, positions: Positions) -> tuple[Tensor, Tensor | None]:
        """Return the embedded tokens, and their rotary phases if the style has rotary positions."""
        table_VC = self.embedding if self.frozen_input is None else self.frozen_input
        x_BTC = functional.embedding(tokens_BT, table_VC)
        if self.positions is None:
            return x_BTC, rotary_phases(self.config, tokens_BT.device)[positions]
        return x_BTC + self.positions[positions], None

    def _readout(self, x_RC: Tensor) -> Tensor:
        """Return the logits of a residual stream between two passes, shape (R, V)."""
        return self.logits(self.normalised(x_RC))
