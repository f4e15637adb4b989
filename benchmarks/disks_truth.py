"""Is what a constellation says of itself true, and its run folder whole? For `disks.py`."""

import json
import urllib.request
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from cluster.state_file import RunState, running
from constellation.client import ConstellationStatus
from constellation.errors import ConstellationError
from constellation.wire.table_file import load_table

FILES = (
    "constellation.json",
    "table.msgpack",
    "members.json",
    "placement.json",
)


def is_alive(pid: int) -> bool:
    """Return whether a process runs or was stopped, and is no zombie."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def false_claims(status: ConstellationStatus) -> list[str]:
    """Return who is said to be up and has no process; nothing while the registry is silent."""
    if not status.registry_pid:
        return []
    claims = [(each.name, each.pid) for each in (*status.kernels, *status.routers) if each.up]
    return [f"{name} is said to be process {pid}" for name, pid in claims if not is_alive(pid)]


def registry_metrics(endpoint: str) -> dict[str, dict[str, float]]:
    """Return what the registry's metrics say: name -> kernel -> value; empty when it is away.

    Args:
        endpoint: host:port at which the launcher serves all metrics.
    """
    try:
        with urllib.request.urlopen(f"http://{endpoint}/targets/processes", timeout=2) as reply:
            groups = json.load(reply)
        (target,) = [g["targets"][0] for g in groups if g["labels"]["member"] == "registry"]
        with urllib.request.urlopen(f"http://{target}/metrics", timeout=2) as reply:
            text = reply.read().decode()
    except (OSError, ValueError):
        return {}
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "kernel" in sample.labels:
                found.setdefault(sample.name, {})[sample.labels["kernel"]] = sample.value
    return found


def contradictions(status: ConstellationStatus, metrics: dict[str, dict[str, float]]) -> list[str]:
    """Return where the registry's metrics say something else than a router's status."""
    if not metrics:
        return ["the registry shows no metrics"]
    up, restarts = (
        metrics["constellation_kernel_up"],
        metrics["constellation_kernel_restarts_total"],
    )
    return [
        f"{kernel.name}: status says up {kernel.up}, {kernel.num_restarts} restarts; metrics say "
        f"{up.get(kernel.name)}, {restarts.get(kernel.name)}"
        for kernel in status.kernels
        if (up.get(kernel.name), restarts.get(kernel.name)) != (kernel.up, kernel.num_restarts)
    ]


def missing_from(run_dir: Path, state: RunState, status: ConstellationStatus) -> list[str]:
    """Return what a run folder lacks of what it is to hold."""
    found = [f"{name} is missing" for name in FILES if not (run_dir / name).exists()]
    if found:
        return found
    try:
        if running(run_dir) != state:
            found.append("the state file is another's")
        if load_table(run_dir / "table.msgpack").version != status.table_version:
            found.append("the table is not the one that is served")
    except ConstellationError as error:
        found.append(str(error))
    remembered = json.loads((run_dir / "members.json").read_text(encoding="utf-8"))
    members = {
        each["announcement"]["member"]: each["announcement"]["pid"]
        for each in remembered["members"]
        if each["up"]
    }
    if sorted(members.values()) != sorted(pids_of(status)):
        found.append(f"members.json has {members}, served are {sorted(pids_of(status))}")
    return found + [f"{path.name} is left" for path in run_dir.rglob(".*.part")]


def pids_of(status: ConstellationStatus) -> set[int]:
    """Return the processes of kernels and routers."""
    return {each.pid for each in (*status.kernels, *status.routers)}
