"""Callers from outside, and a watcher that sees when every kernel answers again.

Used by `benchmarks.machines`.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from benchmarks.chaos import prompts
from constellation import Client
from constellation.client import ConstellationStatus, RetryPolicy
from constellation.errors import ConstellationError

OpenClient = Callable[[RetryPolicy | None], Client]
Places = Mapping[str, tuple[str, int]]
"""Kernel -> node and process id."""

NUM_CALLERS = 4
PAUSE_S = 0.1
"""Longest pause of a caller between two requests: the machine is to be busy, not choked."""
DEADLINE_S = 20.0
TOKENS_MAX = 8
ANSWER_S = 2.0
"""Seconds within which a kernel that is up must answer a request that names it."""
_LOOK_S = 0.25
_ONCE = RetryPolicy(attempts_max=1)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a caller."""

    started_s: float
    seconds: float
    error: str | None


class Load:
    """Threads that ask while the context is open; the router chooses the kernels."""

    def __init__(self, open_client: OpenClient) -> None:
        self._open_client = open_client
        self._stop = threading.Event()
        self._enough = threading.Condition()
        self._asked: list[Asked] = []
        self._threads = [
            threading.Thread(target=self._call, args=(number,)) for number in range(NUM_CALLERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def num_requests(self) -> int:
        """Requests that have ended."""
        return len(self._asked)

    @property
    def num_failed(self) -> int:
        """Requests that ended in an error; after `DEADLINE_S` a request is one of them."""
        return self.errors.total()

    @property
    def errors(self) -> Counter[str]:
        """Errors of failed requests, and how often each was seen."""
        return Counter(each.error for each in self._asked if each.error is not None)

    def slowest_s(self, since_s: float) -> float:
        """Return the seconds of the slowest request that ran at `since_s` or later."""
        late = [each.seconds for each in self._asked if each.started_s + each.seconds >= since_s]
        return max(late, default=0.0)

    def wait_for(self, num_requests: int, timeout_s: float = 300.0) -> None:
        """Wait until so many requests have ended."""
        with self._enough:
            self._enough.wait_for(lambda: len(self._asked) >= num_requests, timeout_s)

    def _call(self, number: int) -> None:
        chance = random.Random(number)
        texts = prompts()
        with self._open_client(None) as stars:
            while not self._stop.wait(PAUSE_S * chance.random()):
                self._ask(stars, chance.choice(texts))

    def _ask(self, stars: Client, text: str) -> None:
        started_s, error = time.monotonic(), None
        try:
            stars.ask(text, tokens_max=TOKENS_MAX, timeout_s=DEADLINE_S)
        except ConstellationError as failure:
            error = f"{type(failure).__name__}: {failure}"[:300]
        with self._enough:
            self._asked.append(Asked(started_s, time.monotonic() - started_s, error))
            self._enough.notify_all()


class Watcher:
    """Looks at the kernels several times a second, and asks each for an answer of one token."""

    def __init__(self, open_client: OpenClient) -> None:
        self._stars = open_client(_ONCE)
        self._pause = threading.Event()
        self._names: frozenset[str] = frozenset()
        self.num_flaps = 0
        """Kernels that stopped answering while everything was to be calm."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stars.close()

    def status(self) -> ConstellationStatus:
        """Return the state of the constellation as the router sees it."""
        return self._stars.status(timeout_s=DEADLINE_S)

    def places(self, node: str | None = None) -> Places:
        """Return where the kernels that are up run; empty when the router does not answer.

        Args:
            node: Only the kernels of this node.
        """
        try:
            kernels = self._stars.status(timeout_s=ANSWER_S).kernels
        except ConstellationError:
            return {}
        self._names |= {kernel.name for kernel in kernels}
        found = {kernel.name: (kernel.node, kernel.pid) for kernel in kernels if kernel.up}
        return {name: place for name, place in found.items() if node in (None, place[0])}

    def wait_whole(self, limit_s: float, *, moved: Places | None = None) -> float:
        """Wait until every kernel is up and answers; return when that was, by the monotonic clock.

        Args:
            limit_s: Seconds after which this gives up.
            moved: Kernels whose process is lost: they must be up in another process.
        """
        end_s = time.monotonic() + limit_s
        while time.monotonic() < end_s:
            looked_s = time.monotonic()
            if not self._ailing(moved or {}):
                return looked_s
            self._pause.wait(_LOOK_S)
        raise TimeoutError(f"after {limit_s:.0f} s still ill: {sorted(self._ailing(moved or {}))}")

    def calm(self, seconds: float) -> None:
        """Count the kernels that stop answering within so many seconds."""
        end_s, ill = time.monotonic() + seconds, set[str]()
        while time.monotonic() < end_s:
            now = self._ailing({})
            self.num_flaps += len(now - ill)
            ill = now
            self._pause.wait(_LOOK_S)

    def _ailing(self, moved: Places) -> set[str]:
        """Return the kernels that are down, still in a lost process, or do not answer."""
        places = self.places()
        up = {name for name, place in places.items() if moved.get(name) != place}
        if not up or self._names - up:
            return set(self._names - up) or {"router"}
        return {name for name in up if not self._answers(name)}

    def _answers(self, name: str) -> bool:
        try:
            self._stars.ask("import os", kernel=name, tokens_max=1, timeout_s=ANSWER_S)
        except ConstellationError:
            return False
        return True
