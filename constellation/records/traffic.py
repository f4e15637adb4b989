"""Records of a router's traffic: the requests of the last minute, and the latest routes."""

from dataclasses import dataclass, field

from constellation.records.durations import Durations
from constellation.records.routing import Mode, Rule

WINDOW_S = 60
"""Seconds over which traffic is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondCount:
    """What ended within one second."""

    requests: int = 0
    tokens: int = 0
    """Tokens written."""


_NONE = SecondCount()


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Requests that ended within the last 60 whole seconds, answered or not."""

    requests: int = 0
    """All of them: answered, failed, refused and cancelled by the caller."""
    failed: int = 0
    """Requests that the constellation could not answer: a deadline passed, no kernel or process
    was there, or a mistake of the program; low is good."""
    refused: int = 0
    """Requests that were refused: a queue or a limit was full, the query was out of domain, or the
    request was not valid."""
    tokens: int = 0
    """Tokens written."""
    latency: Durations = field(default_factory=Durations)
    """From arrival to the last byte, of requests that were answered."""
    first_token: Durations = field(default_factory=Durations)
    """From arrival to the first text, of streamed answers."""
    seconds: tuple[SecondCount, ...] = field(default=(_NONE,) * WINDOW_S)
    """Counts of every second, the oldest first."""

    def plus(self, other: "Traffic") -> "Traffic":
        """Return the traffic of two routers together."""
        return Traffic(
            requests=self.requests + other.requests,
            failed=self.failed + other.failed,
            refused=self.refused + other.refused,
            tokens=self.tokens + other.tokens,
            latency=self.latency.plus(other.latency),
            first_token=self.first_token.plus(other.first_token),
            seconds=tuple(
                SecondCount(requests=one.requests + two.requests, tokens=one.tokens + two.tokens)
                for one, two in zip(self.seconds, other.seconds, strict=True)
            ),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class RecentRoute:
    """The route of one answered query, without anything of its text."""

    number: int
    """Rises by one with every query that the router answers, from 1."""
    at_s: float
    """When it was answered, seconds since the epoch."""
    kernel: str
    """The kernel that answered."""
    distance: float | None
    """Its distance, radians; None for a pinned kernel that is not among the nearest."""
    margin: float
    num_tokens: int
    """Tokens of the query that count."""
    reason: str
    rule: Rule
    mode: Mode
    out_of_domain: bool
