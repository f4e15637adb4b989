"""The manifests are valid, keep to the rules of security, and agree with the files for `ray up`.

No Kubernetes is reached. Pods, services and the like are checked against the schemas of Kubernetes
(kubernetes-validate). The RayCluster is checked against the schema of KubeRay when the variable
KUBERAY_SCHEMAS names the folder with its custom resource definitions:

    KUBERAY_SCHEMAS=DIR .venv/bin/python -m pytest tests/launching/test_kubernetes.py
"""

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cluster.bootstrap import _environment
from constellation.settings import Settings, child_environment
from tests.launching.test_ray_files import WORKER_PORTS, options, start_of
from tools.dockerfile_steps import steps

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "kubernetes"
SCHEMAS = child_environment({}).get("KUBERAY_SCHEMAS")
VERSION = "1.37.0"
CUSTOM = ("RayCluster", "Kustomization")


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted(FOLDER.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def kind_of(document: dict[str, Any]) -> str:
    return str(document["kind"])


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [each for each in documents() if each["kind"] == kind]


(CLUSTER,) = of_kind("RayCluster")
GROUPS = {
    "head": CLUSTER["spec"]["headGroupSpec"],
    **{group["groupName"]: group for group in CLUSTER["spec"]["workerGroupSpecs"]},
}
each_group = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def container(group: dict[str, Any]) -> dict[str, Any]:
    (only,) = group["template"]["spec"]["containers"]
    return dict(only)


def as_pod(group: dict[str, Any]) -> dict[str, Any]:
    """Return the pod that KubeRay makes of a group, as far as the manifest says."""
    template = group["template"]
    metadata = template["metadata"] | {"name": "pod"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


@pytest.mark.parametrize(
    "document",
    [each for each in documents() if each["kind"] not in CUSTOM],
    ids=lambda d: d["kind"],
)
def test_what_kubernetes_itself_knows_follows_its_schemas(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, VERSION, strict=True)


@each_group
def test_every_pod_follows_the_schema_of_pods_and_a_mistake_is_found(group: dict[str, Any]) -> None:
    kubernetes_validate.validate(as_pod(group), VERSION, strict=True)
    wrong = copy.deepcopy(as_pod(group))
    wrong["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSION, strict=True)


def strict(schema: Any) -> Any:
    """Return a schema that refuses unknown keys, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: strict(value) for key, value in schema.items()}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and not is_open:
        found.setdefault("additionalProperties", False)
    return found


@pytest.mark.skipif(SCHEMAS is None, reason="KUBERAY_SCHEMAS names no folder")
def test_the_cluster_follows_the_schema_of_kuberay_and_a_mistake_is_found() -> None:
    definition = yaml.load(
        (Path(str(SCHEMAS)) / "ray.io_rayclusters.yaml").read_text(), yaml.CSafeLoader
    )
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.validate(CLUSTER, schema)
    wrong = copy.deepcopy(CLUSTER)
    wrong["spec"]["workerGroupSpecs"][0]["replica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        jsonschema.validate(wrong, schema)


def test_the_kustomization_lists_every_manifest_and_names_the_images() -> None:
    (kustomization,) = of_kind("Kustomization")
    others = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others
    images = {container(group)["image"].partition(":")[0] for group in GROUPS.values()}
    assert images == {each["name"] for each in kustomization["images"]}


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="there is no kubectl here")
def test_kubectl_builds_the_kustomization_with_the_images_of_the_user() -> None:
    built = subprocess.run(
        ["kubectl", "kustomize", FOLDER], capture_output=True, text=True, timeout=60, check=True
    )
    assert len(list(yaml.safe_load_all(built.stdout))) == len(list(documents())) - 1
    images = re.findall(r"image: (\S+)", built.stdout)
    assert len(images) == len(GROUPS)
    assert all(image.startswith("registry.example/constellation:") for image in images)


@each_group
def test_no_container_has_rights_and_every_one_has_limits_and_probes(group: dict[str, Any]) -> None:
    pod, only = group["template"]["spec"], container(group)
    final = steps((ROOT / "cluster" / "containers" / "cpu.Dockerfile").read_text())
    (user,) = [step.value for step in final if step.word == "USER"]
    security = pod["securityContext"]
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == user
    assert security["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(only)
    assert "memory" in only["resources"]["limits"]


@each_group
def test_secrets_are_read_only_files_and_rays_token_is_asked_for(group: dict[str, Any]) -> None:
    pod, only = group["template"]["spec"], container(group)
    (secrets,) = [each for each in pod["volumes"] if "secret" in each]
    (mount,) = [each for each in only["volumeMounts"] if each["name"] == secrets["name"]]
    assert mount["readOnly"]
    assert secrets["secret"]["defaultMode"] == 0o440
    (token,) = [each for each in only["env"] if each["name"] == "RAY_AUTH_TOKEN"]
    assert token["valueFrom"]["secretKeyRef"]["name"] == secrets["secret"]["secretName"]
    (variables,) = of_kind("ConfigMap")
    assert only["envFrom"] == [{"configMapRef": {"name": variables["metadata"]["name"]}}]
    assert variables["data"]["RAY_AUTH_MODE"] == "token"


def test_the_variables_are_those_of_other_ways_to_start() -> None:
    (variables,) = of_kind("ConfigMap")
    alone, data = _environment("t"), variables["data"]
    shared = {name for name in data if name in alone}
    assert len(shared) == 6
    assert {name: data[name] for name in shared} == {name: alone[name] for name in shared}
    checks = options(start_of("onprem.yaml", "head"))["system-config"]
    assert yaml.safe_load(checks) == {
        name.removeprefix("RAY_"): int(value)
        for name, value in data.items()
        if name.startswith("RAY_health_check")
    }


@each_group
def test_rays_ports_are_those_of_the_files_for_ray_up(group: dict[str, Any]) -> None:
    given = options(start_of("onprem.yaml", "worker"))
    ports = {key: value for key, value in given.items() if key.endswith("port")}
    assert {key: v for key, v in group["rayStartParams"].items() if key.endswith("port")} == ports
    assert int(ports["max-worker-port"]) == WORKER_PORTS[-1]


def test_the_head_is_ready_when_a_kernel_answers_and_shows_its_dashboard_to_nobody() -> None:
    head = GROUPS["head"]
    assert head["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    assert head["headService"]["spec"]["publishNotReadyAddresses"]
    only = container(head)
    for probe in ("startupProbe", "readinessProbe"):
        assert only[probe]["httpGet"]["path"] == "/health"
    ports = {each["name"]: each["containerPort"] for each in only["ports"]}
    port = Settings.model_fields["serve"].default.port
    assert (ports["grpc"], ports["http"]) == (port, port + 1)
    (service,) = of_kind("Service")
    assert {each["name"]: each["port"] for each in service["spec"]["ports"]} == {
        name: ports[name] for name in ("grpc", "http")
    }


@each_group
def test_the_commands_of_the_containers_are_in_the_images(group: dict[str, Any]) -> None:
    (command,) = container(group)["command"]
    for image in ("cpu", "gpu"):
        text = (ROOT / "cluster" / "containers" / f"{image}.Dockerfile").read_text()
        assert f"/usr/local/bin/{command}\n" in text


def test_clients_reach_the_router_alone() -> None:
    inside, clients = of_kind("NetworkPolicy")
    (peer,) = inside["spec"]["ingress"][0]["from"]
    assert peer["podSelector"] == inside["spec"]["podSelector"]
    (service,) = of_kind("Service")
    assert clients["spec"]["podSelector"]["matchLabels"] == service["spec"]["selector"]
    opened = {each["port"] for each in clients["spec"]["ingress"][0]["ports"]}
    assert opened == {each["port"] for each in service["spec"]["ports"]}


def test_the_head_waits_for_the_machines_that_the_manifest_asks_for() -> None:
    (waits,) = [
        int(each["value"])
        for each in container(GROUPS["head"])["env"]
        if each["name"] == "MACHINES"
    ]
    assert waits == 1 + sum(group.get("replicas", 0) for group in GROUPS.values())


def test_workers_with_gpus_ask_for_one_and_have_an_image_of_their_own() -> None:
    for name in ("head", "cpu", "gpu"):
        only = container(GROUPS[name])
        has_gpu = "nvidia.com/gpu" in only["resources"]["limits"]
        assert has_gpu == (name == "gpu") == only["image"].endswith(":gpu")


def test_the_secret_of_the_how_to_holds_every_file_that_a_variable_names() -> None:
    (variables,) = of_kind("ConfigMap")
    named = {
        value.removeprefix("/secrets/")
        for value in variables["data"].values()
        if value.startswith("/secrets/")
    } | {"ray_token"}
    page = (ROOT / "docs" / "machines.md").read_text()
    assert set(re.findall(r"--from-file=secrets/([\w.]+)", page)) == named
