"""The state of a constellation as plain JSON-ready data, as a page or a script reads it.

No basins and no texts: a table of 240 kernels takes under 100 KB. Times are seconds since the
epoch, figures that are not known are None.
"""

from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from constellation.records import (
    COORDIZER_TOKENS,
    WINDOW_S,
    Durations,
    KernelHealth,
    KernelSite,
    NodeState,
    Overview,
    RecentRoute,
    Traffic,
    TrainingStatus,
)
from constellation.wire.constellation_service import RouterState

PACKAGE = "constellation-runtime"


def status_document(state: RouterState) -> dict[str, Any]:
    """Return what one router knows; the traffic and the routes are that router's own."""
    return {
        "version": _version(),
        "time": state.time_s,
        "router": {
            "name": state.name,
            "pid": state.pid,
            "uptime_s": state.uptime_s,
            "num_unexpected_errors": state.num_unexpected_errors,
            "rule": str(state.rule),
            "load_entropy_ratio": state.load_entropy_ratio,
            "table_version": state.table.version,
        },
        "routers": [asdict(each) for each in state.routers],
        "registry": {"up": state.registry_pid != 0, "pid": state.registry_pid},
        "problem": state.start_problem,
        "traffic": traffic_document(state.traffic),
        "kernels": _kernels(state),
        "recent": [_recent(each) for each in state.recent],
        **overview_document(state.table.release, state.overview),
    }


def overview_document(release: int, overview: Overview) -> dict[str, Any]:
    """Return the release that is served, the latest releases, the nodes and the training."""
    return {
        "release": {"number": release, "since": overview.release_since_s},
        "releases": _releases(overview),
        "nodes": [_node(each) for each in overview.nodes],
        "training": _training(overview.training),
    }


def traffic_document(traffic: Traffic) -> dict[str, Any]:
    """Return traffic as rates and quantiles; the quantiles are None when there was no request."""
    return {
        "window_s": WINDOW_S,
        "requests_per_s": traffic.requests / WINDOW_S,
        "tokens_per_s": traffic.tokens / WINDOW_S,
        "failed_per_s": traffic.failed / WINDOW_S,
        "refused_per_s": traffic.refused / WINDOW_S,
        "latency_s": _quantiles(traffic.latency),
        "first_token_s": _quantiles(traffic.first_token),
        "seconds": [{"requests": each.requests, "tokens": each.tokens} for each in traffic.seconds],
    }


def _quantiles(durations: Durations) -> dict[str, float | None]:
    found = durations.quantiles()
    return {"p50": None, "p95": None, "p99": None} if found is None else asdict(found)


def _releases(overview: Overview) -> list[dict[str, Any]]:
    return [
        {
            "number": each.number,
            "made": each.made_s,
            "change": each.change,
            "parent": each.parent,
        }
        for each in overview.releases
    ]


def _kernels(state: RouterState) -> list[dict[str, Any]]:
    training = state.overview.training
    phases = {} if training is None else {each.kernel: each.phase for each in training.kernels}
    return [_kernel(state, site, phases) for site in state.table.sites]


def _kernel(
    state: RouterState, site: KernelSite, phases: Mapping[str, str | None]
) -> dict[str, Any]:
    health = state.health.get(site.name)
    return {
        "name": site.name,
        "seat": site.seat,
        "up": site.endpoint is not None,
        "pid": 0 if health is None else health.pid,
        "node": "" if health is None else health.node,
        "num_restarts": 0 if health is None else health.num_restarts,
        "num_routed": state.num_routed.get(site.name, 0),
        "queue_depth": 0 if health is None else health.queue_depth,
        "num_running": 0 if health is None else health.num_running,
        "phi_gauge": site.phi_gauge,
        "phase": phases.get(site.name),
        "arrived": site.arrived,
        "num_held_out": site.num_held_out,
        "family": None if site.share is None else site.share.family,
        "vocabulary": COORDIZER_TOKENS if health is None else health.vocabulary,
        **({} if health is None else _processes(health)),
    }


def _processes(health: KernelHealth) -> dict[str, Any]:
    """Return the processes of a kernel that several serve, and why there are too few of them.

    Nothing is returned for a kernel that one process serves, as is usual.
    """
    replicas = [{**asdict(each), "up": each.up} for each in health.replicas]
    return {
        **({"replicas": replicas} if replicas else {}),
        **({"problem": health.problem} if health.problem else {}),
    }


def _recent(route: RecentRoute) -> dict[str, Any]:
    return {
        "number": route.number,
        "at": route.at_s,
        "kernel": route.kernel,
        "distance": route.distance,
        "margin": route.margin,
        "num_tokens": route.num_tokens,
        "reason": route.reason,
        "rule": str(route.rule),
        "mode": str(route.mode),
        "out_of_domain": route.out_of_domain,
    }


def _node(state: NodeState) -> dict[str, Any]:
    return {
        "id": state.node.id,
        "address": state.node.address,
        "processes": state.num_processes,
        "memory_bytes": state.node.memory_bytes,
        "memory_free_bytes": state.memory_free_bytes,
        "load_ratio": state.load_ratio,
        "disk_free_bytes": state.disk_free_bytes,
    }


def _training(training: TrainingStatus | None) -> dict[str, Any] | None:
    if training is None:
        return None
    return {
        "state": training.state,
        "updated": training.updated_s,
        "kernels": [asdict(each) for each in training.kernels],
    }


@cache
def _version() -> str:
    """Return the version of the installed package; empty for a checkout that is not installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return ""
