"""Decide when another kernel (model) continues an answer because the text has moved towards it.

A pure decision with hysteresis: the other kernel must be nearer to the answer's latest text than
the writing kernel, by more than a margin, at every check for a number of tokens. The margin holds
in both directions, so that going back takes a move of twice the margin, and two handoffs are at
least `tokens` apart. The router measures the distances.
"""

from dataclasses import dataclass

from constellation.errors import ConfigError

WINDOW = 128
"""Latest tokens, prompt included, from which the basin of an answer in progress is computed."""
EVERY = 8
"""Tokens between two checks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HandoffRule:
    """How much nearer another kernel must be, and for how many tokens, before it takes over."""

    margin: float = 0.15
    """Radians by which the other kernel must be nearer than the writing kernel, above 0, at most
    pi."""
    tokens: int = 16
    """Number of tokens for which the other kernel must have been nearer, 1 to 4096."""

    def __post_init__(self) -> None:
        if not (0 < self.margin <= 3.15 and 1 <= self.tokens <= 4096):
            raise ConfigError(
                f"need a margin above 0 to 3.15 rad and 1 to 4096 tokens, got {self.margin} and "
                f"{self.tokens}"
            )


@dataclass(slots=True)
class HandoffWatch:
    """State of one answer for deciding its handoffs."""

    rule: HandoffRule
    _checked_at: int = 0  # tokens written at the last check
    _candidate: str | None = None
    _since: int = 0  # tokens written when the candidate was first found nearer

    def is_due(self, num_written: int) -> bool:
        """Return whether the next check is due, `num_written` tokens into the answer."""
        return num_written - self._checked_at >= EVERY

    def check(self, num_written: int, nearest: str, lead: float) -> str | None:
        """Check an answer; return the kernel that should take over now, or None.

        Args:
            num_written: Tokens of the answer so far, never decreasing.
            nearest: Of the kernels that can answer, the nearest to the answer's latest text.
            lead: Radians by which `nearest` is nearer than the writing kernel; 0 for the writing
                kernel itself.
        """
        self._checked_at = num_written
        if not lead > self.rule.margin:
            self._candidate = None
            return None
        if nearest != self._candidate:
            self._candidate, self._since = nearest, num_written
        if num_written - self._since < self.rule.tokens:
            return None
        self._candidate = None
        return nearest
