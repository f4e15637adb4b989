"""Supervision: decides which members are up, which are lost, and which must be restarted.

A member is one actor: a router or a process of kernels. Ray restarts a process that died; the
supervisor adds what Ray cannot see: a process that lives and does not answer, a process that
answers and does no work, and a process that never comes up. A silent member is not restarted while
nobody can say whether its process lives: the network may be cut, and the process be well behind it.
Events carry the time; decisions are returned as commands, each with its reason.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from constellation.errors import ConfigError


class State(StrEnum):
    """Whether a member is up, as far as is known."""

    STARTING = "starting"
    """Not announced yet, or lost and expected back as another process."""
    UP = "up"
    """Announced, and answering heartbeats."""
    UNREACHABLE = "unreachable"
    """Out of the table, and asked again at its last endpoint. The process may be well behind a
    network that is cut; or the process hangs or does no work, and its restart is not due yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisorConfig:
    """Limits after which members are restarted."""

    misses_max: int = 3
    """Heartbeats in a row without an answer after which a member is taken out of the table."""
    answers_min: int = 2
    """Answers in a row after which an unreachable member is up again."""
    start_s: float = 60.0
    """Seconds that a member may take to announce itself, or be unreachable, before a restart."""
    backoff_max_s: float = 300.0
    """Longest such time for a member that never comes up; the time doubles from `start_s`."""
    retry_s: float = 2.0
    """Seconds until a member is restarted whose process ended before it served; also the shortest
    time between two restarts of a process that hangs or does no work."""
    retry_max_s: float = 30.0
    """Longest of these pauses, which double from `retry_s` with every restart."""
    calm_s: float = 300.0
    """Seconds without a restart after which the pauses begin at `retry_s` again."""

    def __post_init__(self) -> None:
        if (
            self.misses_max < 1
            or self.answers_min < 1
            or not 0 < self.start_s <= self.backoff_max_s
        ):
            raise ConfigError(
                "need misses_max >= 1, answers_min >= 1 and 0 < start_s <= backoff_max_s, got "
                f"{self.misses_max}, {self.answers_min}, {self.start_s}, {self.backoff_max_s}"
            )
        if not 0 < self.retry_s <= self.retry_max_s <= self.calm_s:
            raise ConfigError(
                "need 0 < retry_s <= retry_max_s <= calm_s, got "
                f"{self.retry_s}, {self.retry_max_s}, {self.calm_s}"
            )


@dataclass(frozen=True, slots=True)
class Restart:
    """Command to kill a member's process, which Ray then starts again."""

    name: str
    reason: str
    pid: int = 0
    """The process to be killed; 0 when no process is known to live."""


@dataclass(slots=True)
class Member:
    """One supervised actor."""

    name: str
    since_s: float
    state: State = State.STARTING
    endpoint: str | None = None
    """Where clients find the member; None unless it is up."""
    last_endpoint: str | None = None
    """Where the member is asked; None when its process is known to be gone, or was killed."""
    pid: int = 0
    misses: int = 0
    """Heartbeats in a row without an answer."""
    answers: int = 0
    """Answers in a row of a member that is unreachable."""
    num_restarts: int = 0
    num_failed_starts: int = 0
    fault: str = ""
    """Why a restart is to come when the pause is over; empty when none is."""
    num_orders: int = 0
    """Restarts for hanging or doing no work, since the last calm."""
    ordered_s: float = float("-inf")
    """When the last of these was ordered."""


@dataclass(slots=True)
class Supervisor:
    """Holds the states of all members and decides on restarts; touches no process."""

    config: SupervisorConfig
    members: dict[str, Member] = field(default_factory=dict)

    def expect(self, name: str, *, now_s: float, pid: int = 0, num_restarts: int = 0) -> None:
        """Expect a member to announce itself.

        Args:
            name: Name of the member.
            now_s: The time.
            pid: Last known process of the member; another process will count as a restart.
            num_restarts: Restarts that were counted before.
        """
        self.members[name] = Member(name, since_s=now_s, pid=pid, num_restarts=num_restarts)

    def forget(self, name: str) -> None:
        """Stop supervising a member that leaves for good."""
        self.members.pop(name, None)

    def announced(self, name: str, *, endpoint: str, pid: int, now_s: float) -> bool:
        """Note that a member listens at `endpoint`; return True when that is news."""
        member = self.members[name]
        if (member.state, member.endpoint, member.pid) == (State.UP, endpoint, pid):
            return False
        if member.pid not in (0, pid):
            member.num_restarts += 1
        member.endpoint = member.last_endpoint = endpoint
        member.pid = pid
        self._rise(member, now_s)
        return True

    def answered(self, name: str, *, now_s: float) -> bool:
        """Note that a member answered its heartbeat, and does its work.

        Returns:
            True when the member was unreachable and is up again.
        """
        member = self.members[name]
        member.misses = 0
        if member.state is not State.UNREACHABLE or member.last_endpoint is None:
            return False
        member.answers += 1
        if member.answers < self.config.answers_min:
            return False
        member.endpoint = member.last_endpoint
        self._rise(member, now_s)
        return True

    def refused(self, name: str, endpoint: str, *, now_s: float) -> bool:
        """Note that the process at `endpoint` is gone; return True when the member was up there."""
        member = self.members[name]
        if member.last_endpoint != endpoint:
            return False
        was_up = member.state is State.UP
        if member.state is not State.STARTING:
            self._fall(member, State.STARTING, now_s)
        member.last_endpoint = None
        return was_up

    def timed_out(self, name: str, *, now_s: float) -> list[Restart]:
        """Note that a member did not answer in time although its process lives.

        Returns:
            The restart of the member after several such, when its pause is over.
        """
        member = self.members[name]
        member.misses, member.answers = member.misses + 1, 0
        if member.state is State.STARTING or member.misses < self.config.misses_max:
            return []
        return self._fault(member, f"missed {self.config.misses_max} heartbeats", now_s)

    def unknown(self, name: str, *, now_s: float) -> bool:
        """Note that a member did not answer, and that nobody can say whether its process lives.

        Returns:
            True when the member was up and is unreachable now.
        """
        member = self.members[name]
        member.misses, member.answers = member.misses + 1, 0
        if member.state is not State.UP or member.misses < self.config.misses_max:
            return False
        self._fall(member, State.UNREACHABLE, now_s)
        return True

    def idles(self, name: str, reason: str, *, now_s: float) -> list[Restart]:
        """Note that a member answers its heartbeat and does no work.

        Returns:
            The restart of the member, when its pause is over; until then it is unreachable.
        """
        member = self.members[name]
        member.misses = member.answers = 0
        return [] if member.state is State.STARTING else self._fault(member, reason, now_s)

    def ended(self, name: str, *, now_s: float) -> list[Restart]:
        """Note that a member has no process and that Ray will start none.

        Returns:
            The restart of the member when its pause is over; pauses double with every failure.
        """
        member = self.members[name]
        pause_s = min(self.config.retry_s * 2**member.num_failed_starts, self.config.retry_max_s)
        if member.state is State.UP or now_s - member.since_s < pause_s:
            return []
        member.num_failed_starts += 1
        self._fall(member, State.STARTING, now_s)
        member.last_endpoint = None
        return [Restart(name, "ended before it served")]

    def overdue(self, *, now_s: float) -> list[Restart]:
        """Return restarts of members that take too long to come up, or that a pause held back."""
        commands: list[Restart] = []
        for member in self.members.values():
            if member.fault:
                commands += self._fault(member, member.fault, now_s)
            elif member.state is not State.UP:
                commands += self._hurry(member, now_s)
        return commands

    def _hurry(self, member: Member, now_s: float) -> list[Restart]:
        patience_s = min(
            self.config.start_s * 2**member.num_failed_starts, self.config.backoff_max_s
        )
        if now_s - member.since_s < patience_s:
            return []
        member.num_failed_starts += 1
        member.since_s = now_s
        if member.state is State.UNREACHABLE:  # and goes on being asked, until another is announced
            reason = f"was unreachable for {patience_s:.0f} s"
            return [Restart(member.name, reason, member.pid)]
        return [Restart(member.name, f"did not come up in {patience_s:.0f} s")]

    def _fault(self, member: Member, reason: str, now_s: float) -> list[Restart]:
        """Take a member out of the table; restart it, unless it was restarted a moment ago."""
        config = self.config
        if now_s - member.ordered_s >= config.calm_s:
            member.num_orders = 0
        pause_s = min(config.retry_s * 2 ** min(member.num_orders, 16), config.retry_max_s)
        if member.num_orders and now_s - member.ordered_s < pause_s:
            if member.state is State.UP:
                self._fall(member, State.UNREACHABLE, now_s)
            member.fault = reason
            return []
        member.num_orders += 1
        member.ordered_s = now_s
        self._fall(member, State.STARTING, now_s)
        member.last_endpoint = None
        return [Restart(member.name, reason, member.pid)]

    def _rise(self, member: Member, now_s: float) -> None:
        member.state, member.since_s, member.fault = State.UP, now_s, ""
        member.misses = member.answers = member.num_failed_starts = 0

    def _fall(self, member: Member, state: State, now_s: float) -> None:
        member.state, member.since_s, member.fault = state, now_s, ""
        member.endpoint = None
        member.misses = member.answers = 0
