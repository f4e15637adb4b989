"""Patience: how long a process may be silent until the process counts as one that hangs.

A busy process is silent, too. So the time grows with every restart after which the process stayed
silent: a restart that did not help shows that the machine is slow, not that the process hangs.
"""

from dataclasses import dataclass

from constellation.errors import ConfigError


@dataclass(slots=True)
class Patience:
    """Decides when a silent process is to be restarted; touches no process and reads no clock."""

    base_s: float
    """Seconds of silence until the first restart."""
    max_s: float
    """Longest silence; the time doubles from `base_s` with every restart in vain."""
    start_s: float
    """Seconds that a process that was just started is waited for in addition."""
    _silent_since_s: float | None = None
    _num_restarts: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.base_s <= self.max_s and self.start_s >= 0):
            raise ConfigError(
                "need 0 < base_s <= max_s and start_s >= 0, got "
                f"{self.base_s}, {self.max_s}, {self.start_s}"
            )

    @property
    def limit_s(self) -> float:
        """Seconds of silence after which the process is restarted."""
        return min(self.base_s * 2.0 ** min(self._num_restarts, 32), self.max_s)

    def answered(self) -> None:
        """Note that the process answered, however late."""
        self._silent_since_s, self._num_restarts = None, 0

    def silent(self, *, now_s: float) -> bool:
        """Note that the process has not answered yet; return True when its silence is new."""
        if self._silent_since_s is not None:
            return False
        self._silent_since_s = now_s
        return True

    def starts(self, *, now_s: float) -> None:
        """Note that the process is being started, and is waited for from now on."""
        self._silent_since_s = now_s + self.start_s

    def restarted(self, *, now_s: float) -> None:
        """Note that the process was restarted because of its silence."""
        self._num_restarts += 1
        self.starts(now_s=now_s)

    def is_over(self, *, now_s: float) -> bool:
        """Return whether the process has been silent for too long."""
        silent = self._silent_since_s
        return silent is not None and now_s - silent >= self.limit_s
