"""Admission: a bounded queue in front of a few slots, in which clients take turns.

A slot that becomes free goes to the oldest request of the client that was served longest ago, so
that a client with a hundred waiting requests delays another client's single request by at most one
turn. When the queue is full, a client with fewer waiting requests may evict the newest request of
the client with most.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

from constellation.errors import ConfigError, Overloaded

_MEMORY = 0.9  # weight of the past in the running mean of service times


@dataclass(slots=True)
class Admission:
    """Decides which tickets may run. A ticket stands for one request.

    Attributes:
        what: What the slots belong to, such as "kernel 'python'"; named in `Overloaded`.
        slots: Tickets that may run at the same time.
        queue_max: Tickets that may wait; further tickets are refused. 0 means no queue.
    """

    what: str
    slots: int
    queue_max: int
    _started_s: dict[Hashable, float] = field(default_factory=dict)
    _client_of: dict[Hashable, str] = field(default_factory=dict)  # of waiting tickets
    # Client -> its waiting tickets, oldest first; the client whose turn is next comes first.
    _lines: OrderedDict[str, OrderedDict[Hashable, None]] = field(default_factory=OrderedDict)
    _service_s: float = 0.1

    def __post_init__(self) -> None:
        if self.slots < 1 or self.queue_max < 0:
            raise ConfigError(
                f"need slots >= 1 and queue_max >= 0, got {self.slots} and {self.queue_max}"
            )

    @property
    def num_running(self) -> int:
        """Number of tickets that hold a slot."""
        return len(self._started_s)

    @property
    def depth(self) -> int:
        """Number of waiting tickets."""
        return len(self._client_of)

    def make_room(self, client: str) -> Hashable | None:
        """Evict the ticket from a full queue that a ticket of `client` may replace, if any.

        Returns:
            The evicted ticket, which has to be refused: the newest of the client with most waiting
            tickets, when it has at least two more than `client`. None otherwise, and when there is
            room.
        """
        if self.depth < self.queue_max or len(self._started_s) < self.slots or not self._lines:
            return None
        longest = max(self._lines, key=lambda name: len(self._lines[name]))
        if len(self._lines[longest]) < len(self._lines.get(client, ())) + 2:
            return None
        ticket = next(reversed(self._lines[longest]))
        self._forget_waiting(ticket)
        return ticket

    def arrive(self, ticket: Hashable, *, now_s: float, client: str = "") -> bool:
        """Return True when `ticket` may start now, False when it has to wait.

        Raises:
            Overloaded: The queue is full.
        """
        if len(self._started_s) < self.slots:
            self._started_s[ticket] = now_s
            return True
        if self.depth >= self.queue_max:
            raise self.refusal()
        self._client_of[ticket] = client
        self._lines.setdefault(client, OrderedDict())[ticket] = None
        return False

    def leave(self, ticket: Hashable, *, now_s: float) -> Hashable | None:
        """Remove a ticket, running, waiting or refused; return the ticket that starts instead."""
        started_s = self._started_s.pop(ticket, None)
        if started_s is None:
            if ticket in self._client_of:
                self._forget_waiting(ticket)
            return None
        self._service_s = _MEMORY * self._service_s + (1 - _MEMORY) * (now_s - started_s)
        if not self._lines:
            return None
        client, line = next(iter(self._lines.items()))
        successor = next(iter(line))
        self._lines.move_to_end(client)
        self._forget_waiting(successor)
        self._started_s[successor] = now_s
        return successor

    def refusal(self) -> Overloaded:
        """Return the error for a ticket for which there is no room."""
        depth = self.depth + len(self._started_s)
        return Overloaded(self.what, depth=depth, retry_after_s=self.retry_after_s())

    def retry_after_s(self) -> float:
        """Return the time in seconds after which a slot is likely to be free."""
        return max(0.01, self._service_s * (self.depth + 1) / self.slots)

    def _forget_waiting(self, ticket: Hashable) -> None:
        client = self._client_of.pop(ticket)
        line = self._lines[client]
        del line[ticket]
        if not line:
            del self._lines[client]
