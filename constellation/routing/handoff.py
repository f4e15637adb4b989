"""When an answer that has moved elsewhere is handed to the kernel it has moved to.

A pure decision with hysteresis: another kernel must lie nearer to what was written lately than the
one that writes, by more than a margin, at every look for a number of tokens. The margin holds in
both directions, so that going back takes a move of twice the margin, and two handoffs are at least
`tokens` apart. Who measures, and over what, is the router's business.
"""

from dataclasses import dataclass

from constellation.errors import ConfigError

WINDOW = 128
"""Tokens, prompt included, whose basin says where an answer is."""
EVERY = 8
"""Tokens between two looks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HandoffRule:
    """How much nearer another kernel must be, and for how long."""

    margin: float = 0.15
    """Radians by which it must be nearer than the one that writes, more than 0, at most pi."""
    tokens: int = 16
    """Tokens for which it must have been, 1 to 4096."""

    def __post_init__(self) -> None:
        if not (0 < self.margin <= 3.15 and 1 <= self.tokens <= 4096):
            raise ConfigError(
                f"need a margin above 0 to 3.15 rad and 1 to 4096 tokens, got {self.margin} and "
                f"{self.tokens}"
            )


@dataclass(slots=True)
class HandoffWatch:
    """Follows one answer from kernel to kernel.

    Args:
        rule: When to hand over.
    """

    rule: HandoffRule
    _looked: int = 0  # tokens written at the last look
    _candidate: str | None = None
    _since: int = 0  # tokens written when the candidate was first found nearer

    def is_due(self, num_written: int) -> bool:
        """Say whether it is time to look, `num_written` tokens into the answer."""
        return num_written - self._looked >= EVERY

    def look(self, num_written: int, nearest: str, lead: float) -> str | None:
        """Return the kernel that the answer is to be handed to now, or None.

        Args:
            num_written: Tokens of the answer so far, never falling.
            nearest: The kernel nearest to what was written lately, of those that can answer.
            lead: Radians by which it is nearer than the one that writes; 0 when it is that one.
        """
        self._looked = num_written
        if not lead > self.rule.margin:
            self._candidate = None
            return None
        if nearest != self._candidate:
            self._candidate, self._since = nearest, num_written
        if num_written - self._since < self.rule.tokens:
            return None
        self._candidate = None
        return nearest
