"""Deployments on a Ray cluster: find one by its name, refuse a second one, end one.

These functions are called by processes that have joined Ray; commands call `deployment_process`.
"""

from typing import Any

from actors import _ray
from actors.actor_calls import RegistryCalls
from cluster.deployment_spec import namespace_of
from constellation.errors import DeploymentError

ANSWER_S = 10.0
"""Seconds that a registry may take to describe its deployment."""
GRACE_S = 5.0
"""Seconds that running requests may take to finish when a deployment is ended."""
GONE_S = 30.0
"""Seconds until Ray must have forgotten the actors of a deployment that was ended."""


def make_room(name: str, address: str, *, replace: bool) -> None:
    """Make sure that no actor of a deployment with this name exists.

    Args:
        name: Of the deployment.
        address: host:port of the Ray cluster, for the error.
        replace: Whether to end a deployment that exists.

    Raises:
        DeploymentError: A deployment of this name exists, also one of which only some actors are
            left, or it could not be ended.
    """
    found = _ray.actors_of(namespace_of(name))
    if found and not replace:
        raise DeploymentError(
            f"a deployment named {name!r} exists on the Ray cluster at {address}, with the actors "
            f"{', '.join(found)}; end it with: constellation down --address {address} --name "
            f"{name}, replace it with: constellation up --replace, or choose another --name"
        )
    if found:
        end(name)


def end(name: str) -> None:
    """Drain and end a deployment, and wait until Ray has forgotten its actors.

    Raises:
        DeploymentError: There is no deployment of this name, or actors are left.
    """
    namespace = namespace_of(name)
    if not _ray.actors_of(namespace):
        raise DeploymentError(_missing(name))
    _ray.tear_down(namespace, grace_s=GRACE_S)
    left = _ray.wait_gone(namespace, timeout_s=GONE_S)
    if left:
        raise DeploymentError(
            f"Ray still lists {', '.join(left)} of the deployment {name!r} after {GONE_S:.0f} s; "
            "try again"
        )


def describe(name: str) -> dict[str, Any]:
    """Return the state of a deployment's registry, as `RegistryCalls.state` gives it.

    Raises:
        DeploymentError: There is no deployment of this name, or its registry does not answer.
    """
    registry = _ray.find(RegistryCalls, _ray.REGISTRY, namespace_of(name))
    if registry is None:
        raise DeploymentError(_missing(name))
    state: dict[str, Any] = _ray.wait_for(
        registry.state(), timeout_s=ANSWER_S, what=f"the registry of the deployment {name!r}"
    )
    return state


def _missing(name: str) -> str:
    return (
        f"no deployment named {name!r} runs on the Ray cluster; name another with --name, or start "
        "it with: constellation up --address"
    )
