"""Machines on which `benchmarks.machines` runs a constellation, and how one of them is lost."""

from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from cluster import launcher_process
from cluster.state_file import RunState
from constellation import Client
from constellation.client import ConstellationStatus, RetryPolicy
from constellation.settings import Settings
from tests.machines.host_deployment import HostDeployment
from tests.machines.hosts import Host, Hosts
from tests.machines.ray_on_hosts import start_ray
from tests.machines.raylets import Raylets, RayNode


class Stage(Protocol):
    """A running constellation on several machines, one of which can be lost."""

    def client(self, retries: RetryPolicy | None) -> Client:
        """Return a client that calls from outside."""

    def choose(self, status: ConstellationStatus) -> None:
        """Choose the machine to be lost: one with kernels and without the router."""

    @property
    def victim_id(self) -> str:
        """Ray's id of the chosen machine."""

    def power_cut(self) -> None:
        """Cut the power of the chosen machine."""

    def partition(self) -> None:
        """Cut off the chosen machine, which runs on."""

    def heal(self) -> None:
        """End the partition."""


class LoopbackStage:
    """Machines are raylets of this machine, one for each."""

    def __init__(self, settings: Settings, *, num_machines: int) -> None:
        self._settings = settings
        self._raylets = Raylets(num_machines)
        self._victim: RayNode | None = None
        self._open = ExitStack()
        self._state: RunState | None = None

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            opening.enter_context(self._raylets)
            self._state = launcher_process.start(self._settings, address=self._raylets.address)
            opening.callback(launcher_process.stop, self._settings.run_dir)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def client(self, retries: RetryPolicy | None) -> Client:
        """Return a client of all routers."""
        assert self._state is not None
        return Client(self._state.endpoints, retries=retries)

    def choose(self, status: ConstellationStatus) -> None:
        """Choose the node, other than the head, on which most kernels run."""
        counts = Counter(kernel.node for kernel in status.kernels)
        self._victim = max(self._raylets.nodes[1:], key=lambda node: counts[node.id])
        if not counts[self._victim.id]:
            raise RuntimeError(f"no kernel runs beside the head's node: {dict(counts)}")

    @property
    def victim_id(self) -> str:
        """Ray's id of the chosen node."""
        return self.victim.id

    @property
    def victim(self) -> RayNode:
        """The chosen node."""
        assert self._victim is not None
        return self._victim

    def power_cut(self) -> None:
        """Kill every process of the node."""
        self._raylets.kill(self.victim)

    def partition(self) -> None:
        """Stop every process of the node where it is."""
        self._raylets.freeze(self.victim)

    def heal(self) -> None:
        """Let the processes go on."""
        self._raylets.thaw(self.victim)


class HostsStage:
    """Machines are hosts in namespaces; callers outside of them call the first host by TLS."""

    def __init__(self, artifacts: Path, folder: Path, *, num_machines: int) -> None:
        """Describe the machines.

        Args:
            artifacts: Folder with a release; every host gets a copy.
            folder: An empty folder for certificates.
            num_machines: Hosts, 2 or more.
        """
        self._artifacts = artifacts
        self._folder = folder
        self._hosts = Hosts(num_machines)
        self._open = ExitStack()
        self._deployment: HostDeployment | None = None
        self._victim: Host | None = None
        self.victim_id = ""

    def __enter__(self) -> Self:
        with ExitStack() as opening:
            hosts = opening.enter_context(self._hosts)
            start_ray(hosts)
            deployment = HostDeployment(hosts, self._artifacts, self._folder)
            self._deployment = opening.enter_context(deployment)
            self._open = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def client(self, retries: RetryPolicy | None) -> Client:
        """Return a client with the token and the authority's certificate."""
        assert self._deployment is not None
        return self._deployment.client(retries=retries)

    def choose(self, status: ConstellationStatus) -> None:
        """Choose the host, other than the first, on which most kernels run."""
        nodes = {address_of(kernel.endpoint): kernel.node for kernel in status.kernels}
        counts = Counter(address_of(kernel.endpoint) for kernel in status.kernels)
        self._victim = max(list(self._hosts)[1:], key=lambda host: counts[host.address])
        if not counts[self._victim.address]:
            raise RuntimeError(f"no kernel runs beside the first host: {dict(counts)}")
        self.victim_id = nodes[self._victim.address]

    @property
    def victim(self) -> Host:
        """The chosen host."""
        assert self._victim is not None
        return self._victim

    def power_cut(self) -> None:
        """Cut the host's link, then end its processes."""
        self._hosts.power_cut(self.victim)

    def partition(self) -> None:
        """Lose every packet from and to the host."""
        self._hosts.partition(self.victim)

    def heal(self) -> None:
        """Let packets pass again."""
        self._hosts.heal(self.victim)


def address_of(endpoint: str | None) -> str:
    """Return the address of host:port."""
    return str(endpoint).rpartition(":")[0]
