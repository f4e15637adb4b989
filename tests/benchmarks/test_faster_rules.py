"""Faster rules are the shipped rules: nothing but durations is different."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from benchmarks.alert_causes import CAUSES
from benchmarks.faster_rules import faster, write_faster_rules
from cluster.prometheus_configuration import FILES, shipped
from tests.watching.prometheus_server import needs_prometheus


def test_windows_offsets_waits_and_intervals_are_divided_and_nothing_else() -> None:
    text = "interval: 30s\n expr: rate(x_total[1h]) > 5m offset 10m\n for: 1m\n text: after 5m\n"
    assert faster(text, 20) == (
        "interval: 1500ms\n expr: rate(x_total[180000ms]) > 5m offset 30000ms\n for: 3000ms\n"
        " text: after 5m\n"
    )


@pytest.mark.parametrize("name", FILES[1:])
def test_the_shipped_rules_differ_in_durations_only(name: str) -> None:
    def without_durations(text: str) -> str:
        return re.sub(r"(\[|offset |for: |interval: )\d+(ms|[smhd])", r"\1", text)

    made = faster(shipped(name), 20)
    assert without_durations(made) == without_durations(shipped(name))
    assert made.count("ms]") == len(re.findall(r"\[\d+[smhd]\]", shipped(name)))


@needs_prometheus
def test_prometheus_accepts_the_faster_rules(tmp_path: Path) -> None:
    paths = map(str, write_faster_rules(tmp_path, 20))
    subprocess.run(["promtool", "check", "rules", *paths], check=True, capture_output=True)


def test_every_alert_has_a_cause_in_the_benchmark_and_only_one() -> None:
    groups = yaml.safe_load(shipped("alerts.yml"))["groups"]
    alerts = sorted(
        rule["alert"]
        for group in groups
        if group["name"] != "constellation_machines"  # needs several: tests/machines
        for rule in group["rules"]
    )
    assert sorted(alert for cause in CAUSES for alert in cause.alerts) == alerts
