"""Admission of requests to a router: limits of clients, slots, and the counting of outcomes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.router.idempotency import IdempotentAnswers
from actors.spec import RouterOptions
from constellation.errors import (
    Cancelled,
    ConstellationError,
    DeadlineExceeded,
    InternalError,
    KernelUnavailable,
    ServiceUnavailable,
)
from constellation.records import RoutingOptions
from constellation.runtime.admission import Admission
from constellation.runtime.rate_limits import ClientLimits
from constellation.runtime.traffic_window import TrafficWindow
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire.callers import Caller

_FAILURES = frozenset(
    each.__name__
    for each in (DeadlineExceeded, InternalError, KernelUnavailable, ServiceUnavailable)
)
"""Outcomes by which a request failed; by all other errors a request is refused."""


class AdmissionControl:
    """Admits requests or refuses them, and counts how they end.

    Args:
        options: Limits of the router and of its clients.
        metrics: Where requests are counted.
        window: Where the requests of the last minute are counted.

    Attributes:
        answers: Answers a request that is sent again as the first was answered.
    """

    def __init__(
        self, options: RouterOptions, metrics: RouterMetrics, window: TrafficWindow
    ) -> None:
        self._admission = Admission("the router", slots=options.requests_max, queue_max=0)
        self._limits = ClientLimits(
            requests_max=options.client_requests_max, rate=options.client_rate
        )
        self._metrics = metrics
        metrics.active.set_function(lambda: self._admission.num_running)
        metrics.limit.set(options.requests_max)
        self._window = window
        self.answers = IdempotentAnswers()

    @contextmanager
    def request(self, options: RoutingOptions, caller: Caller) -> Iterator[None]:
        """Count a request by its outcome, and refuse requests beyond the client's limits.

        Raises:
            Overloaded: The client has reached one of its limits.
        """
        started_s, outcome = time.monotonic(), "cancelled"
        try:
            with self._limited(caller.client):
                yield
            outcome = "ok"
        except ConstellationError as error:
            outcome = type(error).__name__
            raise
        except Exception:
            outcome = "InternalError"
            raise
        finally:
            now_s = time.monotonic()
            self._metrics.requests.labels(str(options.mode), outcome).inc()
            self._metrics.seconds.observe(now_s - started_s)
            self._count(outcome, now_s - started_s, now_s)

    def _count(self, outcome: str, seconds: float, now_s: float) -> None:
        """Count a request that ended in the window of the last minute."""
        if outcome == "ok":
            self._window.answered(seconds, now_s=now_s)
        elif outcome in _FAILURES:
            self._window.failed(now_s=now_s)
        elif outcome in ("cancelled", Cancelled.__name__):
            self._window.cancelled(now_s=now_s)
        else:
            self._window.refused(now_s=now_s)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold one of the router's slots for a request.

        Raises:
            Overloaded: All slots are taken.
        """
        ticket = object()
        self._admission.arrive(ticket, now_s=time.monotonic())
        try:
            yield
        finally:
            self._admission.leave(ticket, now_s=time.monotonic())

    @contextmanager
    def _limited(self, client: str) -> Iterator[None]:
        if not self._limits.are_on or not client:  # "" is this constellation itself
            yield
            return
        self._limits.begin(client, now_s=time.monotonic())
        try:
            yield
        finally:
            self._limits.end(client, now_s=time.monotonic())
