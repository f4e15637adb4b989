"""What a deployment is: plain values that every actor receives when it starts or restarts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actors.folders import NodeFolder, RunFolder
from constellation.records import Rule
from constellation.telemetry.tracing import TracingOptions
from constellation.wire.channel import Bind, authority
from constellation.wire.tls import ServerTls

ROUTER = "router"
"""Actor name of the first router."""


def router_member(number: int) -> str:
    """Return the actor name of a router, counted from 1."""
    return ROUTER if number == 1 else f"{ROUTER}-{number}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterOptions:
    """How a router decides and what it takes on; meanings and ranges as in `ServeSettings`.

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
    """What a kernel takes on; meanings and ranges as in `KernelSettings`."""

    slots: int = 4
    queue_max: int = 64
    stall_s: float = 20.0
    num_threads: int = 1
    prefill_tokens: int = 128
    prefix_mib: int = 16
    weights: Literal["float32", "bfloat16", "int8"] = "float32"
    per_actor: int = 1
    compile: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterDoors:
    """Where one router listens for clients: chosen once, so that it returns there."""

    member: str
    """Actor name."""
    listen: tuple[str, int]
    """Address and port for gRPC."""
    http_listen: tuple[str, int] | None = None
    """Address and port for HTTP; None serves gRPC only."""

    @property
    def endpoint(self) -> str:
        """host:port for clients."""
        return authority(*self.listen)


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentSpec:
    """One constellation on one Ray cluster."""

    namespace: str
    """Ray namespace of its actors."""
    artifacts: Path
    """Folder that training wrote; the kernels are those of its current release."""
    run_dir: Path
    """Folder of the constellation: state, table, placement, metrics targets."""
    routers: tuple[RouterDoors, ...]
    """One or more, the first where clients look when they know of one only."""
    router: RouterOptions
    kernel: KernelOptions
    http_connections_max: int = 512
    """HTTP connections that one router holds open."""
    token: str | None = None
    """Secret of every call, clients' and the routers' own."""
    tls: ServerTls | None = None
    """TLS of both doors; calls between our own processes stay on loopback and are plain."""
    access_log: bool = False
    """Write a line for every request."""
    log_prompts: bool = False
    """With what was asked in it."""
    tracing: TracingOptions | None = None
    """Where spans of requests go; None makes none."""
    node_dir: Path | None = None
    """Folder of each machine for logs and weights; None means `run_dir`, as on one machine."""
    host: str = "127.0.0.1"
    """Address on which kernels and metrics listen."""

    def doors(self, member: str) -> RouterDoors:
        """Return where a router listens."""
        return next(doors for doors in self.routers if doors.member == member)

    def bind(self, listen: tuple[str, int]) -> Bind:
        """Return the terms on which clients are let in at a door."""
        return Bind(host=listen[0], port=listen[1], token=self.token, tls=self.tls)

    @property
    def http_url(self) -> str | None:
        """What OpenAI's clients take as their base URL: the first router's."""
        listen = self.routers[0].http_listen
        if listen is None:
            return None
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{authority(*listen)}/v1"

    @property
    def internal_bind(self) -> Bind:
        """Where a kernel listens for routers."""
        return Bind(host=self.host, port=0, token=self.token)

    @property
    def run_folder(self) -> RunFolder:
        """Files of the whole constellation, on the node of the registry."""
        return RunFolder(self.run_dir)

    @property
    def node_folder(self) -> NodeFolder:
        """Files of this machine's processes."""
        return NodeFolder(self.run_dir if self.node_dir is None else self.node_dir)

    def access_log_path(self, router: str) -> Path:
        """The access log of a router: access.jsonl of the first, access-2.jsonl of the second."""
        return self.node_folder.log_path(router.replace(ROUTER, "access", 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Announcement:
    """An actor tells the registry where it listens."""

    member: str
    """Actor name."""
    endpoint: str
    """host:port of its gRPC server."""
    metrics_endpoint: str
    """host:port of its /metrics."""
    pid: int
    node: str
    """Name of the machine."""
    kernels: tuple[str, ...] = ()
    """Whom it serves, if it serves kernels."""
    release: int = 0
    """Number of the release that these kernels are of; 0 for one that serves none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StartState:
    """How processes of members can be started now, as the launcher sees it."""

    can_start: bool = True
    """False: Ray's folder is gone, and whoever dies stays away."""
    forked: bool | None = None
    """They are forked from the fork server; None when they are not meant to be."""
    problem: str = ""
    """What is wrong, and what follows from it; empty when all is as it should be."""
