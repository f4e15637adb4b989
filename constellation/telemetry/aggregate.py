"""The metrics of all processes of a machine in one place: one target for Prometheus.

They are read from every process when they are asked for. Knows nothing of what the processes are.
"""

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

MEMBER_UP = "constellation_member_up"
ANSWER_S = 1.0
"""Seconds a process may take to show its metrics."""
_AT_ONCE = 8


class AllMetrics(Collector):
    """Collects the metrics of every process, and says of each sample whose it is.

    Args:
        targets: Returns member -> host:port of its /metrics, as they are now.
    """

    def __init__(self, targets: Callable[[], Mapping[str, str]]) -> None:
        self._targets = targets
        self._one_at_a_time = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is shows when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family once, with the samples of all processes."""
        with self._one_at_a_time:
            targets = dict(self._targets())
            with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="metrics") as pool:
                texts = dict(zip(targets, pool.map(_read, targets.values()), strict=True))
        up = GaugeMetricFamily(MEMBER_UP, "1 while its metrics are shown.", labels=["member"])
        for member, text in texts.items():
            up.add_metric([member], text is not None)
        yield up
        yield from merged({member: text for member, text in texts.items() if text is not None})


def merged(texts: Mapping[str, str]) -> list[Metric]:
    """Return the families of several processes as one, every sample with the label `member`.

    Args:
        texts: Member -> what its /metrics said. When a counter was made is left out: Prometheus
            takes it for another metric.
    """
    families: dict[str, Metric] = {}
    for member, text in texts.items():
        for family in text_string_to_metric_families(text):
            if family.name.endswith("_created"):
                continue
            kept = families.setdefault(
                family.name, Metric(family.name, family.documentation, family.type)
            )
            for sample in family.samples:
                kept.add_sample(sample.name, {**sample.labels, "member": member}, sample.value)
    return list(families.values())


def _read(endpoint: str) -> str | None:
    """Return what a process shows; None when it does not answer in time."""
    connection = http.client.HTTPConnection(endpoint, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        return reply.read().decode() if reply.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
