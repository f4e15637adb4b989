"""The state of a constellation as JSON: exactly the agreed keys, no basin and no text."""

import json
from dataclasses import replace

from constellation.client import replies
from constellation.records import (
    KernelHealth,
    KernelTraining,
    Mode,
    Node,
    NodeState,
    Overview,
    RecentRoute,
    ReleaseSummary,
    ReplicaHealth,
    RouterStatus,
    Rule,
    TrainingStatus,
)
from constellation.runtime.traffic_window import TrafficWindow
from constellation.wire.constellation_service import RouterState, status_message
from constellation.wire.status_document import status_document
from tests.wire.fakes import FakeRouter

ROUTE = RecentRoute(
    number=3,
    at_s=99.5,
    kernel="python",
    distance=0.5,
    margin=0.25,
    num_tokens=9,
    reason="nearest",
    rule=Rule.BEARING,
    mode=Mode.NEAREST,
    out_of_domain=False,
)
KERNEL = KernelTraining(kernel="python", state="RUNNING", step=2, num_steps=8, phase="CRYSTAL")


def full() -> RouterState:
    """Return a state in which every part says something."""
    window = TrafficWindow()
    for second in range(60):
        window.answered(0.25, now_s=second)
        window.wrote(2, now_s=second)
    window.failed(now_s=59)
    window.refused(now_s=59)
    window.began(0.125, now_s=59)
    node = NodeState(
        node=Node(id="n1", address="10.0.0.1", memory_bytes=64),
        num_processes=5,
        memory_free_bytes=32,
        load_ratio=0.75,
        disk_free_bytes=16,
    )
    overview = Overview(
        release_since_s=50.0,
        releases=(ReleaseSummary(number=2, made_s=40.0, change="add sql", parent=1),),
        nodes=(node,),
        training=TrainingStatus(state="RUNNING", updated_s=98.0, kernels=(KERNEL,)),
    )
    state = FakeRouter().state()
    return replace(
        state,
        table=replace(state.table, release=2),
        name="router-2",
        time_s=100.0,
        health={
            "python": KernelHealth(
                name="python",
                up=True,
                pid=11,
                num_restarts=2,
                queue_depth=3,
                num_running=4,
                node="n1",
            )
        },
        routers=(
            RouterStatus(name="router", endpoint="127.0.0.1:1", up=False, pid=0, num_restarts=1),
        ),
        traffic=window.traffic(now_s=60.0),
        recent=(ROUTE,),
        overview=overview,
    )


def test_every_part_of_the_state_has_its_agreed_keys_and_values() -> None:
    found = status_document(full())
    kernels, traffic = found.pop("kernels"), found.pop("traffic")
    assert found.pop("version")
    assert found == {
        "time": 100.0,
        "router": {
            "name": "router-2",
            "pid": 12,
            "uptime_s": 1.5,
            "num_unexpected_errors": 0,
            "rule": "bearing",
            "load_entropy_ratio": 0.75,
            "table_version": 5,
        },
        "routers": [
            {
                "name": "router",
                "endpoint": "127.0.0.1:1",
                "up": False,
                "pid": 0,
                "num_restarts": 1,
            }
        ],
        "registry": {"up": True, "pid": 13},
        "problem": "none can be forked",
        "release": {"number": 2, "since": 50.0},
        "releases": [{"number": 2, "made": 40.0, "change": "add sql", "parent": 1}],
        "recent": [
            {
                "number": 3,
                "at": 99.5,
                "kernel": "python",
                "distance": 0.5,
                "margin": 0.25,
                "num_tokens": 9,
                "reason": "nearest",
                "rule": "bearing",
                "mode": "nearest",
                "out_of_domain": False,
            }
        ],
        "nodes": [
            {
                "id": "n1",
                "address": "10.0.0.1",
                "processes": 5,
                "memory_bytes": 64,
                "memory_free_bytes": 32,
                "load_ratio": 0.75,
                "disk_free_bytes": 16,
            }
        ],
        "training": {
            "state": "RUNNING",
            "updated": 98.0,
            "kernels": [
                {
                    "kernel": "python",
                    "state": "RUNNING",
                    "step": 2,
                    "num_steps": 8,
                    "bits_per_byte": None,
                    "dev_bits_per_byte": None,
                    "tokens_per_second": None,
                    "eta_s": None,
                    "phase": "CRYSTAL",
                    "guard": None,
                }
            ],
        },
    }
    assert [each["name"] for each in kernels] == ["python", "poetry", "law"]
    assert kernels[0] == {
        "name": "python",
        "seat": 0,
        "up": True,
        "pid": 11,
        "node": "n1",
        "num_restarts": 2,
        "num_routed": 6,
        "queue_depth": 3,
        "num_running": 4,
        "phi_gauge": 0.0,
        "phase": "CRYSTAL",
        "arrived": 0.75,
        "num_held_out": 40,
        "family": None,
        "vocabulary": "coordizer",
    }
    assert (kernels[2]["up"], kernels[2]["pid"], kernels[2]["phase"]) == (False, 0, None)
    assert traffic["window_s"] == len(traffic["seconds"]) == 60
    rates = [traffic[f"{name}_per_s"] for name in ("requests", "tokens", "failed", "refused")]
    assert rates == [62 / 60, 2.0, 1 / 60, 1 / 60]
    assert set(traffic["latency_s"]) == set(traffic["first_token_s"]) == {"p50", "p95", "p99"}
    assert traffic["seconds"][-1] == {"requests": 3, "tokens": 2}


def test_the_processes_of_a_kernel_are_listed_and_reach_a_client() -> None:
    state = full()
    replicas = (
        ReplicaHealth(member="kernel-python", endpoint="127.0.0.1:1", pid=11, num_restarts=0),
        ReplicaHealth(member="kernel-python~2", endpoint=None, pid=0, num_restarts=2, node="n2"),
    )
    health = replace(state.health["python"], replicas=replicas, problem="no node has room")
    state = replace(state, health={"python": health})
    found = status_document(state)["kernels"][0]
    assert [each["member"] for each in found["replicas"]] == ["kernel-python", "kernel-python~2"]
    assert [each["up"] for each in found["replicas"]] == [True, False]
    assert found["problem"] == "no node has room"
    read = replies.status(status_message(state)).kernels[0]
    assert (read.replicas, read.problem) == (replicas, "no node has room")


def test_it_is_json_that_every_parser_reads() -> None:
    for state in (full(), FakeRouter().state()):
        json.loads(json.dumps(status_document(state), allow_nan=False))


def test_a_router_that_knows_nothing_yet_says_so_by_none_and_zero() -> None:
    found = status_document(FakeRouter().state())
    assert found["release"] == {"number": 0, "since": None}
    assert found["releases"] == found["recent"] == found["nodes"] == []
    assert found["training"] is None
    assert found["traffic"]["latency_s"] == {"p50": None, "p95": None, "p99": None}


def test_neither_basins_nor_texts_are_in_it() -> None:
    text = json.dumps(status_document(full()))
    assert "basin" not in text
    assert "text" not in text
