"""DRAFT until the branch of the state is merged."""

import time
from typing import Any

from constellation.wire.constellation_service import RouterState


def status_document(state: RouterState) -> dict[str, Any]:
    """Return the document."""
    kernels = []
    for site in state.table.sites:
        health = state.health.get(site.name)
        kernels.append(
            {
                "name": site.name,
                "seat": site.seat,
                "up": site.endpoint is not None,
                "pid": health.pid if health else 0,
                "node": "",
                "num_restarts": health.num_restarts if health else 0,
                "num_routed": state.num_routed.get(site.name, 0),
                "queue_depth": health.queue_depth if health else 0,
                "num_running": health.num_running if health else 0,
                "phi_gauge": site.phi_gauge,
                "phase": None,
                "arrived": site.arrived,
                "num_held_out": site.num_held_out,
                "family": None,
                "vocabulary": "",
            }
        )
    nothing = {"p50": None, "p95": None, "p99": None}
    return {
        "version": "0.1.0",
        "time": time.time(),
        "router": {
            "name": "router-0",
            "pid": state.pid,
            "uptime_s": state.uptime_s,
            "num_unexpected_errors": state.num_unexpected_errors,
            "rule": state.rule,
            "load_entropy_ratio": state.load_entropy_ratio,
            "table_version": state.table.version,
        },
        "routers": [
            {"name": r.name, "endpoint": r.endpoint, "up": r.up, "pid": r.pid, "num_restarts": 0}
            for r in state.routers
        ],
        "registry": {"up": state.registry_pid != 0, "pid": state.registry_pid},
        "problem": state.start_problem,
        "release": {"number": 0, "since": None},
        "releases": [],
        "traffic": {
            "window_s": 60,
            "requests_per_s": 0,
            "tokens_per_s": 0,
            "failed_per_s": 0,
            "refused_per_s": 0,
            "latency_s": nothing,
            "first_token_s": nothing,
            "seconds": [{"requests": 0, "tokens": 0}] * 60,
        },
        "kernels": kernels,
        "recent": [],
        "nodes": [],
        "training": None,
    }
