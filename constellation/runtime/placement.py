"""Which process serves which kernels: a pure decision, so that all who know it agree.

A process has room for a number of kernels. A kernel that joins goes to the first process with
room, else to a new one; a process whose last kernel has left is over. Nobody ever moves.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from constellation.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Placement:
    """The kernels of every process.

    Attributes:
        per_process: Kernels that a process has room for, at least 1.
        processes: Member -> names of its kernels, at least one, in the order in which they joined.
    """

    per_process: int
    processes: Mapping[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if self.per_process < 1:
            raise ConfigError(f"per_process is {self.per_process}; allowed: from 1")

    def of(self, kernel: str) -> str:
        """Return the member that serves a kernel; KeyError when there is none."""
        for member, kernels in self.processes.items():
            if kernel in kernels:
                return member
        raise KeyError(kernel)

    def joined(self, kernel: str) -> "Placement":
        """Return the placement with one more kernel."""
        for member, kernels in self.processes.items():
            if len(kernels) < self.per_process:
                return self._with(member, (*kernels, kernel))
        return self._with(self._new_member(kernel), (kernel,))

    def left(self, kernel: str) -> "Placement":
        """Return the placement without a kernel."""
        member = self.of(kernel)
        return self._with(member, tuple(k for k in self.processes[member] if k != kernel))

    def fitted(self, kernels: Iterable[str]) -> "Placement":
        """Return the placement of exactly these kernels; those that are placed stay."""
        wanted = list(kernels)
        placement = self
        for kernel in [k for placed in self.processes.values() for k in placed]:
            if kernel not in wanted:
                placement = placement.left(kernel)
        placed = {k for members in placement.processes.values() for k in members}
        for kernel in wanted:
            if kernel not in placed:
                placement = placement.joined(kernel)
        return placement

    def _with(self, member: str, kernels: tuple[str, ...]) -> "Placement":
        processes = {**self.processes, member: kernels}
        return Placement(self.per_process, {m: k for m, k in processes.items() if k})

    def _new_member(self, kernel: str) -> str:
        if self.per_process == 1:
            return alone_member(kernel)
        number = 1
        while shared_member(number) in self.processes:
            number += 1
        return shared_member(number)


def is_kernel_member(member: str) -> bool:
    """Return whether a member serves kernels, by its name."""
    return member.startswith((alone_member(""), "kernels-"))


def alone_member(kernel: str) -> str:
    """Return the member that serves one kernel alone."""
    return f"kernel-{kernel}"


def shared_member(number: int) -> str:
    """Return a member that serves several kernels, counted from 1."""
    return f"kernels-{number}"
