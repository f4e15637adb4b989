"""Decides whether a failed call is tried again, and after how many seconds.

Pure: time and random numbers are arguments; the clients wait.

Source: exponential back-off with full jitter, Brooker, "Exponential Backoff And Jitter", AWS
Architecture Blog (2015).
"""

import math
from dataclasses import dataclass, field

from constellation.errors import (
    ConfigError,
    ConstellationError,
    DeadlineExceeded,
    InvalidRequest,
    Overloaded,
    ServiceUnavailable,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeouts:
    """How long a client waits."""

    connect_s: float = 10.0
    """Seconds to go on trying while nobody answers at the address."""
    request_s: float = 120.0
    """Seconds one answer or score may take, retries and pauses included."""
    lookup_s: float = 15.0
    """Seconds a route, basin or status may take, retries and pauses included."""

    def __post_init__(self) -> None:
        for name in ("connect_s", "request_s", "lookup_s"):
            value = getattr(self, name)
            if not 0 < value <= 3600:  # written so that NaN fails
                raise ConfigError(f"{name} is {value}; allowed: above 0 to 3600 seconds")


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often a retryable failure is tried again.

    With the defaults the pauses add up to about 5 s: a killed router is back after about 2 s. A
    service that is full is asked again until the deadline, less and less often.
    """

    attempts_max: int = 24
    """Tries in all, 1 or more; 1 never retries. Refusals by a full service (`Overloaded`) are not
    counted, unless this is 1."""
    delay_first_s: float = 0.1
    """Longest first pause in seconds; the pause is drawn between 0 and this."""
    delay_max_s: float = 0.5
    """Longest later pause in seconds; the longest pause doubles up to this."""
    delay_full_max_s: float = 4.0
    """The same for a service that is full, where it is more than delay_max_s: seconds beyond the
    time that the service asks for. Many callers that come back often would take the time in which
    others could be answered."""

    def __post_init__(self) -> None:
        if self.attempts_max < 1:
            raise ConfigError(f"attempts_max is {self.attempts_max}; allowed: 1 or more")
        if not 0 < self.delay_first_s <= self.delay_max_s < math.inf:
            raise ConfigError(
                "need 0 < delay_first_s <= delay_max_s, got "
                f"{self.delay_first_s} and {self.delay_max_s}"
            )
        if not 0 < self.delay_full_max_s < math.inf:
            raise ConfigError(f"delay_full_max_s is {self.delay_full_max_s}; allowed: above 0")

    def delay_s(self, num_failed: int, draw: float, *, is_full: bool = False) -> float:
        """Return the pause after the `num_failed`-th failure, counted from 1.

            draw * min(delay_max_s, delay_first_s * 2^(num_failed - 1))

        Args:
            num_failed: Failures so far, 1 or more.
            draw: Uniform in [0, 1).
            is_full: The failure was a refusal by a full service.

        Returns:
            Seconds, in [0, delay_max_s), or below delay_full_max_s where that counts.
        """
        # The exponent is bounded because 2.0 ** 1024 overflows.
        ceiling = self.delay_first_s * 2.0 ** min(num_failed - 1, 64)
        longest = max(self.delay_max_s, self.delay_full_max_s) if is_full else self.delay_max_s
        return draw * min(longest, ceiling)


@dataclass(slots=True)
class Attempts:
    """The tries of one call: decides on pauses, never waits."""

    policy: RetryPolicy
    connect_s: float
    """Seconds to go on while the service cannot be reached."""
    deadline_s: float
    """When the whole call must be over, on the caller's clock."""
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Metadata of every try: the token, and the trace that the call belongs to."""
    num_failed: int = 0
    _num_counted: int = 0  # of these, those that attempts_max counts
    _unreachable_since_s: float | None = field(default=None)

    def remaining_s(self, now_s: float) -> float:
        """Return the seconds left, above 0, or raise `DeadlineExceeded`."""
        remaining = self.deadline_s - now_s
        if remaining <= 0:
            raise DeadlineExceeded("the deadline passed before the answer was complete")
        return remaining

    def pause_s(self, error: ConstellationError, *, now_s: float, draw: float) -> float:
        """Return how long to wait before the next try, or raise `error`.

        A passed deadline is not tried again: another try would take as long. `Overloaded` waits
        for its `retry_after_s` and then for the drawn pause, so that waiters do not return at
        once together.

        Args:
            error: What the last try ended with.
            now_s: The caller's clock.
            draw: Uniform in [0, 1).

        Returns:
            Seconds; the pause ends before the deadline.
        """
        self.num_failed += 1
        if not error.retryable or isinstance(error, DeadlineExceeded):
            raise error
        is_full = isinstance(error, Overloaded)
        pause = self.policy.delay_s(self.num_failed, draw, is_full=is_full)
        if isinstance(error, Overloaded):
            pause += error.retry_after_s
        self._num_counted += not is_full or self.policy.attempts_max == 1
        if self._num_counted >= self.policy.attempts_max:
            raise error
        if now_s + pause >= min(self.deadline_s, self._give_up_s(error, now_s)):
            raise error
        return pause

    def _give_up_s(self, error: ConstellationError, now_s: float) -> float:
        if not isinstance(error, ServiceUnavailable):
            self._unreachable_since_s = None
            return math.inf
        if self._unreachable_since_s is None:
            self._unreachable_since_s = now_s
        return self._unreachable_since_s + self.connect_s


def check_timeout(timeout_s: float | None, default_s: float) -> float:
    """Return the timeout of one call in seconds, or raise `InvalidRequest`."""
    if timeout_s is None:
        return default_s
    if not 0 < timeout_s <= 3600:
        raise InvalidRequest("timeout_s", timeout_s, "above 0 to 3600 seconds")
    return timeout_s
