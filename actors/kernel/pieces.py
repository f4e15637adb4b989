"""Steps of an answer -> the pieces that are sent."""

from collections.abc import Mapping

from actors.kernel.engine_interface import Step
from constellation.records import Finish, FinishReason, Piece


class Telling:
    """Makes pieces of steps: text comes late when a token ends inside a character.

    Attributes:
        num_tokens: Tokens written so far, also by other kernels.
        has_text: Whether there is text that no piece holds yet.
        reason: Why the answer ended; None while it goes on.
    """

    def __init__(self, num_prompt_tokens: int, *, num_before: int = 0) -> None:
        self.num_prompt_tokens = num_prompt_tokens
        self.num_tokens = num_before
        self.has_text = False
        self.reason: FinishReason | None = None
        self._steps: list[Step] = []

    def add(self, step: Step) -> None:
        """Take a step."""
        self._steps.append(step)
        self.num_tokens += step.num_tokens
        self.has_text |= bool(step.text)
        self.reason = step.reason

    def piece(self, finish: Finish | None = None) -> Piece:
        """Return what no piece holds yet."""
        steps, self._steps, self.has_text = self._steps, [], False
        return Piece(
            text="".join(step.text for step in steps),
            num_tokens=sum(step.num_tokens for step in steps),
            finish=finish,
            logprobs=tuple(logprob for step in steps for logprob in step.logprobs),
            tokens=tuple(token for step in steps for token in step.tokens),
        )

    def last_piece(
        self,
        *,
        elapsed_s: float,
        weights: Mapping[str, float] | None = None,
        lost: Mapping[str, int] | None = None,
    ) -> Piece:
        """Return the rest, with the finish; `weights` as there, `lost` with its `lost_at`."""
        assert self.reason is not None
        return self.piece(
            Finish(
                reason=self.reason,
                num_prompt_tokens=self.num_prompt_tokens,
                num_tokens=self.num_tokens,
                elapsed_s=elapsed_s,
                weights=weights or {},
                lost=tuple(lost or ()),
                lost_at=tuple((lost or {}).values()),
            )
        )
