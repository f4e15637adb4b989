"""Writing texts of many kernels at once: a `Batch` whose every text has a kernel of its own."""

from collections.abc import Sequence

from torch import Tensor

from constellation.kernel.batch import PREFILL_TOKENS, Batch
from constellation.kernel.prefixes import PrefixStore
from constellation.kernel.slots import SlotRows
from constellation.kernel.stack import KernelStack


class StackedBatch(Batch):
    """Texts that the kernels of a stack write together.

    Args:
        stack: The kernels; `Writing.kernel` is a place in it.
        end_id: The token that ends a text; None if there is none.
        prefill_tokens: Prompt tokens read in one step, at least 1, of all kernels together.
        prefixes: Where prompts that were read are kept; None keeps none.
    """

    def __init__(
        self,
        stack: KernelStack,
        *,
        end_id: int | None,
        prefill_tokens: int = PREFILL_TOKENS,
        prefixes: PrefixStore | None = None,
    ) -> None:
        super().__init__(stack, end_id=end_id, prefill_tokens=prefill_tokens, prefixes=prefixes)
        self.stack = stack

    def drop(self, kernel: int) -> None:
        """Let a kernel go that has no text under way."""
        if self._prefixes is not None:
            self._prefixes.forget(kernel)
        self.stack.drop(kernel)

    def _hidden(self, tokens_BT: Tensor, view: SlotRows, kernels: Sequence[int]) -> Tensor:
        return self.stack.hidden_of(tokens_BT, view, kernels)

    def _logits(self, hidden_RC: Tensor, kernels: Sequence[int]) -> Tensor:
        return self.stack.logits_of(hidden_RC, kernels)
