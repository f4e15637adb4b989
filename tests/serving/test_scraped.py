"""A real Prometheus finds every process of a running constellation, and all metrics with data."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node_collector import node_name
from cluster.state_file import RunState
from constellation import Client
from tests.support.artifacts import PROMPTS
from tests.support.scrapes import endpoints, scrape
from tests.watching.prometheus_server import PrometheusServer, check_metrics, needs_prometheus

pytestmark = [pytest.mark.ray, needs_prometheus]

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
WITH_A_CAUSE = {
    "constellation_spans_total",
    "constellation_kernel_phi_ratio",
    "constellation_write_failures_total",
    "constellation_read_failures_total",
    "constellation_background_failures_total",
}
"""Metrics without data where nothing is traced, phi_gauge was not measured, and all is well."""
OF_OTHER_MACHINES = re.compile("^constellation_blob_|_gpu_")
"""Metrics that need several machines or a GPU."""
SUFFIXES = {"histogram": "_bucket", "summary": "_count"}
STATUS = {
    "updated": "2026-01-02T03:04:05+00:00",
    "part": "",
    "kernels": {
        "mail": {
            "kernel": "mail",
            "state": "FINISHED",
            "step": 80,
            "num_steps": 80,
            "bits_per_byte": 1.5,
            "dev_bits_per_byte": 1.75,
            "tokens_per_second": 2400.0,
            "guard": "HEALTHY",
        }
    },
}


def documented() -> set[str]:
    """Return the names of all series that the document names."""
    rows = re.findall(r"^\| `(constellation_\w+)[^|]*\| (\w+) \|", DOCUMENT.read_text(), re.M)
    return {name + SUFFIXES.get(kind, "") for name, kind in rows}


def job(name: str, url: str) -> dict[str, object]:
    return {"job_name": name, "honor_labels": True, "http_sd_configs": [{"url": url}]}


@pytest.fixture
def trained(artifacts: Path) -> Iterator[None]:
    """Have a training leave its status in the artifacts folder."""
    status = artifacts / "status.json"
    before = status.read_bytes() if status.exists() else None
    status.write_text(json.dumps(STATUS), encoding="utf-8")
    yield
    status.unlink() if before is None else status.write_bytes(before)


@pytest.fixture
def prometheus(constellation: RunState, tmp_path: Path) -> Iterator[PrometheusServer]:
    url = f"http://{constellation.metrics}/targets"
    jobs = [job("node", url), job("processes", f"{url}/processes")]
    with PrometheusServer(tmp_path / "prometheus", {"scrape_configs": jobs}) as server:
        yield server


def ask_everything(constellation: RunState) -> None:
    for endpoint in constellation.endpoints:
        with Client(endpoint) as stars:
            for prompt in PROMPTS.values():
                stars.ask(prompt, tokens_max=4)
                list(stars.stream(prompt, tokens_max=4))
            stars.score("nothing of note")


@pytest.mark.usefixtures("trained")
def test_every_documented_metric_has_data_after_some_load(
    constellation: RunState, prometheus: PrometheusServer
) -> None:
    ask_everything(constellation)
    wanted = {name for name in documented() - WITH_A_CAUSE if not OF_OTHER_MACHINES.search(name)}
    assert len(wanted) > 40

    def missing() -> set[str]:
        found = prometheus.query('count by (__name__) ({__name__=~"constellation_.+",job="node"})')
        return wanted - {series.labels["__name__"] for series in found}

    prometheus.wait_until(lambda: not missing() or None, timeout_s=30)
    routed = prometheus.query('sum by (kernel) (constellation_route_total{job="node"})')
    assert {series.labels["kernel"] for series in routed} == set(constellation.kernels)
    assert all(series.value > 0 for series in routed)
    (lag,) = prometheus.query('max(constellation_table_lag{job="node"})')
    assert lag.value == 0
    (since,) = prometheus.query('time() - constellation_release_since_seconds{job="node"}')
    assert 0 < since.value < 3600
    assert prometheus.query('{__name__=~".*_created"}') == []


def test_prometheus_finds_the_node_and_every_process_and_all_are_up(
    constellation: RunState, prometheus: PrometheusServer
) -> None:
    members = {"registry", "router", "router-2"}
    members |= {f"kernel-{kernel}" for kernel in constellation.kernels}
    prometheus.wait_until(lambda: len(prometheus.query("up == 1")) == len(members) + 1)
    targets = prometheus.targets()
    assert {target["labels"].get("member") for target in targets} == {*members, None}
    (node,) = (target for target in targets if target["labels"]["job"] == "node")
    assert node["labels"]["node"] == node_name()
    shown = prometheus.query('constellation_member_up{job="node"} == 1')
    assert {series.labels["member"] for series in shown} == {*members, "launcher"}
    assert all(series.labels["node"] == node_name() for series in shown)


def test_a_listener_to_events_of_the_status_is_counted_while_it_listens(
    constellation: RunState,
) -> None:
    router = endpoints(str(constellation.metrics))["router"]
    host = str(constellation.http).removesuffix("/v1")
    with urllib.request.urlopen(f"{host}/status/events", timeout=20) as events:
        assert events.readline()
        assert "constellation_event_streams 1.0" in scrape(router)


def test_promtool_has_nothing_to_say_about_any_process(constellation: RunState) -> None:
    assert constellation.metrics is not None
    ask_everything(constellation)
    served = {"all": constellation.metrics, **endpoints(constellation.metrics)}
    said = {name: check_metrics(scrape(endpoint)) for name, endpoint in served.items()}
    assert said == dict.fromkeys(served, "")
