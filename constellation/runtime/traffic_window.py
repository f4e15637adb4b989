"""A sliding window of a router's traffic: 60 one-second buckets, each with counts and histograms.

Counting one request takes about a microsecond. Memory is bounded: a bucket that is over a minute
old is used again, and a histogram has 432 bins.
"""

from collections import Counter

from constellation.records import WINDOW_S, Durations, SecondCount, Traffic, bin_of


class _Bucket:
    """What ended within one second."""

    __slots__ = ("failed", "first_token", "latency", "refused", "requests", "second", "tokens")

    def __init__(self) -> None:
        self.begin(-1)

    def begin(self, second: int) -> None:
        """Count for another second from now on."""
        self.second = second
        self.requests = self.failed = self.refused = self.tokens = 0
        self.latency: dict[int, int] = {}
        self.first_token: dict[int, int] = {}


class TrafficWindow:
    """Counts requests and written tokens by the second in which they end.

    All times are seconds on a clock that only rises, >= 0.
    """

    def __init__(self) -> None:
        # One more than the whole seconds of the window, for the second that is not over.
        self._buckets = [_Bucket() for _ in range(WINDOW_S + 1)]
        self._read: tuple[int, Traffic] | None = None

    def answered(self, seconds: float, *, now_s: float) -> None:
        """Count a request that was answered after so many seconds."""
        bucket = self._bucket(now_s)
        bucket.requests += 1
        number = bin_of(seconds)
        bucket.latency[number] = bucket.latency.get(number, 0) + 1

    def failed(self, *, now_s: float) -> None:
        """Count a request that the constellation could not answer."""
        bucket = self._bucket(now_s)
        bucket.requests += 1
        bucket.failed += 1

    def refused(self, *, now_s: float) -> None:
        """Count a request that was refused."""
        bucket = self._bucket(now_s)
        bucket.requests += 1
        bucket.refused += 1

    def cancelled(self, *, now_s: float) -> None:
        """Count a request whose caller went away."""
        self._bucket(now_s).requests += 1

    def began(self, seconds: float, *, now_s: float) -> None:
        """Count an answer whose first text came after so many seconds."""
        first_token, number = self._bucket(now_s).first_token, bin_of(seconds)
        first_token[number] = first_token.get(number, 0) + 1

    def wrote(self, num_tokens: int, *, now_s: float) -> None:
        """Count tokens of an answer."""
        self._bucket(now_s).tokens += num_tokens

    def traffic(self, *, now_s: float) -> Traffic:
        """Return the counts of the last 60 whole seconds; they are added up once a second."""
        end = int(now_s)
        if self._read is None or self._read[0] != end:
            self._read = end, self._added_up(end)
        return self._read[1]

    def _added_up(self, end: int) -> Traffic:
        found = [self._known(second) for second in range(end - WINDOW_S, end)]
        latency: Counter[int] = Counter()
        first_token: Counter[int] = Counter()
        for bucket in found:
            latency.update(bucket.latency)
            first_token.update(bucket.first_token)
        return Traffic(
            requests=sum(bucket.requests for bucket in found),
            failed=sum(bucket.failed for bucket in found),
            refused=sum(bucket.refused for bucket in found),
            tokens=sum(bucket.tokens for bucket in found),
            latency=Durations(counts=latency),
            first_token=Durations(counts=first_token),
            seconds=tuple(
                SecondCount(requests=bucket.requests, tokens=bucket.tokens) for bucket in found
            ),
        )

    def _bucket(self, now_s: float) -> _Bucket:
        """Return the bucket of the second that is not over."""
        second = int(now_s)
        bucket = self._buckets[second % len(self._buckets)]
        if bucket.second != second:
            bucket.begin(second)
        return bucket

    def _known(self, second: int) -> _Bucket:
        """Return the bucket of a second that is over; an empty one when nothing ended then."""
        bucket = self._buckets[second % len(self._buckets)]
        return bucket if bucket.second == second else _NOTHING


_NOTHING = _Bucket()
