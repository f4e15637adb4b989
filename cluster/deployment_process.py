"""Ask a Ray cluster for a deployment, in a process of its own.

Ray is joined once per process, with the environment of that cluster, so a command leaves this to a
child: `python -m cluster.deployment_process < request.json`, which writes one JSON object.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.subprocesses import keep_others_from_writing, module_command
from constellation.errors import ConstellationError, DeploymentError

LIMIT_S = 120.0
"""Seconds that the process may take, of which joining Ray takes the most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """The name of a deployment, and the Ray cluster on which it runs."""

    address: str
    """host:port of the cluster."""
    name: str
    """Name of the deployment."""
    token_file: Path | None = None
    """File with the cluster's token; None leaves Ray's own environment variables in force."""


def end_deployment(named: Named) -> None:
    """Drain and end a deployment.

    Raises:
        DeploymentError: The cluster was not joined, or there is no such deployment.
    """
    _ask("end", named)


def describe_deployment(named: Named) -> dict[str, Any]:
    """Return the state of the registry of a deployment, as `RegistryCalls.state` gives it.

    Raises:
        DeploymentError: The cluster was not joined, or there is no such deployment.
    """
    return _ask("describe", named)


def _ask(action: Literal["end", "describe"], named: Named) -> dict[str, Any]:
    token_file, address = named.token_file, named.address
    request = {
        "action": action,
        "address": address,
        "name": named.name,
        "token_file": None if token_file is None else str(token_file),
    }
    try:
        done = subprocess.run(
            module_command("cluster.deployment_process"),
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise DeploymentError(
            f"the Ray cluster at {address} did not answer within {LIMIT_S:.0f} s"
        ) from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise DeploymentError(said[-1] if said else f"the Ray cluster at {address} was not asked")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _act(request: dict[str, Any]) -> dict[str, Any]:
    from cluster.bootstrap import joined_ray

    token_file = None if request["token_file"] is None else Path(request["token_file"])
    with joined_ray(request["address"], token_file):
        from cluster import deployments

        if request["action"] == "end":
            deployments.end(request["name"])
            return {}
        return deployments.describe(request["name"])


def main() -> None:
    """Read a request from standard input, act, and write the answer to standard output."""
    keep_others_from_writing()
    try:
        answer = _act(json.loads(sys.stdin.read()))
    except ConstellationError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        raise SystemExit(1) from error
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
