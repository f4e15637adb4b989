"""The Prometheus that other tests query: it scrapes, evaluates rules, and says what it refuses."""

from pathlib import Path

import pytest
import yaml
from prometheus_client import CollectorRegistry, Gauge

from constellation.telemetry.process_metrics import serve_metrics
from tests.watching.prometheus_server import PrometheusServer, check_metrics, needs_prometheus

pytestmark = [pytest.mark.slow, needs_prometheus]

RULES = {
    "groups": [
        {
            "name": "test",
            "interval": "1s",
            "rules": [
                {"record": "test:double", "expr": "2 * test_value"},
                {"alert": "TooHigh", "expr": "test_value > 20"},
            ],
        }
    ]
}


def test_values_are_scraped_recorded_and_alerted_on(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    gauge = Gauge("test_value", "A value.", registry=registry)
    gauge.set(3)
    endpoint, close = serve_metrics(registry, "127.0.0.1")
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(RULES))
    job = {
        "job_name": "test",
        "scrape_interval": "1h",
        "static_configs": [{"targets": [endpoint]}],
    }
    with PrometheusServer(tmp_path / "p", {"scrape_configs": [job]}, rules=[rules]) as prometheus:
        prometheus.wait_until(lambda: prometheus.query("test:double == 6"))
        assert [target["health"] for target in prometheus.targets()] == ["up"]
        assert set(prometheus.rules()) == {"test:double", "TooHigh"}
        assert prometheus.alerts() == []
        assert prometheus.query("nothing_of_that_name") == []
        assert prometheus.query("42")[0].value == 42
        gauge.set(30)
        prometheus.wait_until(prometheus.alerts)
        (series,) = prometheus.query_range("test_value")
        assert {value for _, value in series.values} == {3, 30}
        with pytest.raises(AssertionError, match="parse error"):
            prometheus.query("sum(")
    close()


def test_promtool_finds_a_name_without_its_base_unit() -> None:
    text = "# HELP a_milliseconds Time.\n# TYPE a_milliseconds gauge\na_milliseconds 1\n"
    assert "base unit" in check_metrics(text)
    assert check_metrics(text.replace("milliseconds", "seconds")) == ""
