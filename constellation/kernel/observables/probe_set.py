"""The texts that kernels are compared on, cut to what one kernel reads at once.

Shapes: K outcomes of the simplex.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import ConfigError
from constellation.records import TokenArray

TOKENS_MIN: Final = 16
"""Fewest tokens of a text; shorter texts do not determine a basin well and are left out."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ProbeSet:
    """Tokens of texts, each cut to what the kernel reads at once."""

    texts: tuple[TokenArray, ...]
    """Tokens of each text, 16 to the context; at least one text."""
    id: str
    """sha256 (hex) of the tokens: equal ids mean equal texts, equally cut."""

    @classmethod
    def of(
        cls, texts: Sequence[str], coordizer: Coordizer, *, context: int, num_texts: int = 64
    ) -> "ProbeSet":
        """Choose up to `num_texts` texts, spread evenly over those that are long enough.

        Args:
            texts: In a fixed order.
            coordizer: Coordizer of the kernel.
            context: Tokens the kernel reads at once.
            num_texts: Most texts taken, from 1.

        Raises:
            ConfigError: No text has 16 tokens.
        """
        cut = [ids[:context] for ids in coordizer.encode_batch(list(texts))]
        usable = [ids for ids in cut if len(ids) >= TOKENS_MIN]
        if not usable:
            raise ConfigError(
                f"none of {len(cut)} probe texts has {TOKENS_MIN} tokens; give longer texts"
            )
        num_taken = min(num_texts, len(usable))
        taken = tuple(usable[index * len(usable) // num_taken] for index in range(num_taken))
        digest = hashlib.sha256(coordizer.hash.encode())
        for ids in taken:
            digest.update(len(ids).to_bytes(8, "little") + ids.astype("<i4").tobytes())
        return cls(texts=taken, id=digest.hexdigest())
