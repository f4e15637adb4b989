"""The cluster files are valid for `ray up`, keep to the rules of security, and agree.

No cloud and no other machine is reached: Ray itself fills in the defaults and checks the result
against its schema, in a process of its own, because importing Ray changes a process.
"""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from constellation.settings import child_environment

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "cluster" / "ray"
FILES = ("onprem.yaml", "aws.yaml", "gcp.yaml")
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    name: yaml.safe_load((FOLDER / name).read_text()) for name in FILES
}
WORKER_PORTS = range(10_002, 20_000)
CHECK = textwrap.dedent("""
    import json, sys
    from ray.autoscaler._private.util import prepare_config, validate_config
    found = []
    for configuration in json.load(sys.stdin):
        try:
            prepared = prepare_config(configuration)
            validate_config(prepared)
            found.append(prepared)
        except Exception as error:
            found.append(str(error))
    json.dump(found, sys.stdout)
""")

each_file = pytest.mark.parametrize("name", FILES)


def checked(*configurations: dict[str, Any]) -> list[Any]:
    """Return what Ray makes of each configuration, or the message of its error."""
    run = subprocess.run(
        [sys.executable, "-c", CHECK],
        input=json.dumps(configurations),
        env=child_environment({"RAY_USAGE_STATS_ENABLED": "0"}),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return json.loads(run.stdout)  # type: ignore[no-any-return]


def options(command: str) -> dict[str, str]:
    """Return the options of the `ray start` of a command, without the leading dashes."""
    words = shlex.split(command)
    given = [word.removeprefix("--").partition("=") for word in words if word.startswith("--")]
    return {name: value for name, _, value in given}


def start_of(name: str, kind: str) -> str:
    """Return the command that starts Ray on the head or on a worker."""
    (command,) = [
        each for each in CONFIGURATIONS[name][f"{kind}_start_ray_commands"] if "ray start" in each
    ]
    return str(command)


@pytest.mark.slow
def test_ray_accepts_the_files_and_would_find_a_mistake() -> None:
    wrong = CONFIGURATIONS["aws.yaml"] | {"min_worker": 2}
    *prepared, refused = checked(*CONFIGURATIONS.values(), wrong)
    assert "min_worker" in refused
    bounds = {
        name: {
            kind: (each["min_workers"], each["max_workers"])
            for kind, each in configuration["available_node_types"].items()
        }
        for name, configuration in zip(FILES, prepared, strict=True)
    }
    cloud = {"head": (0, 0), "cpu_worker": (2, 8), "gpu_worker": (0, 4)}
    own = {"local.cluster.node": (2, 2)}  # all that are listed
    assert bounds == {"onprem.yaml": own, "aws.yaml": cloud, "gcp.yaml": cloud}


@each_file
@pytest.mark.parametrize("kind", ["head", "worker"])
def test_every_machine_starts_ray_with_a_token_and_ports_that_a_firewall_can_name(
    name: str, kind: str
) -> None:
    command = start_of(name, kind)
    assert "RAY_AUTH_MODE=token ray start" in command
    given = options(command)
    lowest, highest = int(given.pop("min-worker-port")), int(given.pop("max-worker-port"))
    assert (lowest, highest) == (WORKER_PORTS[0], WORKER_PORTS[-1])
    fixed = [int(value) for key, value in given.items() if key.endswith("port")]
    assert len(set(fixed)) == len(fixed)
    assert [port for port in fixed if port in WORKER_PORTS] == []
    needed = {
        "node-manager-port",
        "object-manager-port",
        "runtime-env-agent-port",
        "dashboard-agent-listen-port",
        "dashboard-agent-grpc-port",
        "metrics-export-port",
    }
    assert needed <= set(given)


@each_file
def test_the_head_shows_its_dashboard_on_loopback_and_notices_a_lost_machine_in_two_seconds(
    name: str,
) -> None:
    given = options(start_of(name, "head"))
    assert given["dashboard-host"] == "127.0.0.1"
    assert json.loads(given["system-config"]) == {
        "health_check_initial_delay_ms": 0,
        "health_check_period_ms": 500,
        "health_check_timeout_ms": 1000,
        "health_check_failure_threshold": 3,
    }


@each_file
def test_the_head_starts_the_constellation_after_ray(name: str) -> None:
    commands = CONFIGURATIONS[name]["head_start_ray_commands"]
    assert commands[0].startswith("ray stop")
    assert commands[-1].endswith("/start_constellation.sh")
    assert "ray start" in commands[-2]


@each_file
def test_code_artifacts_and_secrets_are_copied_into_a_folder_that_nobody_else_may_enter(
    name: str,
) -> None:
    configuration = CONFIGURATIONS[name]
    assert configuration["file_mounts"] == {
        "~/.constellation/secrets": "secrets",
        "~/.constellation/artifacts": "artifacts/starter",
        "~/.constellation/code": ".",
    }
    assert "chmod 700 ~/.constellation" in configuration["initialization_commands"][0]
    assert {"/secrets", "/artifacts", "/.venv", ".git", "authority.key"} <= set(
        configuration["rsync_exclude"]
    )


@each_file
def test_every_script_that_a_file_names_is_there(name: str) -> None:
    named = set(re.findall(r"code/(cluster/ray/\w+\.sh)", (FOLDER / name).read_text()))
    assert named
    assert [script for script in named if not (ROOT / script).is_file()] == []


def test_a_worker_is_revived_with_the_options_with_which_ray_up_starts_the_worker() -> None:
    script = (FOLDER / "keep_worker.sh").read_text().replace("\\\n", " ")
    (command,) = [line for line in script.splitlines() if "ray start" in line]
    given = options(start_of("onprem.yaml", "worker"))
    assert options(command) | {"address": ""} == given | {"address": ""}
    unit = (FOLDER / "constellation-worker.service").read_text()
    assert "ExecStart=/bin/bash %h/.constellation/code/cluster/ray/keep_worker.sh" in unit
    assert CONFIGURATIONS["onprem.yaml"]["worker_start_ray_commands"][0].endswith(
        "> ~/.constellation/head"
    )


@pytest.mark.parametrize("script", sorted(FOLDER.glob("*.sh")), ids=lambda path: path.name)
def test_every_script_is_valid(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, timeout=30)


@each_file
def test_everything_to_set_stands_in_the_first_part(name: str) -> None:
    first, _, rest = (FOLDER / name).read_text().partition("# ---- the rest may stay")
    assert re.search(r"SET-ME|192\.0\.2\.", first)
    assert re.search(r"SET-ME|192\.0\.2\.", rest) is None
    assert len(first.splitlines()) <= 75


def test_the_three_files_differ_only_in_machines_and_in_the_library_of_the_cloud() -> None:
    own = CONFIGURATIONS["onprem.yaml"]
    about_machines = {
        "provider", "auth", "metadata", "max_workers", "head_node_type", "available_node_types",
        "idle_timeout_minutes", "head_setup_commands", "setup_commands",
    }  # fmt: skip
    (set_up,) = own["setup_commands"]
    for name in FILES[1:]:
        other = CONFIGURATIONS[name]
        # Addresses of rented machines are unknown when certificates are made.
        assert [f"{each} --ray-tls" for each in other["setup_commands"]] == [set_up]
        assert {key for key in own | other if own.get(key) != other.get(key)} <= about_machines
        (library,) = other["head_setup_commands"]
        assert re.fullmatch(r"pip install --quiet [\w-]+==[\d.]+", library)
