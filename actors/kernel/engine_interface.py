"""What a kernel host needs of a model: answers that join, are stepped together, and leave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from constellation.records import (
    Capabilities,
    FinishReason,
    FloatArray,
    Message,
    Score,
    TokenLogprob,
)
from constellation.wire.ensembles import Predicted

if TYPE_CHECKING:
    from constellation.kernel.writing.batch import Batch


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
    tokens: tuple[int, ...] = ()
    """Ids of the tokens; without them no other kernel can go on with the answer."""
    predicted: Predicted | None = None
    """Of a text whose tokens are chosen elsewhere: it rests until it is told the next one."""


class Answer(Protocol):
    """One answer being written."""

    num_prompt_tokens: int


class Led(Answer, Protocol):
    """An answer written from what several kernels predict; in no model's batch."""

    def choose(self, logits_V: FloatArray) -> tuple[int, Step]:
        """Choose the next token from these logits.

        Returns:
            The token, which may be the one that ends the text, and the step that it makes.
        """


class Engine(Protocol):
    """A model. Called from one thread at a time."""

    capabilities: Capabilities
    """Which of the requests below the engine answers; the others raise `IncompatibleKernels`."""
    vocabulary: str
    """Name of the vocabulary that the engine writes in, for people."""
    tokenizer_hash: str
    """sha256 (hex) of that vocabulary."""
    context: int
    vocab_size: int
    num_parameters: int
    kappa: float | None
    blocking: bool
    """False when steps are too short to be worth a thread (no-op kernels in benchmarks)."""

    def start(self, tokens: Sequence[int], sampling: Any, produced: Sequence[int] = ()) -> Answer:
        """Let an answer join, whose beginning others may have `produced`.

        Raises:
            InvalidPrompt: No token, or too many to leave room for one more.
            InvalidRequest: A token is not in the vocabulary, or nothing is left to be written.
        """

    def start_chat(
        self, messages: Sequence[Message], sampling: Any, produced: Sequence[int] = ()
    ) -> Answer:
        """Let an answer to a conversation join, in the engine's own prompt format.

        Called only where the capability `reads_roles` is declared. Raises as `start`.
        """

    def predict(self, tokens: Sequence[int], *, is_scored: bool) -> Answer:
        """Let a text join whose tokens are chosen elsewhere; `is_scored` asks for its likelihood.

        Raises:
            InvalidPrompt: No token, or more than the context holds.
            InvalidRequest: A token is not in the vocabulary.
        """

    def tell(self, answer: Any, token: int) -> None:
        """Go on with such a text by this token.

        Raises:
            InvalidRequest: It is not in the vocabulary, or more than the context holds.
        """

    def lead(
        self,
        tokens: Sequence[int],
        sampling: Any,
        produced: Sequence[int],
        *,
        context: int,
    ) -> Led:
        """Begin an answer that is written from what several kernels predict; raises as `start`.

        Args:
            tokens: The prompt.
            sampling: Options of the draws.
            produced: What others wrote of the answer.
            context: Tokens that all of the kernels can read and write together.
        """

    def step(self, answers: Sequence[Any]) -> Sequence[Step | None]:
        """Write one token of each of these answers, in one pass of the model.

        Returns:
            In the order of `answers`; None for those whose prompt is still being read.
        """

    def leave(self, answer: Any) -> None:
        """Forget an answer, finished or not."""

    def token_nats(self, tokens: Sequence[int]) -> FloatArray:
        """Return -ln p of each of these tokens after those before it."""

    def score(self, tokens: Sequence[int], num_context: int) -> Score:
        """Say how likely `tokens[num_context:]` is."""


class PlacedEngine(Engine, Protocol):
    """An engine in its process, perhaps beside others that it is stepped with."""

    weights_hash: str
    """sha256 (hex) of the weights."""

    @property
    def stacked(self) -> "Batch | None":
        """The batch that the engine shares with other kernels; None: it has one by itself."""

    def close(self) -> None:
        """Give its place beside other kernels back; it answers nobody any more."""
