"""Continuation of an answer: what was written so far, by which kernels, for the next kernel.

A kernel sends text together with the tokens of the text. When a kernel is lost, the tokens that
arrived are sent to the next kernel, which rebuilds its state from them (half a character, the
beginning of a stop string, penalties, the position in the sampler's randomness) and continues after
them. Tokens that the lost kernel had written beyond them never arrived, and are written again. So
the text that the caller gets belongs to the tokens recorded here, however many kernels wrote it.

A kernel with a vocabulary of its own sends no tokens. The next kernel continues such an answer
after the text that arrived; tokens whose text had not been sent are written again and count twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from constellation.records import Segment


@dataclass(slots=True)
class Relay:
    """The answer so far; decides nothing about which kernel continues.

    Attributes:
        produced: Ids of the tokens that have arrived.
        num_tokens: Number of tokens that have arrived, tokens without an id included.
        started: Whether anything has arrived.
    """

    produced: list[int] = field(default_factory=list)
    num_tokens: int = 0
    started: bool = False
    _texts: list[str] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)

    @property
    def has_ids(self) -> bool:
        """Whether the ids of all tokens are known; otherwise the next kernel gets the text."""
        return len(self.produced) == self.num_tokens

    @property
    def text(self) -> str:
        """The text that has arrived."""
        return "".join(self._texts)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Which kernel wrote which part, in order; empty while one kernel wrote all."""
        return tuple(self._segments) if len(self._segments) > 1 else ()

    def begin(self, kernel: str, reason: str, weights: Mapping[str, float] | None = None) -> None:
        """Begin a segment: a kernel writes from here on. A segment without tokens is dropped.

        Args:
            kernel: Name of the kernel.
            reason: Why this kernel writes.
            weights: Weights of the kernels that write together, led by this kernel; with weights a
                new segment begins even when the kernel wrote the one before.
        """
        first = self.num_tokens
        if self._segments and self._segments[-1].first == first:
            self._segments.pop()
        if weights or not self._segments or self._segments[-1].kernel != kernel:
            segment = Segment(kernel=kernel, first=first, reason=reason, weights=weights or {})
            self._segments.append(segment)

    def note(self, text: str, tokens: Sequence[int], num_tokens: int) -> None:
        """Append a piece of text and its tokens.

        Args:
            text: The text, which may be empty.
            tokens: Ids of the tokens; empty when the kernel has a vocabulary of its own.
            num_tokens: Number of the tokens.
        """
        self.started = True
        self.produced.extend(tokens)
        self.num_tokens += num_tokens
        self._texts.append(text)
