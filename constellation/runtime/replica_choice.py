"""Which process of a kernel gets a request, when several processes serve the kernel. Pure.

The process with the fewest requests is chosen among all of them: a kernel has few replicas, so that
comparing all costs less than drawing two at random ("power of two choices") and errs less. Requests
of this router are counted as they begin and end. Requests of other routers and direct clients are
known from heartbeats only: what a process reported beyond the requests that this router had there.
Among equals the process that was chosen longest ago comes first, so that routers with no other
knowledge take turns.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class _Process:
    """What is known of one kernel in one process."""

    own: int = 0
    """Calls of this router under way."""
    others: int = 0
    """Requests of others, as of the last heartbeat."""
    chosen: int = 0
    """Number of the choice that fell on it last; 0: none yet."""


class ReplicaLoads:
    """Counts requests per kernel and process, and chooses the process with the fewest."""

    def __init__(self) -> None:
        self._processes: dict[tuple[str, str], _Process] = {}
        self._num_choices = 0

    def choose(self, kernel: str, endpoints: Iterable[str]) -> str:
        """Return the endpoint of the process with the fewest requests, at least one is given."""

        def order(endpoint: str) -> tuple[int, int]:
            process = self._of(kernel, endpoint)
            return process.own + process.others, process.chosen

        best = min(endpoints, key=order)
        self._num_choices += 1
        self._of(kernel, best).chosen = self._num_choices
        return best

    def fewest_own(self, kernel: str, endpoints: Iterable[str]) -> int:
        """Return the smallest number of calls of this router to one of these processes."""
        return min(self._of(kernel, endpoint).own for endpoint in endpoints)

    def began(self, kernel: str, endpoint: str) -> None:
        """Count a call to a process."""
        self._of(kernel, endpoint).own += 1

    def ended(self, kernel: str, endpoint: str) -> None:
        """Count a call as over."""
        self._of(kernel, endpoint).own -= 1

    def reported(self, kernel: str, endpoint: str, num_requests: int) -> None:
        """Note how many requests a process ran or had waiting at its last heartbeat."""
        process = self._of(kernel, endpoint)
        process.others = max(0, num_requests - process.own)

    def keep_only(self, processes: set[tuple[str, str]]) -> None:
        """Forget processes that are not among these (kernel, endpoint), once they are idle."""
        self._processes = {
            key: each for key, each in self._processes.items() if key in processes or each.own
        }

    def _of(self, kernel: str, endpoint: str) -> _Process:
        return self._processes.setdefault((kernel, endpoint), _Process())
