"""A Ray cluster of several nodes on loopback: one raylet for each node, all on this machine.

A module of tests that needs several nodes asks for the fixture `raylets` of
tests/machines/conftest.py, which is one cluster for the whole module: a head and one more node. The
tests are marked `ray`.

    def test_something(raylets: Raylets, artifacts: Path, tmp_path: Path) -> None:
        third = raylets.add()                       # a node joins: third.address, third.id
        with deployed(raylets.address, artifacts, tmp_path / "run") as state:   # up --address
            with Client(state.endpoint) as stars:
                stars.ask("import os")
            raylets.kill(third)                     # power cut: raylet and workers get SIGKILL

`deployed` (tests/machines/deployments.py) is `constellation up --address`, and `constellation down`
at the end of the block. A test that needs nodes of its own makes them: `with Raylets() as cluster`.

Every node has an address of its own in 127.0.0.0/8 (the head 127.0.0.1, others 127.0.0.2 and on),
so that a process that announces the address of another node is found. What loopback cannot show:
a link that is cut without a reset (`freeze` comes near: every process of a node stops answering),
separate disks, and traffic between machines. Hosts in namespaces show these.
"""

import logging
import signal
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

import psutil
import ray
import ray._private.utils
import ray.cluster_utils

from cluster.private_folder import private_folder, ray_part

NODES_MAX = 8
"""Nodes of one cluster: each costs about 300 MB and ten seconds of start on two cores."""
_CPUS = 4
"""CPUs that a node claims to have: Ray starts this many workers at once, whatever they claim."""
_STORE_BYTES = 80 * 1024 * 1024
_JOIN_S = 60.0
"""Seconds that a new node may take until the head lists it."""
HEALTH_CHECKS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 5,
}
"""The head calls a node dead after about five seconds without an answer."""
_PORTS_OF_AGENT = (
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "metrics_agent_port",
    "runtime_env_agent_port",
)
"""Fixed before the start: a raylet aborts when it must wait for the agent to choose ports."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class RayNode:
    """One node of a cluster on loopback."""

    address: str
    """IP address, of 127.0.0.0/8; `ray.util.get_node_ip_address()` of its processes."""
    id: str
    """Ray's id of the node."""
    _handle: Any

    def processes(self) -> list[psutil.Process]:
        """Return the raylet with its agents and workers, and the head's servers; parents first."""
        found = []
        for infos in self._handle.all_processes.values():
            for info in infos:
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(info.process.pid)
                    found += [process, *process.children(recursive=True)]
        return found


class Raylets:
    """A running cluster of raylets on loopback.

    Attributes:
        nodes: Nodes that run, the head's first.
    """

    def __init__(self, num_nodes: int = 2, *, system: Mapping[str, int] = HEALTH_CHECKS) -> None:
        """Describe a cluster; entering the context starts the nodes one after the other.

        Args:
            num_nodes: Nodes at the start, the head included, 1 to `NODES_MAX`.
            system: Ray's internal settings.
        """
        self._num_nodes = num_nodes
        self._system = dict(system)
        self._cluster = ray.cluster_utils.Cluster()
        self._open = ExitStack()
        self._folder = Path()
        self._num_started = 0
        self.nodes: list[RayNode] = []

    def __enter__(self) -> Self:
        self._folder = self._open.enter_context(private_folder())
        self._open.callback(self._end)
        try:
            for _ in range(self._num_nodes):
                self.add()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    @property
    def address(self) -> str:
        """host:port to join the cluster, for `constellation up --address`."""
        return str(self._cluster.gcs_address)

    @property
    def head(self) -> RayNode:
        """The node with Ray's control store."""
        return self.nodes[0]

    def add(self, **options: Any) -> RayNode:
        """Start one more node and return it when the head lists it.

        Args:
            **options: Parameters of Ray for the node, such as `num_gpus` or `resources`.
        """
        if len(self.nodes) >= NODES_MAX:
            raise RuntimeError(f"a cluster on loopback has at most {NODES_MAX} nodes")
        address = f"127.0.0.{self._num_started + 1}"
        self._num_started += 1  # no address is used again: peers may remember it
        settings = {**self._settings(address), **options}
        with _left_alone():
            handle = self._cluster.add_node(wait=False, **settings)
            self._cluster._wait_for_node(handle, timeout=_JOIN_S)
        node = RayNode(address=address, id=handle.node_id, _handle=handle)
        self.nodes.append(node)
        return node

    def _settings(self, address: str) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "node_ip_address": address,
            "num_cpus": _CPUS,
            "object_store_memory": _STORE_BYTES,
            "temp_dir": str(ray_part(self._folder)),
            "include_log_monitor": False,
            **dict(zip(_PORTS_OF_AGENT, free_ports(len(_PORTS_OF_AGENT)), strict=True)),
        }
        if not self.nodes:
            (port,) = free_ports(1)
            head = {"include_dashboard": False, "dashboard_port": port}
            settings |= {**head, "no_monitor": True, "_system_config": self._system}
        return settings

    def kill(self, node: RayNode) -> None:
        """End a node as a power cut does: no process of the node can say goodbye.

        Sockets of its processes are reset by the system, unlike those of a machine without power.
        """
        processes = node.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs([each for each in processes if each.is_running()], timeout=10)
        self._forget(node)

    def stop(self, node: RayNode) -> None:
        """End a node in order: the raylet reports to the head that the node leaves."""
        self.thaw(node)
        with _left_alone():
            self._cluster.remove_node(node._handle, allow_graceful=True)
        self.nodes.remove(node)

    def freeze(self, node: RayNode) -> None:
        """Stop every process of a node where it is; connections stay open and nothing answers."""
        _signal(node.processes(), signal.SIGSTOP)

    def thaw(self, node: RayNode) -> None:
        """Let the processes of a frozen node go on."""
        _signal(node.processes(), signal.SIGCONT)

    def _forget(self, node: RayNode) -> None:
        with _left_alone():
            self._cluster.remove_node(node._handle, allow_graceful=False)
        self.nodes.remove(node)

    def _end(self) -> None:
        for node in reversed(self.nodes.copy()):  # the head last
            self.thaw(node)
            self.kill(node)
        ray._private.services.find_gcs_addresses.cache_clear()


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nothing uses, all different."""
    with ExitStack() as held:
        servers = [held.enter_context(socket.create_server(("", 0))) for _ in range(count)]
        return [server.getsockname()[1] for server in servers]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


@contextmanager
def _left_alone() -> Iterator[None]:
    """Keep Ray from naming this cluster to other programs, and from changing our signal handlers.

    Ray would write the address into /tmp/ray, by which any other `ray.init()` would join.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with mock.patch.object(ray._private.utils, "write_ray_address"):
            yield
    finally:
        logger.setLevel(level)
        for number, handler in handlers.items():
            signal.signal(number, handler)
