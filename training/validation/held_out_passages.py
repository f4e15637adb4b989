"""Cut held-out passages, and score them under a kernel and a unigram model.

Shapes: T tokens of a passage, V vocabulary, N passages.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from constellation.coordizer.coordizer import Coordizer
from constellation.errors import CorpusError
from constellation.kernel.network.decoder import Decoder
from constellation.records import FloatArray, TokenArray
from training.evaluation.held_out_figures import unigram_nats

PASSAGES: Final = 24
"""Largest number of passages scored."""
TOKENS_LEAST: Final = 32
"""Fewest tokens of a passage; shorter ones are left out."""
TOKENS_MOST: Final = 512
"""Largest number of tokens of a passage; longer ones are cut to it, or to a shorter context."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """Text that a kernel is checked on."""

    passages: tuple[TokenArray, ...]
    """Tokens of each passage without the end token in front; at least two passages."""
    num_bytes: FloatArray
    """Bytes of each passage, shape (N,)."""
    end_id: int
    """Token that opens every text."""
    unigram_V: FloatArray
    """-ln p(token) of a unigram model of the same kind of text."""

    @classmethod
    def of(
        cls,
        documents: Sequence[TokenArray],
        coordizer: Coordizer,
        *,
        context: int,
        known_N: TokenArray | None = None,
    ) -> "HeldOut":
        """Cut documents into passages, spread evenly over all documents.

        Args:
            documents: Tokens of held-out texts.
            coordizer: Whose tokens they are.
            context: Tokens the kernel reads at once.
            known_N: Tokens the unigram model is made from: the kernel's training text. None
                gives it every other passage, which then are not scored.

        Raises:
            CorpusError: There are fewer than two passages.
        """
        length = min(context, TOKENS_MOST)
        pieces = [
            ids[start : start + length]
            for ids in documents
            for start in range(0, len(ids), length)
            if len(ids[start : start + length]) >= min(TOKENS_LEAST, length)
        ]
        if known_N is None:
            known_N = np.concatenate([*pieces[1::2], np.empty(0, dtype=np.int32)])
            pieces = pieces[::2]
        if len(pieces) < 2:
            raise CorpusError(
                "held-out text",
                f"has {len(pieces)} passages of {min(TOKENS_LEAST, length)} tokens to score; "
                "give more text",
            )
        chosen = tuple(pieces[i] for i in _spread(len(pieces), PASSAGES))
        sizes = [len(coordizer.decode(ids)) for ids in chosen]
        return cls(
            passages=chosen,
            num_bytes=np.array(sizes, dtype=np.float64),
            end_id=coordizer.end_id,
            unigram_V=unigram_nats(known_N, coordizer.vocab_size),
        )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scores:
    """Sums over each passage's tokens, nats, shape (N,)."""

    kernel_N: FloatArray
    """Cross-entropy of the kernel."""
    unigram_N: FloatArray
    """Cross-entropy of the unigram model."""
    entropy_N: FloatArray
    """Entropy of the kernel's predictions: the cross-entropy that the kernel expects."""

    def bits_per_byte(self, nats_N: FloatArray, held_out: HeldOut) -> float:
        """Return a total in bits per byte."""
        return float(nats_N.sum() / held_out.num_bytes.sum() / math.log(2))


@torch.inference_mode()
def score(decoder: Decoder, held_out: HeldOut) -> Scores:
    """Score every passage under the kernel and the unigram model."""
    pairs = [_nats_and_entropy(decoder, held_out.end_id, ids) for ids in held_out.passages]
    kernel, entropy = np.array(pairs).T
    unigram = np.array([held_out.unigram_V[ids].sum() for ids in held_out.passages])
    return Scores(kernel_N=kernel, unigram_N=unigram, entropy_N=entropy)


def _nats_and_entropy(decoder: Decoder, end_id: int, ids: TokenArray) -> tuple[float, float]:
    targets_T = torch.as_tensor(ids, dtype=torch.int64)
    inputs_T = torch.cat((torch.tensor([end_id]), targets_T[:-1]))
    log_p_TV: Tensor = decoder(inputs_T[None])[0].float().log_softmax(-1)
    nats = -log_p_TV.gather(-1, targets_T[:, None]).double().sum()
    entropy = torch.special.entr(log_p_TV.exp()).double().sum()
    return float(nats), float(entropy)


def _spread(num: int, most: int) -> list[int]:
    """Return up to `most` of the numbers below `num`, evenly spread."""
    taken = min(num, most)
    return [index * num // taken for index in range(taken)]
