"""Low-rank adapters (LoRA): a matrix W acts as W + (alpha / rank) B A while W is frozen.

B starts at zero, so that an adapted kernel begins as its base, to the bit.

Shapes: I inputs of a matrix, O its outputs, R rank; leading dimensions are free.
Source: Hu et al. (2021), LoRA.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.errors import ConfigError

LORA: Final = "lora"
"""Name of the adapter inside the matrix that it changes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraConfig:
    """Size and place of a low-rank adapter."""

    kind: ClassVar[str] = "lora"
    rank: int = 8
    """R, from 1. One product covers all outputs of a fused matrix such as `qkv`."""
    alpha: float = 16.0
    """The product B A is multiplied by alpha / rank."""
    dropout: float = 0.0
    """Share of the adapter's inputs that training drops, in [0, 1)."""
    targets: tuple[str, ...] | None = None
    """Names of the matrices to adapt in every block, such as `qkv` and `out` of attention and
    `gate_up` and `down` of the MLP; None adapts all. Other libraries' models have other names."""

    def __post_init__(self) -> None:
        if type(self.rank) is not int or self.rank < 1:
            raise ConfigError(f"rank is {self.rank!r}; allowed: whole numbers from 1")
        if not (math.isfinite(self.alpha) and self.alpha > 0):
            raise ConfigError(f"alpha is {self.alpha}; allowed: finite numbers above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout}; allowed: 0 up to, but not, 1")
        if self.targets is not None and not 0 < len(set(self.targets)) == len(self.targets):
            raise ConfigError(f"targets are {self.targets}; name at least one matrix, each once")

    @property
    def scale(self) -> float:
        """Factor of B A."""
        return self.alpha / self.rank


class LowRank(nn.Module):
    """What a low-rank adapter adds to the output of one matrix.

    Attributes:
        a_RI: From the inputs to R numbers; drawn at random.
        b_OR: From R numbers to the outputs; zero at the start.
    """

    def __init__(self, matrix: nn.Linear, config: LoraConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        std = matrix.in_features**-0.5
        drawn_RI = torch.randn(config.rank, matrix.in_features, generator=generator) * std
        self.a_RI = nn.Parameter(drawn_RI.to(matrix.weight))
        self.b_OR = nn.Parameter(matrix.weight.new_zeros(matrix.out_features, config.rank))

    def forward(self, x: Tensor) -> Tensor:
        """Return scale * B A x, shape (..., O)."""
        x = functional.dropout(x, self.config.dropout, self.training)
        return functional.linear(functional.linear(x, self.a_RI), self.b_OR) * self.config.scale

    def delta(self) -> Tensor:
        """Return scale * B A, shape (O, I), float32: what the adapter adds to the matrix."""
        return (self.b_OR.detach().float() @ self.a_RI.detach().float()) * self.config.scale


def install_lora(blocks: nn.ModuleList, config: LoraConfig, generator: torch.Generator) -> None:
    """Put an adapter into every matrix of the blocks that the configuration names.

    Raises:
        ConfigError: If a name matches no matrix; the message lists those that exist.
    """
    matrices = [
        (path.rpartition(".")[2], module)
        for path, module in blocks.named_modules()
        if isinstance(module, nn.Linear)
    ]
    known = sorted({name for name, _ in matrices})
    targets = known if config.targets is None else config.targets
    if unknown := sorted(set(targets) - set(known)):
        raise ConfigError(f"no matrix is named {', '.join(unknown)}; there are: {', '.join(known)}")
    for name, matrix in matrices:
        if name in targets:
            matrix.add_module(LORA, LowRank(matrix, config, generator))
            matrix.register_forward_hook(_add_low_rank)


def low_rank_parts(root: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Yield the path of every adapted matrix and its adapter."""
    for path, module in root.named_modules():
        if isinstance(module, LowRank):
            yield path.removesuffix(f".{LORA}"), module


# A hook rather than a class of matrix: whatever the matrix is, its own product runs unchanged, and
# the adapter is found through the module, so that deep copies use theirs.
def _add_low_rank(matrix: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    added: Tensor = matrix.get_submodule(LORA)(inputs[0])
    return output + added
