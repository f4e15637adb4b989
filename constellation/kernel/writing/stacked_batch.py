"""Generate texts of many kernels at once: a `Batch` in which each text has its own kernel.

Shapes: B rows of a pass, T tokens, C channels, R hidden states, V tokens of the vocabulary.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from constellation.kernel.network.decoder import Decoder, Memory
from constellation.kernel.network.slots import SlotRows
from constellation.kernel.writing.batch import PREFILL_TOKENS, Batch
from constellation.kernel.writing.network_interface import Network, NetworkShape
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.recorded_steps import Record


class KernelRows(Protocol):
    """Kernels that are read in one pass, each at a place of its own."""

    @property
    def config(self) -> NetworkShape:
        """Sizes that the kernels share."""
        ...

    @property
    def embedding(self) -> Tensor:
        """As of `Network`."""
        ...

    def drop(self, kernel: int) -> None:
        """Free a kernel's place for the next one."""
        ...

    def hidden_of(self, tokens_BT: Tensor, cache: Memory | None, kernels: Sequence[int]) -> Tensor:
        """Return the final hidden states of rows of these kernels, shape (B, T, C)."""
        ...

    def logits_of(self, hidden: Tensor, kernels: Sequence[int]) -> Tensor:
        """Return the logits of hidden states of these kernels, shape (R, V)."""
        ...


class Stack(KernelRows, Network, Protocol):
    """Kernels of this project: whole ones (`KernelStack`), or adapters over one base."""

    @property
    def kernels(self) -> Collection[int]:
        """Places that are in use."""
        ...

    def fits(self, decoder: Decoder) -> bool:
        """Return whether a kernel can be added to this stack."""
        ...

    def put(self, decoder: Decoder) -> int:
        """Copy the kernel's own values in; return its place."""
        ...

    def alone(self, kernel: int) -> Network:
        """Return one of the kernels as a network."""
        ...


@dataclass(frozen=True, slots=True)
class OneOfStack:
    """One kernel of a stack, as a network, while the kernel is in the stack."""

    stack: KernelRows
    kernel: int
    """Its place."""

    @property
    def config(self) -> NetworkShape:
        """As of `Network`."""
        return self.stack.config

    @property
    def embedding(self) -> Tensor:
        """As of `Network`."""
        return self.stack.embedding

    def hidden(self, tokens_BT: Tensor, cache: Memory | None = None) -> Tensor:
        """Return the final hidden states, shape (B, T, C)."""
        return self.stack.hidden_of(tokens_BT, cache, [self.kernel] * len(tokens_BT))

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states (..., C), shape (..., V)."""
        return self.stack.logits_of(hidden, [self.kernel])


class OfManyKernels:
    """What a batch whose texts have kernels of their own does otherwise than a `Batch`."""

    stack: KernelRows
    _prefixes: PrefixStore | None

    def drop(self, kernel: int) -> None:
        """Remove a kernel that has no text in the batch."""
        if self._prefixes is not None:
            self._prefixes.forget(kernel)
        self.stack.drop(kernel)

    def _hidden(self, tokens_BT: Tensor, view: SlotRows, kernels: Sequence[int]) -> Tensor:
        return self.stack.hidden_of(tokens_BT, view, kernels)

    def _logits(self, hidden_RC: Tensor, kernels: Sequence[int]) -> Tensor:
        return self.stack.logits_of(hidden_RC, kernels)


class StackedBatch(OfManyKernels, Batch):
    """Texts that the kernels of a stack write together, one forward pass per step.

    `Writing.kernel` is a place in the stack. Other arguments are those of `Batch`; prompts of all
    kernels together share `prefill_tokens`.
    """

    def __init__(
        self,
        stack: Stack,
        *,
        end_id: int | None,
        prefill_tokens: int = PREFILL_TOKENS,
        prefixes: PrefixStore | None = None,
        planned_rows: int | None = None,
        record: Record | None = None,
    ) -> None:
        super().__init__(
            stack,
            end_id=end_id,
            prefill_tokens=prefill_tokens,
            prefixes=prefixes,
            planned_rows=planned_rows,
            record=record,
        )
        self.stack: Stack = stack
