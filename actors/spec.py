"""What a deployment is: plain values that every actor receives when it starts or restarts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from constellation.records import Rule
from constellation.wire.channel import Bind, authority
from constellation.wire.tls import ServerTls


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


@dataclass(frozen=True, kw_only=True, slots=True)
class HttpOptions:
    """The HTTP door; meanings and ranges as in `ServeSettings`."""

    listen: tuple[str, int]
    """Address and port."""
    connections_max: int = 512


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentSpec:
    """One constellation on one Ray cluster."""

    namespace: str
    """Ray namespace of its actors."""
    artifacts: Path
    """Folder that training wrote; the kernels are those of its table."""
    run_dir: Path
    """Folder for state, logs and metrics targets."""
    listen: tuple[str, int]
    """Address and port for clients."""
    router: RouterOptions
    kernel: KernelOptions
    http: HttpOptions | None = None
    """None serves gRPC only."""
    token: str | None = None
    """Secret of every call, clients' and the routers' own."""
    tls: ServerTls | None = None
    """TLS of both doors; calls between our own processes stay on loopback and are plain."""
    access_log: bool = False
    """Write a line for every request."""
    log_prompts: bool = False
    """With what was asked in it."""
    host: str = "127.0.0.1"
    """Address on which kernels and metrics listen."""

    @property
    def client_bind(self) -> Bind:
        """Where the router listens for clients."""
        return Bind(host=self.listen[0], port=self.listen[1], token=self.token, tls=self.tls)

    @property
    def http_bind(self) -> Bind | None:
        """Where the router listens for OpenAI's clients."""
        if self.http is None:
            return None
        host, port = self.http.listen
        return Bind(host=host, port=port, token=self.token, tls=self.tls)

    @property
    def http_url(self) -> str | None:
        """What OpenAI's clients take as their base URL."""
        if self.http is None:
            return None
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{authority(*self.http.listen)}/v1"

    @property
    def internal_bind(self) -> Bind:
        """Where a kernel listens for routers."""
        return Bind(host=self.host, port=0, token=self.token)

    @property
    def table_path(self) -> Path:
        """The newest table, endpoints included, written by the registry."""
        return self.run_dir / "table.msgpack"

    @property
    def stored_table_path(self) -> Path:
        """The table among the artifacts: which kernels there are, without endpoints."""
        return self.artifacts / "table.msgpack"

    def log_path(self, member: str) -> Path:
        """The log file of an actor."""
        return self.run_dir / "logs" / f"{member}.jsonl"


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
