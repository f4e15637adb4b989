"""The machines of the Ray cluster that this process has joined."""

from dataclasses import dataclass
from typing import Any

import ray

from constellation.errors import DeploymentError

_HEAD = "node:__internal_head__"
"""Resource that only the head node of a Ray cluster has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AliveNode:
    """A machine of the Ray cluster, as Ray lists it."""

    address: str
    """IP address."""
    memory_bytes: int
    """Main memory that Ray offers to actors; 0 when Ray offers none."""
    num_gpus: float


def nodes() -> list[dict[str, Any]]:
    """Return what Ray says of the machines that live. Waits for Ray."""
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in listed if node["Alive"]]


def addresses() -> list[str]:
    """Return the IP addresses of the machines that live."""
    return [str(node["NodeManagerAddress"]) for node in nodes()]


def head() -> tuple[str, str]:
    """Return Ray's id and the IP address of the cluster's head.

    Raises:
        DeploymentError: The cluster has no head that lives.
    """
    for node in nodes():
        if _HEAD in node["Resources"]:
            return str(node["NodeID"]), str(node["NodeManagerAddress"])
    raise DeploymentError("the Ray cluster has no head; start it with: ray start --head")


def alive_nodes() -> dict[str, AliveNode]:
    """Return the machines of the Ray cluster that live, by Ray's id. Waits for Ray."""
    return {
        str(node["NodeID"]): AliveNode(
            address=str(node["NodeManagerAddress"]),
            memory_bytes=int(node["Resources"].get("memory", 0)),
            num_gpus=float(node["Resources"].get("GPU", 0.0)),
        )
        for node in nodes()
    }
