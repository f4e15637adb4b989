"""A real Prometheus judges the shipped rules over a real constellation whose kernel is killed.

`benchmarks/alerts_fired.py` does this with every alert; here are the two that matter most.
"""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import yaml

from benchmarks.alert_causes import killed_while_starting
from benchmarks.alert_stage import Stage
from benchmarks.alerts_fired import firing
from benchmarks.disks_disturbances import Disks
from benchmarks.faster_rules import write_faster_rules
from cluster import launcher_process
from cluster.prometheus_configuration import configuration_text
from constellation.settings import Settings
from tests.support.artifacts import build_artifacts
from tests.watching.prometheus_server import PrometheusServer, needs_prometheus

pytestmark = [pytest.mark.ray, pytest.mark.slow, needs_prometheus]

FACTOR = 20
"""All durations of the rules are divided by this."""
DOWN = {"ConstellationKernelDown", "ConstellationProcessDown"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Return a running constellation."""
    folder = tmp_path_factory.mktemp("alerts")
    settings = Settings(
        artifacts=build_artifacts(folder / "artifacts", steps=0),
        run_dir=folder / "run",
        serve={"port": 0, "http": False},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        state = launcher_process.start(settings)
        yield Stage(state, Disks(folder, has_disks=False), folder / "flag", folder)
        launcher_process.stop(settings.run_dir)


@pytest.fixture(scope="module")
def prometheus(
    stage: Stage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrometheusServer]:
    """Return a Prometheus with the shipped configuration and the faster rules."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load(configuration_text(str(stage.state.metrics)))
    rules = write_faster_rules(folder, FACTOR)
    with PrometheusServer(folder / "own", configuration, rules=rules, interval_s=2) as server:
        server.wait_until(lambda: server.query('up{job="constellation"} == 1'))
        yield server


def test_every_rule_is_judged_and_a_constellation_that_is_well_fires_nothing(
    prometheus: PrometheusServer,
) -> None:
    # The faster rules fire after three seconds without a scrape, as before Prometheus' first.
    scraped = datetime.now(UTC)

    def all_judged() -> bool:
        return all(
            rule["health"] == "ok" and datetime.fromisoformat(rule["lastEvaluation"]) > scraped
            for rule in prometheus.rules().values()
        )

    prometheus.wait_until(all_judged)
    assert firing(prometheus) == set()


def test_a_kernel_that_stays_down_fires_until_the_kernel_is_up_again(
    stage: Stage, prometheus: PrometheusServer
) -> None:
    with killed_while_starting(stage, "mail", "ray::KernelProcess"):
        prometheus.wait_until(lambda: firing(prometheus) >= DOWN)
        (alert,) = [
            each
            for each in prometheus.alerts()
            if each["labels"]["alertname"] == "ConstellationKernelDown"
        ]
    assert alert["labels"]["kernel"] == "mail"
    assert alert["annotations"]["summary"] == "Kernel mail has been down for one minute"
    prometheus.wait_until(lambda: not firing(prometheus) & DOWN)
