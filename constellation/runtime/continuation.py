"""One answer that several kernels write in turn: what was written, by whom, and what goes on.

A kernel sends text together with the tokens it came from. When it is lost, the tokens that arrived
are sent to the next kernel, which rebuilds from them what it needs (half a character, the
beginning of a stop string, penalties, the place in the sampler's randomness) and goes on after
them. What the lost one had written beyond was heard by nobody and is written again. So the text
that the caller gets belongs to the tokens noted here, whatever number of kernels wrote it.

A kernel with a vocabulary of its own sends no tokens. From its answer others go on by the text that
arrived; tokens of which no text was sent yet are written again, and count twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from constellation.records import Segment


@dataclass(slots=True)
class Relay:
    """The answer so far. Decides nothing about who goes on; knows whether somebody can.

    Attributes:
        produced: Ids of the tokens that have arrived.
        num_tokens: How many have arrived, those without an id too.
        started: Whether anything has arrived.
    """

    produced: list[int] = field(default_factory=list)
    num_tokens: int = 0
    started: bool = False
    _texts: list[str] = field(default_factory=list)
    _segments: list[Segment] = field(default_factory=list)

    @property
    def has_ids(self) -> bool:
        """Whether the ids of all that arrived are known; others go on by the text else."""
        return len(self.produced) == self.num_tokens

    @property
    def text(self) -> str:
        """The text that has arrived."""
        return "".join(self._texts)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Who wrote which part, in order; empty while one kernel wrote all."""
        return tuple(self._segments) if len(self._segments) > 1 else ()

    def begin(self, kernel: str, reason: str, weights: Mapping[str, float] | None = None) -> None:
        """Have a kernel write from here on; one that wrote nothing is forgotten.

        Args:
            kernel: Its name.
            reason: Why it writes.
            weights: Of the kernels that write together, led by this one; they begin anew even
                when it wrote before.
        """
        first = self.num_tokens
        if self._segments and self._segments[-1].first == first:
            self._segments.pop()
        if weights or not self._segments or self._segments[-1].kernel != kernel:
            segment = Segment(kernel=kernel, first=first, reason=reason, weights=weights or {})
            self._segments.append(segment)

    def note(self, text: str, tokens: Sequence[int], num_tokens: int) -> None:
        """Take in a piece of text and what came with it.

        Args:
            text: May be empty.
            tokens: Their ids; empty when the kernel does not say them.
            num_tokens: How many there are.
        """
        self.started = True
        self.produced.extend(tokens)
        self.num_tokens += num_tokens
        self._texts.append(text)
