"""One answer that several kernels write in turn: what was written, by whom, and what goes on.

A kernel sends text together with the tokens it came from. When it is lost, the tokens that arrived
are sent to the next kernel, which rebuilds from them what it needs (half a character, the
beginning of a stop string, penalties, the place in the sampler's randomness) and goes on after
them. What the lost one had written beyond was heard by nobody and is written again. So the text
that the caller gets belongs to the tokens noted here, whatever number of kernels wrote it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from constellation.records import Segment


@dataclass(slots=True)
class Relay:
    """The answer so far. Decides nothing about who goes on; knows whether somebody can.

    Attributes:
        produced: Ids of the tokens that have arrived.
        started: Whether anything has arrived.
    """

    produced: list[int] = field(default_factory=list)
    started: bool = False
    _segments: list[Segment] = field(default_factory=list)
    _num_unnamed: int = 0

    @property
    def can_go_on(self) -> bool:
        """Whether another kernel can go on: the ids of all that arrived are known."""
        return self._num_unnamed == 0

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Who wrote which part, in order; empty while one kernel wrote all."""
        return tuple(self._segments) if len(self._segments) > 1 else ()

    def begin(self, kernel: str, reason: str) -> None:
        """Have a kernel write from here on; one that wrote nothing is forgotten."""
        first = len(self.produced)
        if self._segments and self._segments[-1].first == first:
            self._segments.pop()
        if not self._segments or self._segments[-1].kernel != kernel:
            self._segments.append(Segment(kernel=kernel, first=first, reason=reason))

    def note(self, tokens: Sequence[int], num_tokens: int) -> None:
        """Take in what came with a piece of text.

        Args:
            tokens: Their ids; empty when the kernel does not say them.
            num_tokens: How many there are.
        """
        self.started = True
        self.produced.extend(tokens)
        self._num_unnamed += num_tokens - len(tokens)
