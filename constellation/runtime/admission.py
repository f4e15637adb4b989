"""Who may start, who waits, who is refused: a bounded queue in front of a few slots."""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from constellation.errors import ConfigError, Overloaded

_MEMORY = 0.9  # weight of the past in the running mean of service times


@dataclass(slots=True)
class Admission:
    """Decides which tickets run; never runs one.

    Attributes:
        what: Named in `Overloaded`, such as "kernel 'python'".
        slots: Tickets that may run at the same time.
        queue_max: Tickets that may wait; the next one is refused. 0 refuses at once.
    """

    what: str
    slots: int
    queue_max: int
    _started_s: dict[Hashable, float] = field(default_factory=dict)
    _waiting: deque[Hashable] = field(default_factory=deque)
    _service_s: float = 0.1

    def __post_init__(self) -> None:
        if self.slots < 1 or self.queue_max < 0:
            raise ConfigError(
                f"need slots >= 1 and queue_max >= 0, got {self.slots} and {self.queue_max}"
            )

    @property
    def num_running(self) -> int:
        """Tickets that hold a slot."""
        return len(self._started_s)

    @property
    def depth(self) -> int:
        """Tickets that wait."""
        return len(self._waiting)

    def arrive(self, ticket: Hashable, *, now_s: float) -> bool:
        """Return True when `ticket` may start now, False when it has to wait.

        Raises:
            Overloaded: The queue is full.
        """
        if len(self._started_s) < self.slots:
            self._started_s[ticket] = now_s
            return True
        if len(self._waiting) >= self.queue_max:
            raise Overloaded(
                self.what,
                depth=len(self._waiting) + len(self._started_s),
                retry_after_s=self.retry_after_s(),
            )
        self._waiting.append(ticket)
        return False

    def leave(self, ticket: Hashable, *, now_s: float) -> Hashable | None:
        """Forget `ticket`, running or waiting; return the one that starts in its place, if any."""
        started_s = self._started_s.pop(ticket, None)
        if started_s is None:
            self._waiting.remove(ticket)
            return None
        self._service_s = _MEMORY * self._service_s + (1 - _MEMORY) * (now_s - started_s)
        if not self._waiting:
            return None
        successor = self._waiting.popleft()
        self._started_s[successor] = now_s
        return successor

    def retry_after_s(self) -> float:
        """Return the time in seconds after which a slot is likely to be free."""
        return max(0.01, self._service_s * (len(self._waiting) + 1) / self.slots)
