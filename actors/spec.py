"""What a deployment is: plain values that every actor receives when it starts or restarts."""

import re
from dataclasses import dataclass
from pathlib import Path

from constellation.errors import ConfigError
from constellation.records import Rule
from constellation.wire.channel import Bind

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_kernel_name(name: str) -> str:
    """Return `name`, or raise `ConfigError` when it cannot name a kernel."""
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"kernel name {name!r}: use 1 to 64 characters of a-z, 0-9, '.', '_', '-', "
            "beginning with a letter or digit"
        )
    return name


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


@dataclass(frozen=True, kw_only=True, slots=True)
class DeploymentSpec:
    """One constellation on one Ray cluster."""

    namespace: str
    """Ray namespace of its actors."""
    artifacts: Path
    """Folder that training wrote."""
    run_dir: Path
    """Folder for state, logs and metrics targets."""
    kernels: tuple[str, ...]
    """Names of the kernels, each with a folder under `artifacts/kernels`."""
    listen: tuple[str, int]
    """Address and port for clients."""
    router: RouterOptions
    kernel: KernelOptions
    token: str | None = None
    """Secret of every call, clients' and the routers' own."""
    host: str = "127.0.0.1"
    """Address on which kernels and metrics listen."""

    def __post_init__(self) -> None:
        if not self.kernels or len(set(self.kernels)) != len(self.kernels):
            raise ConfigError(f"need kernels with different names, got {self.kernels}")
        for name in self.kernels:
            check_kernel_name(name)

    @property
    def client_bind(self) -> Bind:
        """Where the router listens for clients."""
        return Bind(host=self.listen[0], port=self.listen[1], token=self.token)

    @property
    def internal_bind(self) -> Bind:
        """Where a kernel listens for routers."""
        return Bind(host=self.host, port=0, token=self.token)

    @property
    def table_path(self) -> Path:
        """The newest table, endpoints included, written by the registry."""
        return self.run_dir / "table.msgpack"

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
