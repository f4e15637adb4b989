"""Whether the kernels of a process write tokens: what the registry's heartbeat asks.

A process can answer calls and serve nothing: its thread of models is stuck, a step loop has ended,
an engine raises on every step, a queue is not drained. Kernels with work show by their steps that
they are well. A kernel without work is asked for one token now and then, through its queue, its
step loop and the thread of models; a kernel whose step failed is asked at once. An idle process
writes one token in `PROOF_S` seconds that way, and nothing while it has work.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from actors.background_tasks import begin
from actors.kernel.step_loop import ModelThread
from constellation.errors import (
    InvalidPrompt,
    InvalidRequest,
    KernelUnavailable,
    Overloaded,
    UnknownSymbol,
)
from constellation.records import Progress

PROOF_S = 10.0
"""Seconds without a token after which a kernel without work is asked for one."""

REASON_CHARACTERS_MAX = 256
"""Characters of the reason for a failure that are kept."""

_REFUSALS = (InvalidPrompt, InvalidRequest, KernelUnavailable, Overloaded, UnknownSymbol)
"""What a kernel that is well may answer: its vocabulary is another, it is full, or it has left."""


class Watched(Protocol):
    """What is asked of a kernel."""

    name: str

    @property
    def is_idle(self) -> bool:
        """Whether no request is served or waits."""

    @property
    def moved_s(self) -> float:
        """When a token was last written, or a request ended."""

    @property
    def num_failed_steps(self) -> int:
        """Steps in a row that ended by an error which nobody intended."""

    def stalled_s(self, now_s: float) -> float:
        """Return the seconds for which work could have been done and was not."""

    async def probe(self) -> None:
        """Write one token."""


@dataclass(slots=True)
class _Failures:
    """Probes of a kernel in a row that failed."""

    num: int = 0
    reason: str = ""


class ProgressWatch:
    """Judges the kernels of a process, and has them probed one at a time.

    Args:
        thread: Touches all models of the process.
        kernels: Returns the kernels that are served now.
        clock: Returns seconds that only rise, as those of the kernels.
    """

    def __init__(
        self,
        thread: ModelThread,
        kernels: Callable[[], Iterable[Watched]],
        clock: Callable[[], float],
    ) -> None:
        self._thread = thread
        self._kernels = kernels
        self._clock = clock
        self._failures: dict[str, _Failures] = {}
        self._probed_s = clock()
        self._probing: asyncio.Task[None] | None = None

    def look(self) -> Progress:
        """Return how the kernel does that is worst off; begin a probe when one is due."""
        now_s, kernels = self._clock(), tuple(self._kernels())
        names = {each.name for each in kernels}
        self._failures = {name: each for name, each in self._failures.items() if name in names}
        due = self._due(kernels, now_s)
        if due is not None:
            self._probed_s = now_s
            self._probing = begin("probe", self._probe(due))
        return self._worst(kernels, now_s)

    def _due(self, kernels: Iterable[Watched], now_s: float) -> Watched | None:
        """Return the kernel that is to write a token now, if any: a doubtful one first."""
        if self._probing is not None and not self._probing.done():
            return None
        doubtful = [
            each for each in kernels if each.num_failed_steps or each.name in self._failures
        ]
        if doubtful:
            return min(doubtful, key=lambda each: each.moved_s)
        if now_s - self._probed_s < PROOF_S:
            return None
        idle = [each for each in kernels if each.is_idle and now_s - each.moved_s >= PROOF_S]
        return min(idle, key=lambda each: each.moved_s, default=None)

    async def _probe(self, kernel: Watched) -> None:
        (error,) = await asyncio.gather(kernel.probe(), return_exceptions=True)
        if error is None or isinstance(error, _REFUSALS):
            self._failures.pop(kernel.name, None)
            return
        known = self._failures.setdefault(kernel.name, _Failures())
        known.num += 1
        known.reason = f"{type(error).__name__}: {error}"[:REASON_CHARACTERS_MAX]

    def _worst(self, kernels: Iterable[Watched], now_s: float) -> Progress:
        """Return the kernel with most failures; or else the one that is stalled for longest."""
        if self._failures:
            name, most = max(self._failures.items(), key=lambda each: each[1].num)
            stalled_s = self._stalls(kernels, now_s).get(name, 0.0)
            return Progress(
                kernel=name, stalled_s=stalled_s, num_failed_probes=most.num, reason=most.reason
            )
        stalls = self._stalls(kernels, now_s)
        name = max(stalls, key=lambda each: stalls[each], default="")
        return Progress(kernel=name, stalled_s=stalls[name]) if stalls.get(name) else Progress()

    def _stalls(self, kernels: Iterable[Watched], now_s: float) -> dict[str, float]:
        """Return kernel -> seconds without a step; a stuck thread holds up all that have work."""
        thread_s = self._thread.stalled_s(now_s)
        return {
            each.name: max(each.stalled_s(now_s), 0.0 if each.is_idle else thread_s)
            for each in kernels
        }
