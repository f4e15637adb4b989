"""Records of nodes: machines, their devices, and what kernels need of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from constellation.errors import ConfigError

CPU = "cpu"
"""Device of a node without accelerators: its processors and its main memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One accelerator of a node."""

    name: str
    """Unique on its node, for example "cuda:0"."""
    memory_bytes: int
    """Memory that kernels may use, from 1."""

    def __post_init__(self) -> None:
        _check_memory(f"device {self.name!r}", self.memory_bytes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Node:
    """One machine on which kernels can be served."""

    id: str
    """Unique and lasting: Ray's id of the node."""
    address: str
    """IP address or host name at which other machines reach the node."""
    devices: tuple[Device, ...] = ()
    """Accelerators; a node without any serves kernels on its processors."""
    memory_bytes: int
    """Main memory that kernels may use, from 1."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """What the operator calls the node by: zone, kind of machine and the like."""

    def __post_init__(self) -> None:
        """Check what the node says of itself.

        Raises:
            ConfigError: The node has no id, no memory, or two devices of one name.
        """
        if not self.id:
            raise ConfigError("a node has an empty id; give every node the id that Ray gave it")
        _check_memory(f"node {self.id!r}", self.memory_bytes)
        names = [device.name for device in self.devices]
        if len(set(names)) < len(names):
            raise ConfigError(
                f"node {self.id!r} has devices {names}; give every device a name of its own"
            )

    @property
    def memory_of_devices(self) -> dict[str, int]:
        """Device -> bytes that kernels may use: of the accelerators, or of the processors."""
        if not self.devices:
            return {CPU: self.memory_bytes}
        return {device.name: device.memory_bytes for device in self.devices}


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelNeed:
    """What one kernel needs of the device that it is placed on."""

    name: str
    """Name of the kernel."""
    memory_bytes: int
    """Measured or predicted memory, its part of the process included, from 0."""
    seat: int | None = None
    """Index of the kernel's seat on the ring of seats; None for a kernel without a seat."""

    def __post_init__(self) -> None:
        if self.memory_bytes < 0:
            raise ConfigError(
                f"kernel {self.name!r} needs {self.memory_bytes} bytes of memory; allowed: from 0"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class Location:
    """Where a process runs."""

    node: str = ""
    """Id of the node; empty for the only node of a constellation on one machine."""
    device: str = CPU
    """Name of the device on that node."""


def _check_memory(thing: str, memory_bytes: int) -> None:
    if memory_bytes < 1:
        raise ConfigError(f"{thing} has {memory_bytes} bytes of memory; allowed: from 1")
