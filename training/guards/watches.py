"""Detect spikes, risen levels and lasting deviations of one number by its own past. Pure.

A watch takes one value at a time and returns a reading. The guard decides what readings mean.
"""

import statistics
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution divided by its median absolute deviation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """A watch's judgement of one value: the value and the limit."""

    name: str
    value: float
    limit: float
    beyond: bool
    """Whether the value is on the wrong side of the limit."""

    def numbers(self) -> dict[str, float]:
        """Return value and limit under the watch's name."""
        return {self.name: self.value, f"{self.name}_limit": self.limit}


@dataclass(slots=True)
class SpikeWatch:
    """Detects single values far above the running median, on the running robust scale."""

    name: str
    scales: float
    """Robust standard deviations above the median from which a value is a spike."""
    share: float
    """Least distance of the limit from the median, as a share of the median: after a calm past the
    MAD is almost 0, and every value would be a spike."""
    window: int
    """Number of values remembered."""
    least: int
    """Number of values needed before anything counts as a spike."""
    _past: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self._past = deque(maxlen=self.window)

    def observe(self, value: float) -> Reading | None:
        """Judge a finite value; spikes are not remembered. Returns None while too few are known."""
        if len(self._past) < self.least:
            self._past.append(value)
            return None
        limit = robust_limit(self._past, self.scales, self.share)
        if value <= limit:
            self._past.append(value)
        return Reading(name=self.name, value=value, limit=limit, beyond=value > limit)

    def state(self) -> list[float]:
        """Return the values remembered."""
        return list(self._past)

    def restore(self, state: list[float]) -> None:
        """Continue from a value that `state` returned."""
        self._past = deque(state, maxlen=self.window)


@dataclass(slots=True)
class RiseWatch:
    """Detects a level that has risen and stays up, even without noise.

    Raises an alarm when the median of the last `steps` values is above the limit computed from the
    values before; a single spike cannot move that median.
    """

    name: str
    scales: float
    """Robust standard deviations of the earlier values above their median."""
    share: float
    """Least distance of the limit from that median, as a share of it."""
    steps: int
    """Number of latest values whose median is the present level."""
    window: int
    """Number of earlier values remembered."""
    least: int
    """Number of earlier values needed before anything counts as a rise."""
    _past: deque[float] = field(init=False)
    _recent: deque[float] = field(init=False)

    def __post_init__(self) -> None:
        self._past = deque(maxlen=self.window)
        self._recent = deque(maxlen=self.steps)

    def observe(self, value: float) -> Reading | None:
        """Record a finite value and judge the level; None while too few values are known."""
        if len(self._recent) == self.steps:
            self._past.append(self._recent[0])
        self._recent.append(value)
        if len(self._past) < self.least:
            return None
        limit = robust_limit(self._past, self.scales, self.share)
        level = statistics.median(self._recent)
        return Reading(name=self.name, value=level, limit=limit, beyond=level > limit)

    def state(self) -> dict[str, list[float]]:
        """Return the values remembered."""
        return {"past": list(self._past), "recent": list(self._recent)}

    def restore(self, state: Mapping[str, list[float]]) -> None:
        """Continue from a value that `state` returned."""
        self._past = deque(state["past"], maxlen=self.window)
        self._recent = deque(state["recent"], maxlen=self.steps)


def robust_limit(past: Collection[float], scales: float, share: float) -> float:
    """Return median + max(scales 1.4826 MAD, share |median|) of the values."""
    median = statistics.median(past)
    scale = NORMAL_MAD * statistics.median(abs(value - median) for value in past)
    return median + max(scales * scale, share * abs(median))


@dataclass(slots=True)
class PatienceWatch:
    """Raises an alarm when a value stays beyond a limit for several readings in a row.

    Raises none until the value was once on the right side: when training starts from noise, a
    statistic may begin anywhere, and only its fall is a collapse.
    """

    name: str
    limit: float
    side: Literal["below", "above"]
    """Side of the limit that is wrong: above or below."""
    patience: int
    """Number of consecutive readings beyond the limit that raise the alarm."""
    _armed: bool = False
    _count: int = 0

    def observe(self, value: float, limit: float | None = None) -> Reading:
        """Judge a value, against a limit for this reading where one is given."""
        limit = self.limit if limit is None else limit
        wrong = value < limit if self.side == "below" else value > limit
        self._armed = self._armed or not wrong
        self._count = self._count + 1 if wrong and self._armed else 0
        beyond = self._count >= self.patience
        return Reading(name=self.name, value=value, limit=limit, beyond=beyond)

    @property
    def suspicious(self) -> bool:
        """Whether the last value was beyond the limit, however short that lasted."""
        return self._count > 0

    def again(self) -> None:
        """Restart the count."""
        self._count = 0

    def state(self) -> dict[str, Any]:
        """Return everything that later readings depend on, as JSON values."""
        return {"armed": self._armed, "count": self._count}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from a value that `state` returned."""
        self._armed, self._count = state["armed"], state["count"]
