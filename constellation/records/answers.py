"""Records of answers: sampling options of a request, pieces of generated text, and scores."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from constellation.errors import InvalidRequest
from constellation.records.range_checks import check_range, is_within

STOPS_MAX = 8
"""Most stop strings of one request."""
TOKENS_MAX = 4096
"""Most tokens of one answer."""


class FinishReason(StrEnum):
    """Why the generation of an answer ended."""

    END = "end"
    """The kernel generated its end token."""
    LENGTH = "length"
    """`tokens_max` was reached."""
    CONTEXT = "context"
    """The kernel's context is full."""
    STOP = "stop"
    """One of the caller's stop strings was generated."""


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
    """Options of one request that decide how the tokens of the answer are chosen.

    Raises:
        InvalidRequest: A field is out of its range or NaN.
    """

    tokens_max: int = 128
    """Most tokens to generate, 1 to 4096."""
    temperature: float = 0.8
    """Temperature of sampling, from 0 (greedy) to 2."""
    top_k: int | None = None
    """Sample from the k most likely tokens only, 1 to 65536; None means from all tokens."""
    top_p: float = 1.0
    """Sample from the smallest set of tokens with this total probability, in (0, 1]."""
    min_p: float = 0.0
    """Sample from tokens at least this likely relative to the most likely token, in [0, 1)."""
    repetition_penalty: float = 1.0
    """Factor by which logits of tokens already present are divided (multiplied, when negative), 0.5
    to 2."""
    seed: int | None = None
    """Seed of the random numbers, 0 to 2^63 - 1; None means a random seed."""
    tokens_min: int = 0
    """Least number of tokens before the kernel may end the answer itself, 0 to `tokens_max`."""
    presence_penalty: float = 0.0
    """Subtracted from the logit of every token of the answer so far, -2 to 2; prompt tokens do not
    count."""
    frequency_penalty: float = 0.0
    """Subtracted from the logit of a token once for each time it occurs in the answer, -2 to 2."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Token id -> value added to its logit, -100 to 100; at most 300 tokens."""
    stop: tuple[str, ...] = ()
    """Stop strings: the answer ends before the first one; at most 8, of 1 to 256 characters
    each."""
    logprobs: int | None = None
    """Number of likeliest tokens returned beside every token, 0 to 20; None returns no
    log-probabilities."""

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
        """Return the options for a kernel that continues an answer with another vocabulary.

        The number of tokens left to generate stays the same, within the ranges of the fields.

        Args:
            before: Tokens of the answer so far, in the vocabulary of the kernel that wrote them.
            now: Tokens of the same text in the vocabulary of the kernel that continues.
        """
        if before == now:
            return self
        tokens_max = min(max(1, self.tokens_max - before + now), TOKENS_MAX)
        tokens_min = min(max(0, self.tokens_min - before + now), tokens_max)
        return replace(self, tokens_max=tokens_max, tokens_min=tokens_min)


@dataclass(frozen=True, kw_only=True, slots=True)
class Segment:
    """A part of an answer that was written by one kernel, or by one group of kernels together."""

    kernel: str
    first: int
    """Index of the segment's first token among the answer's tokens, from 0."""
    reason: str
    """Why this kernel wrote the segment: a reason of `Route`, or "handoff" (it is nearer to the
    text)."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Kernels that wrote the segment together, led by `kernel` -> weight before its first token;
    empty when one kernel wrote."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish:
    """The end of an answer: its reason, counts of tokens, time, and the kernels that wrote it."""

    reason: FinishReason
    num_prompt_tokens: int
    num_tokens: int
    elapsed_s: float
    weights: Mapping[str, float] = field(default_factory=dict)
    """Kernels that wrote the answer together -> weight at the last token; empty when one kernel
    wrote."""
    lost: tuple[str, ...] = ()
    """Kernels of a group that failed during the answer and were excluded from then on."""
    lost_at: tuple[int, ...] = ()
    """For each of `lost`: index of the first token written without that kernel, from 0."""
    segments: tuple[Segment, ...] = ()
    """Segments in order, when kernels took over from each other; empty when the route's kernel
    wrote all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Alternative:
    """A token with its log-probability."""

    token: int
    text: bytes
    """Bytes of the token; a character may be spread over several tokens."""
    logprob: float
    """Natural logarithm of the token's probability before penalties, bias, temperature and
    truncation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLogprob(Alternative):
    """A token of the answer with its log-probability, and the likeliest tokens at its position."""

    top: tuple[Alternative, ...] = ()
    """The likeliest tokens at this position, likeliest first, as many as the request asked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """A piece of an answer, as it is streamed to the client."""

    text: str
    """Text that continues the pieces before it; whole characters only."""
    num_tokens: int
    finish: Finish | None = None
    """End of the answer; set only in the last piece."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One entry for each of `num_tokens`, when the request asked for log-probabilities."""
    tokens: tuple[int, ...] = ()
    """Ids of the piece's tokens; empty when the model does not report ids."""


def transcript(turns: Iterable[str]) -> str:
    """Join the turns of a conversation into the text that kernels read, a line break after each.

    Roles are not marked. Training on conversations, `chat` and the HTTP API all use this form.

    Args:
        turns: Texts of the turns, in order.
    """
    return "".join(f"{turn}\n" for turn in turns)


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """Negative log-likelihood of a text under one kernel; lower means likelier."""

    nats: float
    """Negative log-likelihood in nats, >= 0."""
    num_tokens: int
