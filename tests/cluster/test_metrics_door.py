"""Metrics have one port that stays, and the sample for Prometheus knows it."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from cluster.metrics_server import MetricsDoor, metrics_port_of
from constellation.errors import ConfigError, DeploymentError
from constellation.settings import Settings

SAMPLE = Path(__file__).parents[2] / "docs" / "prometheus.yml"


def settings(**serve: object) -> Settings:
    return Settings(serve=serve)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("serve", "port"),
    [
        ({}, 50_251),
        ({"port": 7000}, 7200),
        ({"port": 7000, "routers": 64}, 7200),
        ({"port": 0}, 0),
        ({"port": 65_400}, 0),
        ({"port": 7000, "metrics_port": 9000}, 9000),
        ({"port": 7000, "metrics_port": 0}, 0),
        ({"port": 0, "metrics_port": 9000}, 9000),
    ],
)
def test_the_port_is_the_one_that_was_set_or_follows_from_the_routers(
    serve: dict[str, object], port: int
) -> None:
    assert metrics_port_of(settings(**serve)) == port


@pytest.mark.parametrize("port", [7000, 7001, 7002, 7003])
def test_a_routers_port_is_refused(port: int) -> None:
    with pytest.raises(ConfigError, match=f"serve.metrics_port is {port}"):
        metrics_port_of(settings(port=7000, routers=2, metrics_port=port))


def test_a_port_that_is_taken_is_named_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(DeploymentError, match=rf"127\.0\.0\.1:{port}: .*serve\.metrics_port"),
            MetricsDoor().open(settings(metrics_port=port)),
        ):
            pass


def test_the_sample_scrapes_the_default_port_and_names_the_files_there_are() -> None:
    text = SAMPLE.read_text()
    (job,) = yaml.safe_load(text)["scrape_configs"]
    port = metrics_port_of(Settings())
    assert job["static_configs"] == [{"targets": [f"127.0.0.1:{port}"]}]
    assert re.findall(r'files: \["([^"]+)"\]', text) == [
        str(Settings().run_dir / "metrics_targets.json")
    ]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")
def test_prometheus_takes_the_sample() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", str(SAMPLE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
