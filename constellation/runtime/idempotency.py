"""Idempotency: answers are kept for a while, so that no request is answered twice.

A request is known by its client and the id that the client chose. While the first request runs, its
repeats wait; when the first fails or is cancelled, one of the repeats becomes the first. The oldest
answers are evicted when there are too many answers, when they take too much memory, or when they
are old. Time is an argument.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from constellation.errors import InvalidRequest

KEPT_S = 600.0
"""Seconds for which an answer is kept."""
BYTES_MAX = 32 * 2**20
"""Bytes of all answers that are kept."""
ANSWERS_MAX = 16_384
"""Answers that are kept."""

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class Kept(Generic[AnswerT]):
    """An answer that was given."""

    answer: AnswerT
    fingerprint: bytes
    size_bytes: int
    since_s: float


@dataclass(slots=True)
class Repeats(Generic[AnswerT]):
    """Holds which requests are under way, and the latest answers.

    Attributes:
        size_bytes: Memory of all answers that are kept.
    """

    kept_s: float = KEPT_S
    bytes_max: int = BYTES_MAX
    answers_max: int = ANSWERS_MAX
    size_bytes: int = 0
    _running: dict[Hashable, bytes] = field(default_factory=dict)
    _kept: OrderedDict[Hashable, Kept[AnswerT]] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable, fingerprint: bytes, *, now_s: float) -> Kept[AnswerT] | None:
        """Return the answer to an earlier request with this key, if it is kept.

        Args:
            key: Client and id of the request.
            fingerprint: Digest of the contents of the request.
            now_s: The time, never falling.

        Raises:
            InvalidRequest: The earlier request, answered or under way, had other contents.
        """
        self._drop_old(now_s)
        kept = self._kept.get(key)
        known = self._running.get(key) if kept is None else kept.fingerprint
        if known is not None and known != fingerprint:
            allowed = "an id of its own for every request; this one belongs to another request"
            raise InvalidRequest("request_id", _id_of(key), allowed)
        return kept

    def is_running(self, key: Hashable) -> bool:
        """Return whether a request with this key is under way."""
        return key in self._running

    def begin(self, key: Hashable, fingerprint: bytes) -> None:
        """Note that a new request is under way: its key is neither running nor kept."""
        assert key not in self._running
        assert key not in self._kept
        self._running[key] = fingerprint

    def finish(self, key: Hashable, answer: AnswerT, *, size_bytes: int, now_s: float) -> None:
        """Keep the answer to a request that is under way, unless the answer is too large."""
        fingerprint = self._running.pop(key)
        if size_bytes > self.bytes_max:
            return
        self._kept[key] = Kept(answer, fingerprint, size_bytes, now_s)
        self.size_bytes += size_bytes
        while self.size_bytes > self.bytes_max or len(self._kept) > self.answers_max:
            self._drop_oldest()

    def give_up(self, key: Hashable) -> None:
        """Drop a request that is under way and was not answered."""
        self._running.pop(key, None)

    def _drop_old(self, now_s: float) -> None:
        while self._kept and now_s - next(iter(self._kept.values())).since_s >= self.kept_s:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, kept = self._kept.popitem(last=False)
        self.size_bytes -= kept.size_bytes


def _id_of(key: Hashable) -> object:
    return key[-1] if isinstance(key, tuple) else key
