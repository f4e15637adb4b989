"""The description of a deployment: plain values that every actor gets when it starts."""

import ssl
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from actors.folders import NodeFolder, RunFolder
from constellation.records import Node, Rule
from constellation.secret_files import read_secret
from constellation.telemetry.tracing import TracingOptions
from constellation.wire.channel import Bind, authority
from constellation.wire.tls import ClientTls, NodeTls, ServerTls

ROUTER = "router"
"""Actor name of the first router."""


def router_member(number: int) -> str:
    """Return the actor name of a router, counted from 1."""
    return ROUTER if number == 1 else f"{ROUTER}-{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterOptions:
    """Options of a router; meanings and ranges as in `ServeSettings`.

    Plain values: actors do not import the settings, whose parser would cost each of them 13 MB.
    """

    rule: Rule = Rule.BEARING
    top_k: int = 2
    phi_weighting: bool = True
    requests_max: int = 1024
    timeout_s: float = 120.0
    spill_depth: int | None = None
    handoff_margin: float = 0.15
    handoff_tokens: int = 16
    client_requests_max: int | None = None
    client_rate: float | None = None
    collective_rate: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelOptions:
    """Options of a process of kernels; meanings and ranges as in `KernelSettings`."""

    slots: int = 4
    queue_max: int = 64
    stall_s: float = 20.0
    stuck_s: float = 30.0
    num_threads: int = 1
    prefill_tokens: int = 128
    prefix_mib: int = 16
    device: Literal["auto", "cpu", "cuda"] = "cpu"
    """`auto` only until the launcher has looked for GPUs."""
    per_gpu: int = 1
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    per_actor: int = 1
    replicas: int = 1
    compile: bool = False

    @property
    def num_gpus(self) -> float:
        """GPUs that one process claims of Ray; 0 for a process that must not see any."""
        return 1 / self.per_gpu if self.device == "cuda" else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterDoors:
    """Where one router listens for clients: fixed, so that a restarted router returns there."""

    member: str
    """Actor name."""
    listen: tuple[str, int]
    """Address and port for gRPC."""
    http_listen: tuple[str, int] | None = None
    """Address and port for HTTP; None means that the router serves gRPC only."""
    advertise: str = ""
    """Host by which clients reach the router; empty means the address of `listen`."""
    node: str = ""
    """Ray's id of the node on which the router runs; empty lets Ray choose the node."""

    @property
    def endpoint(self) -> str:
        """host:port for clients."""
        return authority(self.advertise or self.listen[0], self.listen[1])

    @property
    def http_endpoint(self) -> str | None:
        """host:port for clients over HTTP; None when the router serves gRPC only."""
        if self.http_listen is None:
            return None
        return authority(self.advertise or self.http_listen[0], self.http_listen[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentSpec:
    """One constellation on one Ray cluster."""

    id: str = ""
    """Random id of this deployment. Files and announcements that carry another id are of an earlier
    deployment and count as absent."""
    namespace: str
    """Ray namespace of its actors."""
    artifacts: Path
    """Folder that training wrote; the kernels are those of its current release."""
    run_dir: Path
    """Folder of the constellation: state, table, placement, logs."""
    routers: tuple[RouterDoors, ...]
    """All routers, one or more; clients that know only one endpoint use the first."""
    router: RouterOptions
    kernel: KernelOptions
    http_connections_max: int = 512
    """HTTP connections that one router holds open."""
    token: str | None = None
    """Secret of every call, by clients and between processes; None asks for no secret."""
    token_file: Path | None = None
    """File with the token on every machine, from which processes read the token instead of getting
    the token through Ray, whose calls may be unencrypted; None sends the token through Ray."""
    tls: ServerTls | None = None
    """TLS for clients."""
    node_tls: NodeTls | None = None
    """Mutual TLS between processes of the constellation; None means unencrypted calls."""
    network: Literal["loopback", "nodes"] = "loopback"
    """Where processes listen for each other: on loopback, when all run on one machine, or at the
    address of the node of each process."""
    head: str = ""
    """Ray's id of the node of the registry; empty lets Ray choose the node."""
    access_log: bool = False
    """Write a line for every request."""
    log_prompts: bool = False
    """Whether the access log holds the prompts."""
    tracing: TracingOptions | None = None
    """Where spans of requests are sent; None turns tracing off."""
    node_dir: Path | None = None
    """Folder of each machine for logs and weights; None means `run_dir`, as on one machine."""
    storage: str | None = None
    """URI of the store for machines that do not see `artifacts`, such as s3://BUCKET/STORE; None:
    they fetch from other machines."""
    cache_bytes: int = 20 * 2**30
    """Most bytes of blobs that a machine keeps which does not see `artifacts`."""

    @property
    def spans_nodes(self) -> bool:
        """Whether processes may run on several machines, each with a folder of its own."""
        return self.network == "nodes"

    def without_token(self) -> "DeploymentSpec":
        """Return the description as Ray transports it: without a token that lies in a file."""
        return self if self.token_file is None else replace(self, token=None)

    def with_token(self) -> "DeploymentSpec":
        """Return the description with the token; reads the file if there is one.

        Raises:
            ConfigError: The file is missing on this machine, or is empty.
        """
        if self.token_file is None:
            return self
        return replace(self, token=read_secret(self.token_file, "token file"))

    def doors(self, member: str) -> RouterDoors:
        """Return where a router listens."""
        return next(doors for doors in self.routers if doors.member == member)

    def bind(self, listen: tuple[str, int]) -> Bind:
        """Return address, secret and TLS of an endpoint for clients."""
        return Bind(host=listen[0], port=listen[1], token=self.token, tls=self.tls)

    @property
    def http_url(self) -> str | None:
        """Base URL for OpenAI's clients: that of the first router; None without HTTP."""
        endpoint = self.routers[0].http_endpoint
        if endpoint is None:
            return None
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{endpoint}/v1"

    def summary(self) -> dict[str, object]:
        """Return what commands on other machines must know of the deployment, in plain values."""
        return {
            "id": self.id,
            "endpoints": [doors.endpoint for doors in self.routers],
            "http": self.http_url,
            "artifacts": str(self.artifacts),
            "run_dir": str(self.run_dir),
        }

    def internal_bind(self, address: str) -> Bind:
        """Return where a process listens for other processes of the constellation.

        Args:
            address: IP address of the process (`_ray.node_address`).
        """
        tls = None if self.node_tls is None else self.node_tls.server
        return Bind(host=address, port=0, token=self.token, tls=tls)

    def metrics_context(self) -> ssl.SSLContext | None:
        """Return the TLS of the processes' /metrics; None for unencrypted metrics.

        Raises:
            ConfigError: A file cannot be read or has the wrong content.
        """
        return None if self.node_tls is None else self.node_tls.server.context()

    @property
    def client_tls(self) -> ClientTls | None:
        """TLS of calls to other processes of the constellation; None for unencrypted calls."""
        return None if self.node_tls is None else self.node_tls.client

    @property
    def run_folder(self) -> RunFolder:
        """Files of the whole constellation, on the node of the registry."""
        return RunFolder(self.run_dir)

    @property
    def node_folder(self) -> NodeFolder:
        """Files of this machine's processes."""
        return NodeFolder(self.run_dir if self.node_dir is None else self.node_dir.expanduser())

    def access_log_path(self, router: str) -> Path:
        """Return a router's access log: access.jsonl of the first, access-2.jsonl of the second."""
        return self.node_folder.log_path(router.replace(ROUTER, "access", 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """Where an actor listens and what it serves, as the actor says itself."""

    member: str
    """Actor name."""
    endpoint: str
    """host:port of its gRPC server."""
    metrics_endpoint: str
    """host:port of its /metrics."""
    pid: int
    node: str
    """Ray's id of the machine."""
    kernels: tuple[str, ...] = ()
    """Names of the kernels that the process serves; empty for a router."""
    release: int = 0
    """Number of the release of these kernels; 0 for a process that serves none."""
    deployment: str = ""
    """Id of the deployment that started the process."""
    table_version: int = 0
    """Version of the table that a router routes by; 0 for a process of kernels."""
    table_release: int = 0
    """Number of the release of that table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeAnnouncement:
    """What a machine is, and where its actor listens, as the actor says itself."""

    node: Node
    member: str
    """Actor name."""
    endpoint: str
    """host:port at which it delivers blobs to other machines."""
    metrics_endpoint: str
    """host:port of its /metrics."""
    pid: int
    deployment: str = ""
    """Id of the deployment that started the process."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartState:
    """Whether and how processes of members can be started now, as the launcher found."""

    can_start: bool = True
    """Whether processes can be started; False when Ray's folder is gone."""
    forked: bool | None = None
    """Whether processes are forked from the fork server; None when there is none by choice."""
    problem: str = ""
    """What is wrong, and the consequence; empty when nothing is."""
