"""Cache keys and values of prompts, so that a beginning that prompts share is read once.

Shapes: P passes of layers, H heads, L positions, D channels of a head.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from constellation.errors import ConfigError
from constellation.records import TokenArray

Key = tuple[int, bytes]
"""The kernel that read a prompt, and the prompt's tokens."""


class PrefixStore:
    """Keys and values of the most recently used prompts, within a limit of memory.

    Attributes:
        size_bytes: Memory of the cached keys and values.

    Args:
        limit_bytes: Largest memory; the least recently used prompts are evicted. 0 caches none.
        tokens_min: Shortest beginning worth copying, at least 1.
    """

    def __init__(self, limit_bytes: int, *, tokens_min: int = 16) -> None:
        if limit_bytes < 0 or tokens_min < 1:
            raise ConfigError(
                f"need limit_bytes >= 0 and tokens_min >= 1, got {limit_bytes} and {tokens_min}"
            )
        self.size_bytes = 0
        self._limit_bytes = limit_bytes
        self._tokens_min = tokens_min
        self._held: OrderedDict[Key, tuple[TokenArray, Tensor]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    def longest(self, prompt_ids: Sequence[int], *, kernel: int = 0) -> Tensor | None:
        """Return keys and values of the longest cached beginning, shape (P, 2, H, L, D), or None.

        L is below the prompt's length: its last token has to be read for what comes next. None
        when fewer than `tokens_min` tokens are common. Prompts of other kernels do not count.
        """
        tokens = np.asarray(prompt_ids, dtype=np.int32)
        best, best_key = 0, (kernel, b"")
        for key, (held, _) in self._held.items():
            if key[0] == kernel and (shared := _num_shared(tokens, held)) > best:
                best, best_key = shared, key
        length = min(best, len(tokens) - 1)
        if length < self._tokens_min:
            return None
        self._held.move_to_end(best_key)
        return self._held[best_key][1][..., :length, :]

    def keep(
        self, prompt_ids: Sequence[int], copy: Callable[[], Tensor], *, kernel: int = 0
    ) -> None:
        """Cache a prompt that was read, unless it is the beginning of a cached one.

        Args:
            prompt_ids: The prompt's tokens.
            copy: Returns a copy of the keys and values; called only when it is needed.
            kernel: Index of the kernel that read it, where several share the cache.
        """
        tokens = np.asarray(prompt_ids, dtype=np.int32)
        if len(tokens) < self._tokens_min or self._limit_bytes == 0:
            return
        shorter = []
        for key, (held, _) in self._held.items():
            if key[0] != kernel:
                continue
            shared = _num_shared(tokens, held)
            if shared == len(tokens):
                return
            if shared == len(held):
                shorter.append(key)
        for key in shorter:
            self._drop(key)
        self._hold((kernel, tokens.tobytes()), tokens, copy())

    def forget(self, kernel: int) -> None:
        """Remove all prompts that a kernel read."""
        for key in [key for key in self._held if key[0] == kernel]:
            self._drop(key)

    def _hold(self, key: Key, tokens: TokenArray, held: Tensor) -> None:
        if held.nbytes > self._limit_bytes:
            return
        while self.size_bytes + held.nbytes > self._limit_bytes:
            self._drop(next(iter(self._held)))
        self._held[key] = (tokens, held)
        self.size_bytes += held.nbytes

    def _drop(self, key: Key) -> None:
        self.size_bytes -= self._held.pop(key)[1].nbytes


def _num_shared(first: TokenArray, second: TokenArray) -> int:
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    return int(differs.argmax()) if differs.any() else length
