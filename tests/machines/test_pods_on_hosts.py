"""The commands of the Kubernetes containers start a constellation; hosts play the pods.

Hosts get the variables of cluster/kubernetes/environment.yaml, the files of the Secret, and the
commands that KubeRay would write for the groups of cluster/kubernetes/raycluster.yaml.
"""

import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.certificates import make_certificates
from constellation import Client
from tests.machines.hosts import ROOT, Host, Hosts

pytestmark = pytest.mark.cluster

MANIFESTS = ROOT / "cluster" / "kubernetes"
CONTAINERS = ROOT / "cluster" / "containers"
LOG, STATUS, PID = "/run/pod.log", "/run/pod.status", "/run/pod.pid"
STARTED = f"""
for _ in $(seq 240); do
  grep -q 'kernels answer' {LOG} && break
  [ -e {STATUS} ] && break
  sleep 1
done
cat {LOG}
"""
ENDED = f"for _ in $(seq 60); do [ -e {STATUS} ] && break; sleep 1; done; cat {STATUS}"


def manifest(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((MANIFESTS / name).read_text()))


def ray_command(group: Mapping[str, Any], role: str) -> str:
    """Return the command that KubeRay writes for a group, as far as the manifest decides."""
    given = " ".join(f"--{name}={value}" for name, value in group["rayStartParams"].items())
    return f"ray start {role} --block {given} --num-cpus=4 --object-store-memory=100000000"


def start(hosts: Hosts, host: Host, script: str, ray: str) -> None:
    """Run the command of a container in the background; write its exit status when it ends."""
    given = manifest("environment.yaml")["data"] | {
        "RAY_AUTH_TOKEN_PATH": "/secrets/ray_token",
        "CONSTELLATION_ARTIFACTS": "/artifacts",
        "CONSTELLATION_RUN_DIR": "/run/constellation",
        "KUBERAY_GEN_RAY_START_CMD": ray,
        "MACHINES": "3",
    }
    variables = " ".join(f"{name}={shlex.quote(value)}" for name, value in given.items())
    line = f"bash {CONTAINERS / script} > {LOG} 2>&1 & echo $! > {PID}; wait $!; echo $? > {STATUS}"
    hosts.run(
        host, f"{variables} setsid bash -c {shlex.quote(line)} > /dev/null 2>&1 < /dev/null &"
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, hosts: Hosts) -> Path:
    folder = tmp_path_factory.mktemp("made")
    make_certificates(folder, [hosts[0].address])
    for name in ("token", "ray_token"):
        (folder / name).write_text(secrets.token_hex(32))
    return folder


@pytest.fixture(scope="module")
def pods(hosts: Hosts, artifacts: Path, made: Path) -> Hosts:
    cluster = manifest("raycluster.yaml")["spec"]
    for host in hosts:
        for name in ("token", "ray_token", "authority.crt", "node.crt", "node.key"):
            hosts.write(host, f"/secrets/{name}", (made / name).read_bytes())
    head, *workers = hosts
    hosts.copy(head, artifacts, "/artifacts")
    start(hosts, head, "head.sh", ray_command(cluster["headGroupSpec"], "--head"))
    joins = f"--address={head.address}:6379"
    for worker in workers:
        start(hosts, worker, "worker.sh", ray_command(cluster["workerGroupSpecs"][0], joins))
    assert "kernels answer" in hosts.run(head, STARTED, timeout_s=300)
    return hosts


def test_the_constellation_answers_clients_of_the_service(pods: Hosts, made: Path) -> None:
    token = (made / "token").read_text()
    with Client(f"{pods[0].address}:50051", token=token, ca=made / "authority.crt") as stars:
        assert stars.ask("import os", tokens_max=4).text


def test_the_probe_of_the_head_passes(pods: Hosts) -> None:
    probe = f"python -m cluster.health_check https://{pods[0].address}:50052/health"
    pods.run(pods[0], probe)


def test_a_head_that_kubernetes_ends_stops_the_constellation_and_ends_well(pods: Hosts) -> None:
    pods.run(pods[0], f"kill -TERM $(cat {PID})")
    assert pods.run(pods[0], ENDED, timeout_s=90).strip() == "0"
    assert "stopped" in pods.run(pods[0], f"cat {LOG}")
