"""How many prompts a kernel answers exactly: greedily written, symbol by symbol, with the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from constellation.kernel.network.decoder import Decoder
from constellation.kernel.writing.batch import Batch
from constellation.records import FinishReason, Sampling

TOGETHER: Final = 32
"""Prompts that are answered at one time."""

TokenPair = tuple[Sequence[int], Sequence[int]]
"""Prompt and answer as ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExactAnswers:
    """What was counted."""

    num_pairs: int
    num_exact: int
    """Answers that are the wanted one to the last symbol, and end there."""

    @property
    def share(self) -> float:
        """Exact answers over all, in [0, 1]; 1 is best."""
        return self.num_exact / max(1, self.num_pairs)


def exact_answers(decoder: Decoder, pairs: Sequence[TokenPair], *, end_id: int) -> ExactAnswers:
    """Let a kernel, in evaluation mode, answer prompts; count the answers that are as wanted."""
    groups = [pairs[at : at + TOGETHER] for at in range(0, len(pairs), TOGETHER)]
    num_exact = sum(_exact_of(decoder, group, end_id) for group in groups)
    return ExactAnswers(num_pairs=len(pairs), num_exact=num_exact)


def _exact_of(decoder: Decoder, pairs: Sequence[TokenPair], end_id: int) -> int:
    batch = Batch(decoder, end_id=end_id)
    writings = [
        batch.add(prompt, Sampling(tokens_max=len(answer) + 1, temperature=0))
        for prompt, answer in pairs
    ]
    while len(batch):
        batch.step()
    return sum(
        writing.finish_reason is FinishReason.END and list(writing.produced) == list(answer)
        for writing, (_, answer) in zip(writings, pairs, strict=True)
    )
