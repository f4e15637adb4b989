"""Read the metrics of a running constellation as Prometheus does."""

import json
import urllib.request


def endpoints(metrics: str) -> dict[str, str]:
    """Return process -> host:port of the process's own metrics.

    Args:
        metrics: host:port of the launcher's metrics, `RunState.metrics`.
    """
    groups = json.loads(_get(f"{metrics}/targets/processes"))
    return {group["labels"]["member"]: group["targets"][0] for group in groups}


def scrape(endpoint: str) -> str:
    """Return the text of the metrics that are served at host:port."""
    return _get(f"{endpoint}/metrics")


def _get(address: str) -> str:
    with urllib.request.urlopen(f"http://{address}", timeout=10) as reply:
        return str(reply.read().decode())
