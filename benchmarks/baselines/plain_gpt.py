"""A plain dot-product GPT and its training step, as they are usually written in PyTorch.

RMSNorm by `functional.rms_norm`, rotary positions on halves of a head's channels, SwiGLU, tied
embedding, `scaled_dot_product_attention`, `functional.cross_entropy` of all logits, clipping by
`clip_grad_norm_`, fused AdamW. As many weights as a kernel of the same shape but for its couplings.

Shapes: B sequences, T positions, C channels, H heads, D channels of a head, V tokens.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.kernel.network.config import KernelConfig
from training.loop.step import StepConfig, learning_rate, use_bfloat16


class PlainBlock(nn.Module):
    """Attention and SwiGLU, each behind a norm."""

    def __init__(self, shape: KernelConfig) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.attention_norm = nn.Parameter(torch.ones(shape.width))
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        self.mlp_norm = nn.Parameter(torch.ones(shape.width))
        self.gate_up = nn.Linear(shape.width, 2 * shape.mlp_width, bias=False)
        self.down = nn.Linear(shape.mlp_width, shape.width, bias=False)

    def forward(self, x_BTC: Tensor, cosine_TD: Tensor, sine_TD: Tensor) -> Tensor:
        B, T, C = x_BTC.shape
        qkv = self.qkv(functional.rms_norm(x_BTC, (C,), self.attention_norm, 1e-6))
        query, key, value = qkv.view(B, T, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(
            turn(query, cosine_TD, sine_TD), turn(key, cosine_TD, sine_TD), value, is_causal=True
        )
        x_BTC = x_BTC + self.out(mixed.transpose(1, 2).reshape(B, T, C))
        hidden = self.gate_up(functional.rms_norm(x_BTC, (C,), self.mlp_norm, 1e-6))
        gate, up = hidden.chunk(2, -1)
        return x_BTC + self.down(functional.silu(gate) * up)


class PlainGPT(nn.Module):
    """The whole network."""

    def __init__(self, shape: KernelConfig, *, seed: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(shape.vocab_size, shape.width)
        self.blocks = nn.ModuleList(PlainBlock(shape) for _ in range(shape.num_layers))
        self.norm = nn.Parameter(torch.ones(shape.width))
        half = torch.arange(0, shape.head_dim, 2) / shape.head_dim
        angles = torch.outer(torch.arange(shape.context), shape.rotary_base**-half).repeat(1, 2)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        self.initialise(torch.Generator().manual_seed(seed), shape.init_std)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, std: float) -> None:
        to_residual = std / math.sqrt(2 * len(self.blocks))
        for name, matrix in self.named_parameters():
            if matrix.ndim > 1:
                writes = name.endswith(("out.weight", "down.weight"))
                matrix.normal_(0.0, to_residual if writes else std, generator=generator)

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Return the mean cross-entropy in nats."""
        x_BTC = self.embedding(tokens_BT)
        T, C = x_BTC.shape[1:]
        for block in self.blocks:
            x_BTC = block(x_BTC, self.cosine[:T], self.sine[:T])
        x_BTC = functional.rms_norm(x_BTC, (C,), self.norm, 1e-6)
        logits_BTV = functional.linear(x_BTC, self.embedding.weight)
        return functional.cross_entropy(logits_BTV.flatten(0, 1).float(), targets_BT.flatten())


def turn(x_BHTD: Tensor, cosine_TD: Tensor, sine_TD: Tensor) -> Tensor:
    """Apply rotary positions to the two halves of the channels."""
    first, second = x_BHTD.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    return (x_BHTD * cosine_TD + turned * sine_TD).to(x_BHTD.dtype)


@dataclass
class PlainStepper:
    """Trains a `PlainGPT` with the settings of ours."""

    model: PlainGPT
    config: StepConfig

    def __post_init__(self) -> None:
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=self.config.learning_rate,
            betas=(self.config.beta1, self.config.beta2),
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        self.bfloat16 = use_bfloat16(self.config.precision)

    def step(self, inputs_BT: Tensor, targets_BT: Tensor, index: int) -> float:
        """Take one step and return its loss in nats per token."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.config, index)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            loss = self.model.loss(inputs_BT, targets_BT)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimiser.step()
        return loss.item()
