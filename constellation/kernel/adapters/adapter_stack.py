"""Adapters over one base, read in one pass: the base's products are computed once for all rows.

The base's weights are held once, in whatever precision `constellation.kernel.writing.fast_products`
gives them. Behind every product and block each row gets what its own adapter adds; a row of the
base itself gets nothing. Adapters of different kinds, ranks and targets are in one batch: each kind
and size is a family (`families.py`) that adds to its own rows.

Bases whose tokens decide their own depth cannot be stacked: rows leave their blocks within a pass.

Shapes: B rows, T tokens, I inputs of a matrix, O its outputs, C channels, R hidden states, V tokens
of the vocabulary.
Sources: Chen et al. (2023), Punica; Sheng et al. (2023), S-LoRA.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from constellation.errors import ConfigError
from constellation.kernel.adapters.adapter_group import Family, Key, family_of, key_of
from constellation.kernel.adapters.adapter_rows import Gathering, gather
from constellation.kernel.adapters.attach import frozen_view
from constellation.kernel.network.attention import Linear
from constellation.kernel.network.config import KernelConfig
from constellation.kernel.network.decoder import Decoder, Memory
from constellation.kernel.writing.fast_products import Weights, prepare
from constellation.kernel.writing.stacked_batch import OneOfStack


def can_stack_adapters(base: Decoder) -> bool:
    """Return whether adapters over a base can be stacked."""
    return not base.config.has_adaptive_depth


@dataclass(frozen=True, slots=True)
class _Member:
    """One kernel of a stack."""

    family: Family | None
    """Family of its adapter; None for the base itself."""
    lane: int


class AdapterStack:
    """Kernels that are adapters over one base; the base may be one of them.

    Attributes:
        kernels: Places that are taken.

    Args:
        base: A kernel without an adapter, whose tensors are shared.
        weights: How its matrices are held; adapters stay as they are.

    Raises:
        ConfigError: Adapters over such a base cannot be stacked, or it already has an adapter, or
            its weights cannot be held so.
    """

    def __init__(self, base: Decoder, *, weights: Weights = "float32") -> None:
        if not can_stack_adapters(base):
            raise ConfigError(
                "adapters over a base of adaptive depth cannot be stacked; step them by themselves"
            )
        self._base = prepare(frozen_view(base).eval(), weights)
        self._families: dict[Key, Family] = {}
        self._members: dict[int, _Member] = {}
        self._add_adapters()

    @property
    def config(self) -> KernelConfig:
        """Sizes of the base."""
        return self._base.config

    @property
    def embedding(self) -> Tensor:
        """Embedding of the base."""
        return self._base.embedding

    @property
    def kernels(self) -> Collection[int]:
        """Places that are in use."""
        return self._members.keys()

    def fits(self, decoder: Decoder) -> bool:
        """Return whether a kernel is this very base, or an adapter that shares its tensors."""
        return decoder.embedding.data_ptr() == self.embedding.data_ptr()

    def put(self, decoder: Decoder) -> int:
        """Copy a kernel's adapter in; return its place, the lowest that is free.

        Args:
            decoder: What `attach` returned for the base, or the base.

        Raises:
            ConfigError: It is over another base.
        """
        if not self.fits(decoder):
            raise ConfigError("the kernel is no adapter over the base of the stack")
        place = next(n for n in range(len(self._members) + 1) if n not in self._members)
        key = key_of(decoder)
        if not key:
            self._members[place] = _Member(None, 0)
            return place
        family = self._families.setdefault(key, family_of(key))
        self._members[place] = _Member(family, family.put(decoder))
        return place

    def drop(self, kernel: int) -> None:
        """Free a kernel's place for the next one."""
        member = self._members.pop(kernel)
        if member.family is not None:
            member.family.drop(member.lane)

    def alone(self, kernel: int) -> OneOfStack:
        """Return one of the kernels as a network, valid while the kernel is in the stack."""
        return OneOfStack(self, kernel)

    @torch.inference_mode()
    def hidden_of(self, tokens_BT: Tensor, cache: Memory | None, kernels: Sequence[int]) -> Tensor:
        """Return the final hidden states of rows of the kernels at these places, (B, T, C)."""
        members = [self._members[kernel] for kernel in kernels]
        for family in self._families.values():
            lanes = [member.lane if member.family is family else None for member in members]
            device = self.embedding.device
            family.begin(gather(lanes, num_tokens=tokens_BT.shape[1], device=device))
        return self._base.hidden(tokens_BT, cache)

    @torch.inference_mode()
    def logits_of(self, hidden: Tensor, kernels: Sequence[int]) -> Tensor:
        """Return the logits of hidden states, shape (R, V): no adapter changes this product."""
        return self._base.logits(hidden)

    @property
    def num_moves(self) -> int:
        """How often the numbers of adapters were moved to other memory, or got a new family."""
        return sum(1 + family.num_moves for family in self._families.values())

    def fixed_inputs(
        self, kernels: Sequence[int | None]
    ) -> tuple[tuple[int, ...], list[int]] | None:
        """Return sizes and numbers of a pass over fixed rows, see `recorded_steps.py`.

        Every row gets the adapter of its own lane, so that the shapes do not depend on the rows.
        None unless all rows that take part have adapters of one family.
        """
        members = [None if kernel is None else self._members[kernel] for kernel in kernels]
        families = [member.family for member in members if member is not None]
        if families[0] is None or any(family is not families[0] for family in families):
            return None
        index = list(self._families.values()).index(families[0])
        return (index,), [0 if member is None else member.lane for member in members]

    @torch.inference_mode()
    def hidden_fixed(
        self, tokens_B1: Tensor, cache: Memory, sizes: tuple[int, ...], numbers: Tensor
    ) -> Tensor:
        """Return the final hidden states of fixed rows, (B, 1, C), given what `fixed_inputs` says.

        Args:
            tokens_B1: One token of every row.
            cache: Of these rows.
            sizes: As `fixed_inputs` returned.
            numbers: As `fixed_inputs` returned, in a tensor.
        """
        for index, family in enumerate(self._families.values()):
            is_used = index == sizes[0]
            family.begin(Gathering(numbers, None, None, None) if is_used else None)
        return self._base.hidden(tokens_B1, cache)

    def hidden(self, tokens_BT: Tensor, cache: Memory | None = None) -> Tensor:
        """Raise: every row of a stack needs its kernel; see `hidden_of`."""
        raise ConfigError("rows of a stack have kernels; use hidden_of, or alone(kernel).hidden")

    def logits(self, hidden: Tensor) -> Tensor:
        """Raise: every row of a stack needs its kernel; see `logits_of`."""
        raise ConfigError("rows of a stack have kernels; use logits_of, or alone(kernel).logits")

    def _add_adapters(self) -> None:
        for path, module in self._base.blocks.named_modules():
            if type(module) is Linear:
                module.product = _AdaptedProduct(path, module, self._families)
        for index, block in enumerate(self._base.blocks):
            block.register_forward_hook(partial(self._after_block, index))

    def _after_block(self, index: int, _: nn.Module, inputs: tuple[Any, ...], x: Tensor) -> None:
        for family in self._families.values():
            family.after_block(index, x)


class _AdaptedProduct:
    """A matrix product of the base plus the parts of the rows' adapters."""

    def __init__(self, path: str, matrix: Linear, families: dict[Key, Family]) -> None:
        self._path, self._families = path, families
        plain = partial(functional.linear, weight=matrix.weight, bias=matrix.bias)
        self._product: Callable[[Tensor], Tensor] = matrix.product or plain

    def __call__(self, x_BTI: Tensor) -> Tensor:
        """Return the products, shape (B, T, O)."""
        y_BTO = self._product(x_BTI)
        for family in self._families.values():
            family.after_matrix(self._path, x_BTI, y_BTO)
        return y_BTO
