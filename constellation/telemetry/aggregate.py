"""Collect the Prometheus metrics of all processes of a machine behind one HTTP endpoint.

Every scrape reads /metrics of every process. This file does not interpret the metrics.
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
"""Most seconds for reading the metrics of one process."""
_AT_ONCE = 8


class AllMetrics(Collector):
    """Collects the metrics of every process, each sample with the label `member` of its process.

    Args:
        targets: Function that returns process name -> host:port of its /metrics.
    """

    def __init__(self, targets: Callable[[], Mapping[str, str]]) -> None:
        self._targets = targets
        self._one_at_a_time = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the families are known only after collecting."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every metric family once, with the samples of all processes."""
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
    """Merge the metric families of several processes; every sample gets the label `member`.

    Args:
        texts: Process name -> text of its /metrics. Samples "_created" (the time a counter was
            made) are omitted, because Prometheus reads them as separate metrics.
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
    """Return the metrics text of a process; None when the process does not answer in time."""
    connection = http.client.HTTPConnection(endpoint, timeout=ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        return reply.read().decode() if reply.status == http.client.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
