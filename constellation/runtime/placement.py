"""Which process serves which kernels, and on which node and device: a pure decision.

A process has room for a number of kernels, and runs on one device of one node. A kernel is served
by one process or by several (its *replicas*), never twice by the same process. On one machine a
kernel that joins goes to the first processes with room, else to new processes; a process whose last
kernel has left ends; no kernel ever moves. On several nodes `node_placement.py` first decides on
the node and the device of every replica that has none, and then fills the processes there in the
same way. One machine is the special case of one node.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from constellation.errors import ConfigError
from constellation.records.nodes import Location

LOCAL = Location()
"""Location of every process of a constellation on one machine."""

REPLICA_MARK = "~"
"""Stands before the number of a further process of one kernel; no kernel's name contains it."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The kernels of every process, and where the process runs.

    Attributes:
        per_process: Kernels that a process has room for, at least 1.
        processes: Member -> names of its kernels, at least one, in the order in which they joined.
        locations: Member -> where its process runs; a member that is not named is at `LOCAL`.
        replicas: Processes that serve every kernel, at least 1.
        pending: Kernel -> why fewer processes serve the kernel; empty on one machine.
    """

    per_process: int
    processes: Mapping[str, tuple[str, ...]]
    locations: Mapping[str, Location] = field(default_factory=dict)
    replicas: int = 1
    pending: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.per_process < 1 or self.replicas < 1:
            raise ConfigError(
                f"per_process is {self.per_process} and replicas is {self.replicas}; "
                "allowed: both from 1"
            )

    def of(self, kernel: str) -> str:
        """Return the first member that serves a kernel; KeyError when there is none."""
        for member, kernels in self.processes.items():
            if kernel in kernels:
                return member
        raise KeyError(kernel)

    def members_of(self, kernel: str) -> tuple[str, ...]:
        """Return the members that serve a kernel, in the order in which they were placed."""
        return tuple(member for member, kernels in self.processes.items() if kernel in kernels)

    def location_of(self, member: str) -> Location:
        """Return where the process of a member runs."""
        return self.locations.get(member, LOCAL)

    @property
    def kernels(self) -> tuple[str, ...]:
        """All kernels that a process serves, each once."""
        return tuple(dict.fromkeys(name for names in self.processes.values() for name in names))

    @property
    def located(self) -> dict[str, Location]:
        """Kernel -> where its first process runs."""
        return {kernel: places[0] for kernel, places in self.replicas_located().items()}

    def replicas_located(self) -> dict[str, tuple[Location, ...]]:
        """Return kernel -> where its processes run, in the order of `members_of`."""
        found: dict[str, list[Location]] = {}
        for member, kernels in self.processes.items():
            for kernel in kernels:
                found.setdefault(kernel, []).append(self.location_of(member))
        return {kernel: tuple(places) for kernel, places in found.items()}

    def joined(self, kernel: str, at: Location = LOCAL) -> "Placement":
        """Return the placement with one more process that serves a kernel, at a location."""
        for member, kernels in self.processes.items():
            has_room = len(kernels) < self.per_process and kernel not in kernels
            if has_room and self.location_of(member) == at:
                return self._with(member, (*kernels, kernel), at)
        return self._with(self._new_member(kernel), (kernel,), at)

    def admitted(self, kernel: str) -> "Placement":
        """Return the placement on one machine in which a kernel has all of its processes."""
        placement = self
        while len(placement.members_of(kernel)) < self.replicas:
            placement = placement.joined(kernel)
        return placement

    def left(self, kernel: str) -> "Placement":
        """Return the placement without a kernel.

        Raises:
            KeyError: No process serves the kernel, and none is wanted.
        """
        if kernel not in self.pending:
            self.of(kernel)
        pending = {name: why for name, why in self.pending.items() if name != kernel}
        return replace(self.without([kernel]), pending=pending)

    def dropped(self, kernel: str, member: str) -> "Placement":
        """Return the placement in which a member no longer serves a kernel."""
        kernels = tuple(name for name in self.processes[member] if name != kernel)
        return self._with(member, kernels, self.location_of(member))

    def fitted(self, kernels: Iterable[str]) -> "Placement":
        """Return the placement of exactly these kernels on one machine; placed kernels stay.

        First every kernel gets one process, then every kernel gets a second one, and so on.
        """
        wanted = list(kernels)
        placement = self.without(set(self.kernels) - set(wanted)).trimmed()
        for number in range(1, self.replicas + 1):
            for kernel in wanted:
                if len(placement.members_of(kernel)) < number:
                    placement = placement.joined(kernel)
        return placement

    def trimmed(self) -> "Placement":
        """Return the placement without processes beyond `replicas`, the latest of each kernel."""
        placement = self
        for kernel in self.kernels:
            for member in self.members_of(kernel)[self.replicas :]:
                placement = placement.dropped(kernel, member)
        return placement

    def without(self, kernels: Iterable[str]) -> "Placement":
        """Return the placement without some of its kernels."""
        gone = set(kernels)
        processes = {
            member: tuple(kernel for kernel in kernels if kernel not in gone)
            for member, kernels in self.processes.items()
        }
        return self._of(processes, self.locations)

    def without_members(self, members: Iterable[str]) -> "Placement":
        """Return the placement without some of its processes."""
        gone = set(members)
        left = {member: names for member, names in self.processes.items() if member not in gone}
        return self._of(left, self.locations)

    def _with(self, member: str, kernels: tuple[str, ...], at: Location) -> "Placement":
        return self._of({**self.processes, member: kernels}, {**self.locations, member: at})

    def _of(
        self, processes: Mapping[str, tuple[str, ...]], locations: Mapping[str, Location]
    ) -> "Placement":
        filled = {member: kernels for member, kernels in processes.items() if kernels}
        elsewhere = {m: at for m, at in locations.items() if m in filled and at != LOCAL}
        return replace(self, processes=filled, locations=elsewhere)

    def _new_member(self, kernel: str) -> str:
        alone, number = self.per_process == 1, 1
        member = alone_member(kernel) if alone else shared_member(number)
        while member in self.processes:
            number += 1
            member = alone_member(kernel, number) if alone else shared_member(number)
        return member


def is_kernel_member(member: str) -> bool:
    """Return whether a member serves kernels, by its name."""
    return member.startswith((alone_member(""), "kernels-"))


def alone_member(kernel: str, number: int = 1) -> str:
    """Return a member that serves one kernel alone, counted from 1."""
    return f"kernel-{kernel}" if number == 1 else f"kernel-{kernel}{REPLICA_MARK}{number}"


def shared_member(number: int) -> str:
    """Return a member that serves several kernels, counted from 1."""
    return f"kernels-{number}"
