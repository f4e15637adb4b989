"""Alerts and recording rules mean what they say, and every alert says what to do."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.metrics_server import metrics_port_of
from cluster.prometheus_configuration import DEFAULT_METRICS, FILES, shipped
from constellation.settings import Settings
from tests.watching.prometheus_server import needs_prometheus

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks.md"
RULES = [
    rule
    for name in FILES[1:]
    for group in yaml.safe_load(shipped(name))["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
TESTS = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]


def promtool(*arguments: object) -> str:
    """Run promtool; return what it says. Fails with that where promtool refuses."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_prometheus
def test_prometheus_accepts_the_configuration_and_all_rules() -> None:
    said = promtool("check", "config", FOLDER / FILES[0])
    assert f"{len(RULES)}" in str(sum(map(int, re.findall(r"(\d+) rules found", said))))
    assert promtool("check", "rules", *(FOLDER / name for name in FILES[1:]))


@needs_prometheus
@pytest.mark.slow
def test_every_alert_fires_for_its_cause_and_stays_silent_for_what_is_normal() -> None:
    assert "SUCCESS" in promtool("test", "rules", FOLDER / "rules_test.yml")


def test_the_tests_of_the_rules_make_every_alert_fire() -> None:
    expected = " ".join(
        sample["labels"]
        for case in TESTS
        for each in case["promql_expr_test"]
        for sample in each["exp_samples"]
    )
    fired = set(re.findall(r'alertname="(\w+)"', expected))
    assert fired == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_says_what_is_wrong_and_leads_to_its_runbook(
    rule: dict[str, dict[str, str]],
) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning"}
    said = rule["annotations"]
    assert set(said) == {"summary", "description", "runbook_url"}
    assert len(said["summary"]) < 100
    assert len(said["description"].split()) >= 25
    assert said["runbook_url"] == f"docs/runbooks.md#{str(rule['alert']).lower()}"


def test_every_alert_has_its_section_in_the_runbooks_and_every_section_its_alert() -> None:
    sections = re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)
    assert sections == [rule["alert"] for rule in ALERTS]
    bodies = re.split(r"^## \w+$", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]
    for rule, body in zip(ALERTS, bodies, strict=True):
        assert f"*{rule['labels']['severity']}" in body
        assert "**Confirm.**" in body
        assert "**Do.**" in body


def test_the_runbooks_name_commands_that_exist() -> None:
    documented = (ROOT / "docs" / "commands.md").read_text()
    words = {each.strip() for each in re.findall(r"^\| `([a-z -]+)", documented, re.MULTILINE)}
    known = words | {word.split()[0] for word in words}
    text = " ".join(RUNBOOKS.read_text().split())
    used = re.findall(r"[`\s]constellation ([a-z]+)", re.sub(r"[^`]*`([^`]*)`", r" `\1 ", text))
    assert len(used) > 20
    assert set(used) <= known | {"and"}


def test_the_rules_use_only_metrics_that_are_documented() -> None:
    documented = set(
        re.findall(r"^\| `(\w+)", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE)
    )
    text = " ".join(rule["expr"] for rule in RULES)
    used = set(re.findall(r"\bconstellation_\w+", text))
    plain = {re.sub(r"_(bucket|count|sum)$", "", name) for name in used}
    assert plain - documented == set()
    assert set(re.findall(r"\bconstellation:[\w:]+", text)) <= RECORDED


def test_every_recorded_quantity_is_used() -> None:
    text = " ".join(rule["expr"] for rule in RULES)
    assert [name for name in RECORDED if name not in text] == []


def test_the_shipped_configuration_expects_the_default_port_of_metrics_once() -> None:
    assert f"127.0.0.1:{metrics_port_of(Settings())}" == DEFAULT_METRICS
    assert shipped(FILES[0]).count(DEFAULT_METRICS) == 1


def test_a_restart_of_some_seconds_fires_no_alert_about_processes() -> None:
    waits = {rule["alert"]: rule.get("for") for rule in ALERTS}
    about_processes = [name for name in waits if name.endswith(("Down", "Scraped", "Impossible"))]
    assert len(about_processes) == 6
    assert {waits[name] for name in about_processes} <= {"1m", "2m"}
