"""The compose file is valid, pins its images, stays on loopback, and mounts what is there.

Containers cannot be run where these tests run: the file is read by an implementation of the Compose
specification, and every path and variable is checked.
"""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from cluster.prometheus_configuration import FILES, shipped

FILE = Path(__file__).parents[2] / "cluster" / "compose" / "compose.yaml"
SERVICES: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"]
WATCHING = {name: SERVICES[name] for name in ("prometheus", "grafana")}
PROVISIONING = FILE.parents[1] / "grafana" / "provisioning"


def mounts(service: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return the folders of this repository that a service mounts, and where."""
    parts = [volume.split(":") for volume in service["volumes"]]
    return [(FILE.parent / source, target) for source, target, *_ in parts if source[0] == "."]


def test_the_file_follows_the_compose_specification() -> None:
    assert sorted(PyCompose.from_yaml(FILE.read_text()).service_names()) == sorted(SERVICES)


@pytest.mark.parametrize(("right", "wrong"), [("network_mode", "network"), (":ro", ":rx")])
def test_a_mistake_in_the_file_would_be_found(right: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"line \d+"):
        PyCompose.from_yaml(FILE.read_text().replace(right, wrong))


@pytest.mark.parametrize("service", WATCHING.values(), ids=WATCHING)
def test_images_are_pinned_and_everything_mounted_is_there_and_only_read(
    service: dict[str, Any],
) -> None:
    assert re.fullmatch(r"[a-z]+/[a-z]+:v?\d+\.\d+\.\d+", service["image"])
    found = mounts(service)
    assert found
    assert [source for source, _ in found if not source.is_dir()] == []
    assert all(volume.endswith(":ro") for volume in service["volumes"] if volume[0] == ".")


def test_the_constellation_is_built_here_and_started_on_request_only_without_rights() -> None:
    assert set(SERVICES) - set(WATCHING) == {"constellation"}
    service = SERVICES["constellation"]
    context = FILE.parent / service["build"]["context"]
    assert (context / service["build"]["dockerfile"]).is_file()
    assert service["profiles"] == ["constellation"]
    assert service["cap_drop"] == ["ALL"]
    assert "privileged" not in service
    assert "command" not in service, "the image listens on loopback unless a command says otherwise"


def test_every_service_listens_on_loopback_only() -> None:
    assert "--web.listen-address=127.0.0.1:9090" in SERVICES["prometheus"]["command"]
    assert SERVICES["grafana"]["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert all("ports" not in service for service in SERVICES.values())


def test_prometheus_finds_its_configuration_and_rules_where_they_are_mounted() -> None:
    ((source, target),) = mounts(SERVICES["prometheus"])
    assert f"--config.file={target}/{FILES[0]}" in SERVICES["prometheus"]["command"]
    named = yaml.safe_load(shipped(FILES[0]))["rule_files"]
    assert [name for name in named if not (source / name).is_file()] == []


def test_grafana_finds_data_source_and_dashboards_where_they_are_mounted() -> None:
    environment = SERVICES["grafana"]["environment"]
    provisioned = sorted(PROVISIONING.rglob("*.yml"))
    assert {path.parent.name for path in provisioned} == {"datasources", "dashboards"}
    text = "".join(path.read_text() for path in provisioned)
    assert all(yaml.safe_load(path.read_text())["apiVersion"] == 1 for path in provisioned)
    variables = set(re.findall(r": \$(\w+)$", text, re.MULTILINE))
    assert variables == {"PROMETHEUS_URL", "DASHBOARDS_PATH"}
    assert variables <= set(environment)
    (dashboards,) = [
        source
        for source, target in mounts(SERVICES["grafana"])
        if target == environment["DASHBOARDS_PATH"]
    ]
    assert list(dashboards.glob("*.json"))
