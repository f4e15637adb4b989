"""What a kernel host needs of a model: answers that join, are stepped together, and leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from constellation.records import FinishReason, Score, TokenLogprob


@dataclass(frozen=True, slots=True)
class Step:
    """What one step gave one answer."""

    text: str
    """Text that became complete; whole code points."""
    num_tokens: int
    """Tokens written: 1, or 0 when the kernel ended the text."""
    reason: FinishReason | None = None
    """Why the answer ended; None while it goes on."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One per token, when they were asked for."""


class Answer(Protocol):
    """One answer being written."""

    num_prompt_tokens: int


class Engine(Protocol):
    """A model. Called from one thread at a time."""

    tokenizer_hash: str
    context: int
    num_parameters: int
    kappa: float | None
    blocking: bool
    """False when steps are too short to be worth a thread (no-op kernels in benchmarks)."""

    def start(self, tokens: Sequence[int], sampling: Any) -> Answer:
        """Let an answer join; raises InvalidPrompt or InvalidRequest."""
        ...

    def step(self, answers: Sequence[Any]) -> Sequence[Step | None]:
        """Write one token of each of these answers, in one pass of the model.

        Returns:
            In the order of `answers`; None for those whose prompt is still being read.
        """
        ...

    def leave(self, answer: Any) -> None:
        """Forget an answer, finished or not."""
        ...

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is."""
        ...
