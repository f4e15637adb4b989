"""Records of answers: how they are to be written, and what was written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from constellation.errors import InvalidRequest
from constellation.records.checks import check_range, is_within

STOPS_MAX = 8
"""Stop strings of one request."""
TOKENS_MAX = 4096
"""Tokens of one answer."""


class FinishReason(StrEnum):
    """Why a generation ended."""

    END = "end"
    """The kernel ended the text itself."""
    LENGTH = "length"
    """`tokens_max` was reached."""
    CONTEXT = "context"
    """The kernel's context is full."""
    STOP = "stop"
    """One of the caller's stop strings came up."""


def _check_bias(bias: object) -> None:
    if not isinstance(bias, Mapping) or not (
        len(bias) <= 300
        and all(is_within(token, 0, 2**31 - 1, int) for token in bias)
        and all(is_within(value, -100, 100) for value in bias.values())
    ):
        raise InvalidRequest("logit_bias", bias, "at most 300 token ids, numbers from -100 to 100")


def _check_stop(stop: object) -> None:
    if not isinstance(stop, tuple) or not (
        len(stop) <= STOPS_MAX
        and all(isinstance(text, str) and 1 <= len(text) <= 256 for text in stop)
    ):
        raise InvalidRequest("stop", stop, f"at most {STOPS_MAX} texts of 1 to 256 characters")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """How the tokens of one answer are chosen.

    Raises:
        InvalidRequest: A field is out of its range or NaN.
    """

    tokens_max: int = 128
    """Most tokens to generate, 1 to 4096."""
    temperature: float = 0.8
    """0 (greedy) to 2."""
    top_k: int | None = None
    """Keep the k most likely tokens, 1 to 65536; None keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens with this probability, in (0, 1]."""
    min_p: float = 0.0
    """Keep tokens at least this likely relative to the most likely, in [0, 1)."""
    repetition_penalty: float = 1.0
    """Divide (multiply, when negative) the logits of tokens already present by this, 0.5 to 2."""
    seed: int | None = None
    """Seed of the draw, 0 to 2^63 - 1; None draws one."""
    tokens_min: int = 0
    """Tokens before which the kernel does not end the text itself, 0 to `tokens_max`."""
    presence_penalty: float = 0.0
    """Taken off the logits of tokens written before, -2 to 2; the prompt's do not count."""
    frequency_penalty: float = 0.0
    """The same, times how often the token was written, -2 to 2."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these tokens, -100 to 100; at most 300 tokens."""
    stop: tuple[str, ...] = ()
    """The answer ends before the first of these; at most 8, of 1 to 256 characters each."""
    logprobs: int | None = None
    """Likeliest tokens named with every token, 0 to 20; None leaves log-probabilities out."""

    def __post_init__(self) -> None:
        check_range("tokens_max", self.tokens_max, low=1, high=TOKENS_MAX, kind=int)
        check_range("temperature", self.temperature, low=0, high=2)
        check_range("top_p", self.top_p, low=1e-6, high=1)
        check_range("min_p", self.min_p, low=0, high=1 - 1e-6)
        check_range("repetition_penalty", self.repetition_penalty, low=0.5, high=2)
        if self.top_k is not None:
            check_range("top_k", self.top_k, low=1, high=65_536, kind=int)
        if self.seed is not None:
            check_range("seed", self.seed, low=0, high=2**63 - 1, kind=int)
        check_range("tokens_min", self.tokens_min, low=0, high=self.tokens_max, kind=int)
        check_range("presence_penalty", self.presence_penalty, low=-2, high=2)
        check_range("frequency_penalty", self.frequency_penalty, low=-2, high=2)
        if self.logprobs is not None:
            check_range("logprobs", self.logprobs, low=0, high=20, kind=int)
        if self.logit_bias:
            _check_bias(self.logit_bias)
        if self.stop:
            _check_stop(self.stop)

    def recounted(self, before: int, now: int) -> "Sampling":
        """Return the options for an answer whose first tokens are counted anew.

        The same number of tokens is left to be written, within the ranges above.

        Args:
            before: Tokens written so far, in the vocabulary of who wrote them.
            now: How many the same text makes in the vocabulary of who goes on.
        """
        if before == now:
            return self
        tokens_max = min(max(1, self.tokens_max - before + now), TOKENS_MAX)
        tokens_min = min(max(0, self.tokens_min - before + now), tokens_max)
        return replace(self, tokens_max=tokens_max, tokens_min=tokens_min)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of an answer that one kernel wrote."""

    kernel: str
    first: int
    """Index of its first token among the answer's, from 0."""
    reason: str
    """Why it wrote: as in `Route`, or "handoff" (it lies nearer to what was written)."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Kernels that wrote it together, led by this one -> weight before its first token; empty when
    one wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The end of a generation."""

    reason: FinishReason
    num_prompt_tokens: int
    num_tokens: int
    elapsed_s: float
    weights: Mapping[str, float] = field(default_factory=dict)
    """Kernels that wrote it together -> weight at the last token; empty when one kernel wrote."""
    lost: tuple[str, ...] = ()
    """Those of them that were lost on the way and left out from then on."""
    lost_at: tuple[int, ...] = ()
    """For each of `lost`: index of the first token written without it, from 0."""
    segments: tuple[Segment, ...] = ()
    """Who wrote which part, in order, when kernels took over; empty: the route's kernel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A token and how likely it was."""

    token: int
    text: bytes
    """The token's bytes; a code point may be spread over several tokens."""
    logprob: float
    """Natural logarithm of its probability before penalties, bias, temperature and truncation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob(Alternative):
    """A token that was written, how likely it was, and what was likelier."""

    top: tuple[Alternative, ...] = ()
    """The likeliest tokens, likeliest first, as many as were asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of an answer as it is written."""

    text: str
    """Continues what came before; whole code points."""
    num_tokens: int
    finish: Finish | None = None
    """Only in the last piece."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One for each of `num_tokens`, when they were asked for."""
    tokens: tuple[int, ...] = ()
    """Ids of these tokens; empty when the model does not say them."""


def transcript(turns: Iterable[str]) -> str:
    """Return a conversation as kernels read it: every turn, each followed by a line break.

    Roles leave no mark. What conversations are trained as, `chat` and the HTTP door all use this.

    Args:
        turns: What was said, in order.
    """
    return "".join(f"{turn}\n" for turn in turns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How likely a text is under one kernel."""

    nats: float
    """Negative log-likelihood, >= 0."""
    num_tokens: int
