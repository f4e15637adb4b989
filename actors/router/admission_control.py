"""A router's reception: who is let in, how many at once, and what they are counted as."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from actors.router.idempotency import Repeating
from actors.spec import RouterOptions
from constellation.errors import ConstellationError
from constellation.records import RoutingOptions
from constellation.runtime.admission import Admission
from constellation.runtime.rate_limits import ClientLimits
from constellation.telemetry.metrics import RouterMetrics
from constellation.wire.callers import Caller


class Reception:
    """Lets requests in.

    Args:
        options: The router's limits.
        metrics: Where requests are counted.

    Attributes:
        repeating: Answers each request once.
    """

    def __init__(self, options: RouterOptions, metrics: RouterMetrics) -> None:
        self._admission = Admission("the router", slots=options.requests_max, queue_max=0)
        self._limits = ClientLimits(
            requests_max=options.client_requests_max, rate=options.client_rate
        )
        self._metrics = metrics
        self.repeating = Repeating()

    @contextmanager
    def visit(self, options: RoutingOptions, caller: Caller) -> Iterator[None]:
        """Count a request, and refuse it when its client has sent too many.

        Raises:
            Overloaded: The client is at one of its limits.
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
            self._metrics.requests.labels(str(options.mode), outcome).inc()
            self._metrics.seconds.observe(time.monotonic() - started_s)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Give a request one of the router's places.

        Raises:
            Overloaded: All are taken.
        """
        ticket = object()
        self._admission.arrive(ticket, now_s=time.monotonic())
        try:
            yield
        finally:
            self._admission.leave(ticket, now_s=time.monotonic())

    @contextmanager
    def _limited(self, client: str) -> Iterator[None]:
        if not self._limits.are_on or not client:  # "" is ourselves
            yield
            return
        self._limits.begin(client, now_s=time.monotonic())
        try:
            yield
        finally:
            self._limits.end(client, now_s=time.monotonic())
