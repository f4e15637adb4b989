"""Which process serves which kernels, and on which node and device: a pure decision.

A process has room for a number of kernels, and runs on one device of one node. On one machine a
kernel that joins goes to the first process with room, else to a new process; a process whose last
kernel has left ends; no kernel ever moves. On several nodes `place` first decides on the node and
the device of every kernel that has none, by memory and by seats, and then fills the processes there
in the same way. One machine is the special case of one node.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from constellation.errors import ConfigError, NotEnoughMemory
from constellation.records.nodes import KernelNeed, Location, Node

LOCAL = Location()
"""Location of every process of a constellation on one machine."""


@dataclass(frozen=True, slots=True)
class Placement:
    """The kernels of every process, and where the process runs.

    Attributes:
        per_process: Kernels that a process has room for, at least 1.
        processes: Member -> names of its kernels, at least one, in the order in which they joined.
        locations: Member -> where its process runs; a member that is not named is at `LOCAL`.
    """

    per_process: int
    processes: Mapping[str, tuple[str, ...]]
    locations: Mapping[str, Location] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.per_process < 1:
            raise ConfigError(f"per_process is {self.per_process}; allowed: from 1")

    def of(self, kernel: str) -> str:
        """Return the member that serves a kernel; KeyError when there is none."""
        for member, kernels in self.processes.items():
            if kernel in kernels:
                return member
        raise KeyError(kernel)

    def location_of(self, member: str) -> Location:
        """Return where the process of a member runs."""
        return self.locations.get(member, LOCAL)

    @property
    def located(self) -> dict[str, Location]:
        """Kernel -> where its process runs."""
        return {
            kernel: self.location_of(member)
            for member, kernels in self.processes.items()
            for kernel in kernels
        }

    def joined(self, kernel: str, at: Location = LOCAL) -> "Placement":
        """Return the placement with one more kernel, in a process at a location."""
        for member, kernels in self.processes.items():
            if len(kernels) < self.per_process and self.location_of(member) == at:
                return self._with(member, (*kernels, kernel), at)
        return self._with(self._new_member(kernel), (kernel,), at)

    def left(self, kernel: str) -> "Placement":
        """Return the placement without a kernel."""
        member = self.of(kernel)
        kernels = tuple(k for k in self.processes[member] if k != kernel)
        return self._with(member, kernels, self.location_of(member))

    def fitted(self, kernels: Iterable[str]) -> "Placement":
        """Return the placement of exactly these kernels on one machine; placed kernels stay."""
        wanted = list(kernels)
        placement = self.without(self.located.keys() - set(wanted))
        placed = placement.located
        for kernel in wanted:
            if kernel not in placed:
                placement = placement.joined(kernel)
        return placement

    def without(self, kernels: Iterable[str]) -> "Placement":
        """Return the placement without some of its kernels."""
        gone = set(kernels)
        processes = {
            member: tuple(kernel for kernel in kernels if kernel not in gone)
            for member, kernels in self.processes.items()
        }
        return self._of(processes, self.locations)

    def _with(self, member: str, kernels: tuple[str, ...], at: Location) -> "Placement":
        return self._of({**self.processes, member: kernels}, {**self.locations, member: at})

    def _of(
        self, processes: Mapping[str, tuple[str, ...]], locations: Mapping[str, Location]
    ) -> "Placement":
        filled = {member: kernels for member, kernels in processes.items() if kernels}
        elsewhere = {m: at for m, at in locations.items() if m in filled and at != LOCAL}
        return Placement(self.per_process, filled, elsewhere)

    def _new_member(self, kernel: str) -> str:
        if self.per_process == 1:
            return alone_member(kernel)
        number = 1
        while shared_member(number) in self.processes:
            number += 1
        return shared_member(number)


def place(kernels: Iterable[KernelNeed], nodes: Iterable[Node], before: Placement) -> Placement:
    """Return on which node and device, and in which process, every kernel is served.

    A kernel that is placed stays, as long as its device is there. Every other kernel goes to the
    device that is the least full afterwards, by memory; among the devices with room, those on
    nodes without a neighbour of the kernel come first. Neighbours are the kernels with the next
    lower and the next higher seat, around the ring. So a node that leaves moves its own kernels
    only, and a node that joins moves none.

    The result depends on nothing but the arguments, and nodes and devices not on their order. With
    three nodes or more, and room, no kernel is placed beside a neighbour.

    Args:
        kernels: All that are to be served; names are unique.
        nodes: All that kernels can be served on; ids are unique.
        before: The placement until now, from which kernels and nodes may be gone.

    Raises:
        NotEnoughMemory: A kernel fits on no device beside what is there. Kernels that stay are
            not moved to make room.
    """
    needs = {need.name: need for need in kernels}
    rooms = {
        Location(node=n.id, device=d): b for n in nodes for d, b in n.memory_of_devices.items()
    }
    stays = {k for k, at in before.located.items() if k in needs and at in rooms}
    placement = before.without(before.located.keys() - stays)
    chosen = _locations(needs, rooms, placement.located)
    for name in needs:
        if name not in stays:
            placement = placement.joined(name, chosen[name])
    return placement


def _locations(
    needs: Mapping[str, KernelNeed], rooms: Mapping[Location, int], placed: Mapping[str, Location]
) -> dict[str, Location]:
    """Return where every kernel runs: those that are placed, and those that are not yet."""
    by_seat = sorted(needs.values(), key=_ring_order)
    by_size = sorted(by_seat, key=lambda need: -need.memory_bytes)
    # Around the ring two nodes can take turns; otherwise the largest come first, which fills best.
    two = len({at.node for at in rooms}) == 2
    first, second = (by_seat, by_size) if two else (by_size, by_seat)
    try:
        return _greedy(first, _neighbours(by_seat), rooms, placed)
    except NotEnoughMemory:
        return _greedy(second, _neighbours(by_seat), rooms, placed)


def _greedy(
    order: Iterable[KernelNeed],
    neighbours: Mapping[str, Sequence[str]],
    rooms: Mapping[Location, int],
    placed: Mapping[str, Location],
) -> dict[str, Location]:
    """Place one kernel after the other where it leaves the least full device."""
    chosen, order = dict(placed), list(order)
    used = dict.fromkeys(sorted(rooms, key=lambda at: (at.node, at.device)), 0)
    for need in order:
        if need.name in placed:
            used[placed[need.name]] += need.memory_bytes
    for need in order:
        if need.name in placed:
            continue
        near = {chosen[name].node for name in neighbours.get(need.name, ()) if name in chosen}
        after = {at: used[at] + need.memory_bytes for at in used}
        fitting = [at for at in used if after[at] <= rooms[at]]
        if not fitting:
            raise NotEnoughMemory(
                need.name,
                needed_bytes=need.memory_bytes,
                free_bytes=max((rooms[at] - used[at] for at in used), default=0),
                num_nodes=len({at.node for at in rooms}),
            )
        best = min(fitting, key=lambda at: (at.node in near, after[at] / rooms[at]))
        chosen[need.name], used[best] = best, after[best]
    return chosen


def _neighbours(by_seat: Iterable[KernelNeed]) -> dict[str, tuple[str, str]]:
    """Return kernel -> the kernels before and after it on the ring of occupied seats."""
    ring = [need.name for need in by_seat if need.seat is not None]
    if len(ring) < 2:
        return {}
    return {
        name: (ring[number - 1], ring[(number + 1) % len(ring)]) for number, name in enumerate(ring)
    }


def _ring_order(need: KernelNeed) -> tuple[bool, int, str]:
    return need.seat is None, need.seat or 0, need.name


def is_kernel_member(member: str) -> bool:
    """Return whether a member serves kernels, by its name."""
    return member.startswith((alone_member(""), "kernels-"))


def alone_member(kernel: str) -> str:
    """Return the member that serves one kernel alone."""
    return f"kernel-{kernel}"


def shared_member(number: int) -> str:
    """Return a member that serves several kernels, counted from 1."""
    return f"kernels-{number}"
