"""Supervision: decides which members are up, which are lost, and which must be restarted.

A member is one actor: a router or a process of kernels. Ray restarts a process that died; the
supervisor adds what Ray cannot see: a process that lives and does not answer, and a process that
never comes up. Events carry the time; decisions are returned as commands, each with its reason.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from constellation.errors import ConfigError


class State(StrEnum):
    """Whether a member is up, as far as is known."""

    STARTING = "starting"
    """Not announced yet, or lost and expected back."""
    UP = "up"
    """Announced, and answering heartbeats."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SupervisorConfig:
    """Limits after which members are restarted."""

    misses_max: int = 3
    """Timeouts in a row after which a member counts as hung."""
    start_s: float = 60.0
    """Seconds that a member may take to announce itself before it is restarted."""
    backoff_max_s: float = 300.0
    """Longest such time for a member that never comes up; the time doubles from `start_s`."""
    retry_s: float = 2.0
    """Seconds until a member is restarted whose process ended before it served."""
    retry_max_s: float = 30.0
    """Longest of these pauses, which double from `retry_s`."""

    def __post_init__(self) -> None:
        if self.misses_max < 1 or not 0 < self.start_s <= self.backoff_max_s:
            raise ConfigError(
                "need misses_max >= 1 and 0 < start_s <= backoff_max_s, got "
                f"{self.misses_max}, {self.start_s}, {self.backoff_max_s}"
            )
        if not 0 < self.retry_s <= self.retry_max_s:
            raise ConfigError(
                f"need 0 < retry_s <= retry_max_s, got {self.retry_s}, {self.retry_max_s}"
            )


@dataclass(frozen=True, slots=True)
class Restart:
    """Command to kill a member's process, which Ray then starts again."""

    name: str
    reason: str


@dataclass(slots=True)
class Member:
    """One supervised actor."""

    name: str
    since_s: float
    state: State = State.STARTING
    endpoint: str | None = None
    pid: int = 0
    misses: int = 0
    num_restarts: int = 0
    num_failed_starts: int = 0


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
        member.state, member.endpoint, member.pid = State.UP, endpoint, pid
        member.since_s, member.misses, member.num_failed_starts = now_s, 0, 0
        return True

    def answered(self, name: str) -> None:
        """Note that a member answered its heartbeat."""
        self.members[name].misses = 0

    def refused(self, name: str, endpoint: str, *, now_s: float) -> bool:
        """Note that nobody listens at `endpoint`; return True when the member was up there."""
        member = self.members[name]
        if member.state is not State.UP or member.endpoint != endpoint:
            return False
        self._lose(member, now_s)
        return True

    def timed_out(self, name: str, *, now_s: float) -> list[Restart]:
        """Note that a member did not answer in time; it is restarted after several such."""
        member = self.members[name]
        member.misses += 1
        if member.state is not State.UP or member.misses < self.config.misses_max:
            return []
        self._lose(member, now_s)
        return [Restart(name, f"missed {self.config.misses_max} heartbeats")]

    def ended(self, name: str, *, now_s: float) -> list[Restart]:
        """Note that a member has no process and that Ray will start none.

        Returns:
            The restart of the member when its pause is over; pauses double with every failure.
        """
        member = self.members[name]
        pause_s = min(self.config.retry_s * 2**member.num_failed_starts, self.config.retry_max_s)
        if member.state is not State.STARTING or now_s - member.since_s < pause_s:
            return []
        member.num_failed_starts += 1
        member.since_s = now_s
        return [Restart(name, "ended before it served")]

    def overdue(self, *, now_s: float) -> list[Restart]:
        """Return restarts of members that take too long to come up."""
        commands = []
        for member in self.members.values():
            patience_s = min(
                self.config.start_s * 2**member.num_failed_starts, self.config.backoff_max_s
            )
            if member.state is State.STARTING and now_s - member.since_s >= patience_s:
                member.num_failed_starts += 1
                member.since_s = now_s
                commands.append(Restart(member.name, f"did not come up in {patience_s:.0f} s"))
        return commands

    def _lose(self, member: Member, now_s: float) -> None:
        member.state, member.endpoint = State.STARTING, None
        member.since_s, member.misses = now_s, 0
