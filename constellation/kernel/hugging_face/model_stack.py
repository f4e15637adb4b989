"""Low-rank adapters over one model of `transformers`, which is held once for all of them.

Rows of a pass belong to different adapters, or to the base by itself: the model's own products are
made once for all rows, and behind each matrix every row gets what its own adapter adds.

Shapes: B rows of a pass, T positions, C channels, R hidden states, V tokens.
"""

from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from constellation.errors import ConfigError
from constellation.kernel.files.peft_folder import check_peft
from constellation.kernel.hugging_face.peft_adapter import LowRankPair, PeftAdapter, read_peft
from constellation.kernel.hugging_face.transformers_batch import HuggingFaceBatch
from constellation.kernel.hugging_face.transformers_model import LoadedModel, open_model
from constellation.kernel.hugging_face.transformers_network import HuggingFaceNetwork, ModelShape
from constellation.kernel.hugging_face.transformers_tokens import ModelTokens
from constellation.kernel.network.cache import KVCache
from constellation.kernel.network.slots import SlotRows
from constellation.kernel.writing.batch import PREFILL_TOKENS
from constellation.kernel.writing.prefix_cache import PrefixStore
from constellation.kernel.writing.stacked_batch import OfManyKernels, OneOfStack


class ModelStack:
    """A model, the base, and the adapters over it. Used by one thread at a time."""

    def __init__(self, network: HuggingFaceNetwork) -> None:
        self._network = network
        self._adapters: dict[int, PeftAdapter] = {}
        self._hooked: set[str] = set()
        self._rows: tuple[int, ...] = ()
        self._num_placed = 0

    @property
    def config(self) -> ModelShape:
        """The base's shape."""
        return self._network.config

    @property
    def embedding(self) -> Tensor:
        """The base's embedding of tokens."""
        return self._network.embedding

    def put(self, adapter: PeftAdapter | None) -> int:
        """Let an adapter take part, or the base by itself; return its place.

        Its matrices are moved to the device of the base, once.

        Raises:
            ConfigError: The model has no such matrix, or one of another size.
        """
        for path, pair in (adapter or {}).items():
            self._check(path, pair)
        adapter = {path: pair.like(self.embedding) for path, pair in (adapter or {}).items()}
        for path in (adapter or {}).keys() - self._hooked:
            matrix = self._network.matrix(path)
            matrix.register_forward_hook(partial(self._after_matrix, path))
            self._hooked.add(path)
        self._num_placed += 1
        self._adapters[self._num_placed] = adapter or {}
        return self._num_placed

    def drop(self, kernel: int) -> None:
        """Forget the adapter at a place."""
        self._adapters.pop(kernel, None)

    def alone(self, kernel: int) -> OneOfStack:
        """Return one of the kernels."""
        return OneOfStack(self, kernel)

    def hidden_of(
        self, tokens_BT: Tensor, cache: KVCache | SlotRows | None, kernels: Sequence[int]
    ) -> Tensor:
        """Return the final hidden states of rows of these kernels, shape (B, T, C)."""
        with self._reading(kernels):
            return self._network.hidden(tokens_BT, cache)

    def logits_of(self, hidden: Tensor, kernels: Sequence[int]) -> Tensor:
        """Return the logits of hidden states, of as many kernels as rows, shape (..., V)."""
        with self._reading(kernels):
            return self._network.logits(hidden)

    @contextmanager
    def _reading(self, kernels: Sequence[int]) -> Any:
        self._rows = tuple(kernels)
        try:
            yield
        finally:
            self._rows = ()

    def _check(self, path: str, pair: LowRankPair) -> None:
        matrix = self._network.matrix(path)
        if matrix is None:
            raise ConfigError(f"the base has no matrix {path}; add the adapter with its own base")
        sizes = _sizes(matrix)
        found = (pair.a_RI.shape[1], pair.b_OR.shape[0])
        if sizes != found or pair.a_RI.shape[0] != pair.b_OR.shape[1]:
            raise ConfigError(f"{path} is a matrix of {sizes} and the adapter's are of {found}")

    def _after_matrix(self, path: str, _: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        x = cast(Tensor, inputs[0])
        present = sorted(set(self._rows))
        for kernel in present:
            pair = self._adapters.get(kernel, {}).get(path)
            if pair is None:
                continue
            if len(present) == 1:
                return output + pair(x)
            own = [row for row, each in enumerate(self._rows) if each == kernel]
            index_B = torch.tensor(own, device=output.device)
            output = output.index_add(0, index_B, pair(x[index_B]))
        return output


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptedModel:
    """A kernel of a stack with the tokens of its base."""

    name: str
    network: OneOfStack
    tokens: ModelTokens
    opening_id: int | None
    """As of the base."""

    @classmethod
    def of(cls, name: str, base: LoadedModel, network: OneOfStack) -> "AdaptedModel":
        """Return a kernel over a base."""
        return cls(name=name, network=network, tokens=base.tokens, opening_id=base.opening_id)


def load_adapted_model(folder: Path) -> AdaptedModel:
    """Read an imported adapter with a base of its own.

    Raises:
        ArtifactError: A file is missing or damaged.
        ConfigError: `transformers` is not installed, or the two do not belong together.
    """
    base = open_model(check_peft(folder).base_folder)
    stack = ModelStack(base.network)
    return AdaptedModel.of(folder.name, base, stack.alone(stack.put(read_peft(folder))))


class ModelStackBatch(OfManyKernels, HuggingFaceBatch):
    """Texts that adapters over one model write together; `Writing.kernel` is a place in the stack.

    Arguments are those of `HuggingFaceBatch`; prompts of all kernels together share
    `prefill_tokens`.
    """

    def __init__(
        self,
        stack: ModelStack,
        network: HuggingFaceNetwork,
        *,
        end_ids: Sequence[int],
        prefill_tokens: int = PREFILL_TOKENS,
        prefixes: PrefixStore | None = None,
        planned_rows: int | None = None,
    ) -> None:
        super().__init__(
            network,
            end_ids=end_ids,
            prefill_tokens=prefill_tokens,
            prefixes=prefixes,
            planned_rows=planned_rows,
        )
        self.stack: ModelStack = stack


def _sizes(matrix: Any) -> tuple[int, int]:
    """Return inputs and outputs of a matrix, which may lie on its side as GPT-2's do."""
    if hasattr(matrix, "in_features"):
        return matrix.in_features, matrix.out_features
    return matrix.nx, matrix.nf
