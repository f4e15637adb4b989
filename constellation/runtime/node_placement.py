"""Placement of kernels over nodes, by memory, by seats and by replicas: a pure decision.

Three functions return the next placement: `place` when kernels or nodes came or went, `spread` when
replicas that share a node could be on nodes of their own, and `rebalanced` on request.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from constellation.errors import NotEnoughMemory
from constellation.records.nodes import KernelNeed, Location, Node
from constellation.runtime.placement import Placement


def place(kernels: Iterable[KernelNeed], nodes: Iterable[Node], before: Placement) -> Placement:
    """Return on which node and device, and in which process, every kernel is served.

    A replica that is placed stays, as long as its device is there. Every other replica goes to a
    node with the fewest replicas of the same kernel: to another node than its siblings, unless
    there are fewer nodes with room than replicas; then nodes are used twice. Among these, nodes
    without a neighbour of the kernel come first for the first replica, and among these the device
    that is the least full afterwards, by memory. Neighbours are the kernels with the next lower and
    the next higher seat, around the ring; their first replicas count. So a node that leaves moves
    its own kernels only, and a node that joins moves none.

    A replica that fits on no device beside what is there is not placed; the result says why in
    `pending`. Replicas that stay are not moved to make room.

    The result depends on nothing but the arguments, and nodes and devices not on their order. With
    three nodes or more, one process for each kernel, and room, no kernel is beside a neighbour.

    Args:
        kernels: All that are to be served; names are unique.
        nodes: All that kernels can be served on; ids are unique.
        before: The placement until now, from which kernels and nodes may be gone.
    """
    needs = {need.name: need for need in kernels}
    rooms = _rooms(nodes)
    gone = [member for member in before.processes if before.location_of(member) not in rooms]
    kept = before.without_members(gone)
    kept = kept.without(set(kept.kernels) - needs.keys()).trimmed()
    placed = kept.replicas_located()
    chosen, pending = _locations(needs, rooms, placed, before.replicas)
    placement = replace(kept, pending=pending)
    for number in range(before.replicas):
        for name in needs:
            if len(placed.get(name, ())) <= number < len(chosen[name]):
                placement = placement.joined(name, chosen[name][number])
    return placement


def spread(kernels: Iterable[KernelNeed], nodes: Iterable[Node], before: Placement) -> Placement:
    """Return the placement in which replicas that share a node are on nodes of their own.

    Only a replica that shares its node with a replica of the same kernel moves, and only to a node
    with room and with fewer replicas of the kernel. Its process gets another name, so that the new
    process can serve before the old one ends.
    """
    board = _Board({need.name: need for need in kernels}, _rooms(nodes), before)
    moves = []
    for kernel in before.kernels:
        for at in reversed(before.replicas_located()[kernel]):
            best = board.better_place(kernel, at)
            if best is not None:
                board.move(kernel, at, best)
                moves.append((kernel, at, best))
    return _moved(before, moves)


def rebalanced(
    kernels: Iterable[KernelNeed], nodes: Iterable[Node], before: Placement
) -> Placement:
    """Return the placement in which the devices are about equally full, by few moves.

    Again and again a replica of the fullest device moves to the device that is the least full, as
    long as the fuller one of the two is less full afterwards than before. For kernels of one size
    no shorter sequence of moves leads to devices as equally full. Replicas of one kernel stay on
    nodes of their own, and kernels that move stay away from their neighbours where a choice is.
    """
    board = _Board({need.name: need for need in kernels}, _rooms(nodes), before)
    return _moved(before, board.balancing_moves())


def _moved(before: Placement, moves: Iterable[tuple[str, Location, Location]]) -> Placement:
    """Return a placement after moves of (kernel, source, target).

    Every process that is added has a name that no process had before.
    """
    placement, leaving = before, []
    for kernel, source, target in moves:
        placement = placement.joined(kernel, target)
        members = (each for each in placement.members_of(kernel) if (kernel, each) not in leaving)
        leaving.append((kernel, next(m for m in members if placement.location_of(m) == source)))
    for kernel, member in leaving:
        placement = placement.dropped(kernel, member)
    return placement


class _Board:
    """How full every device is, and where the replicas of every kernel are."""

    def __init__(
        self, needs: Mapping[str, KernelNeed], rooms: Mapping[Location, int], before: Placement
    ) -> None:
        self._needs = needs
        self._rooms = rooms
        self._neighbours = _neighbours(sorted(needs.values(), key=_ring_order))
        self._places = {name: list(at) for name, at in before.replicas_located().items()}
        self._used = dict.fromkeys(sorted(rooms, key=_device_order), 0)
        for name, places in self._places.items():
            for at in places:
                self._used[at] += needs[name].memory_bytes

    def move(self, kernel: str, source: Location, target: Location) -> None:
        """Note that a replica is at another device."""
        self._places[kernel].remove(source)
        self._places[kernel].append(target)
        self._used[source] -= self._needs[kernel].memory_bytes
        self._used[target] += self._needs[kernel].memory_bytes

    def better_place(self, kernel: str, source: Location) -> Location | None:
        """Return the device for a replica that shares a node; None when no other is better."""
        on_node = Counter(at.node for at in self._places[kernel])
        size = self._needs[kernel].memory_bytes
        fitting = [
            at
            for at in self._used
            if on_node[at.node] < on_node[source.node] - 1
            and self._used[at] + size <= self._rooms[at]
        ]
        return min(
            fitting, key=lambda at: (on_node[at.node], self._fullness(at, size)), default=None
        )

    def balancing_moves(self) -> Iterator[tuple[str, Location, Location]]:
        """Yield kernel, source and target of moves, each done before the next is chosen."""
        for _ in range(sum(map(len, self._places.values()))):
            move = self._best_move()
            if move is None:
                return
            self.move(*move)
            yield move

    def _best_move(self) -> tuple[str, Location, Location] | None:
        """Return the move that leaves the fuller one of two devices the least full."""
        order = sorted(self._used, key=lambda at: self._fullness(at, 0))
        for source in reversed(order):
            for target in order:
                found = self._move_between(source, target)
                if found is not None:
                    return found, source, target
        return None

    def _move_between(self, source: Location, target: Location) -> str | None:
        before = self._fullness(source, 0)
        if self._fullness(target, 0) >= before:
            return None
        candidates = []
        for kernel, places in self._places.items():
            on_node = Counter(at.node for at in places)
            crowds = source.node != target.node and on_node[target.node] >= on_node[source.node]
            if source not in places or crowds:
                continue
            size = self._needs[kernel].memory_bytes
            after = max(self._fullness(source, -size), self._fullness(target, size))
            if size and after < before and self._used[target] + size <= self._rooms[target]:
                candidates.append((self._is_beside(kernel, target), after, kernel))
        return min(candidates)[2] if candidates else None

    def _is_beside(self, kernel: str, target: Location) -> bool:
        near = self._neighbours.get(kernel, ())
        return any(at.node == target.node for name in near for at in self._places.get(name, ()))

    def _fullness(self, at: Location, more_bytes: int) -> float:
        return (self._used[at] + more_bytes) / self._rooms[at]


def _locations(
    needs: Mapping[str, KernelNeed],
    rooms: Mapping[Location, int],
    placed: Mapping[str, Sequence[Location]],
    replicas: int,
) -> tuple[dict[str, list[Location]], dict[str, str]]:
    """Return where the replicas of every kernel run, and why some kernels have too few."""
    by_seat = sorted(needs.values(), key=_ring_order)
    by_size = sorted(by_seat, key=lambda need: -need.memory_bytes)
    # Around the ring two nodes can take turns; otherwise the largest come first, which fills best.
    two = len({at.node for at in rooms}) == 2
    orders = (by_seat, by_size) if two else (by_size, by_seat)
    first = _greedy(orders[0], _neighbours(by_seat), rooms, placed, replicas)
    if not first[1]:
        return first
    second = _greedy(orders[1], _neighbours(by_seat), rooms, placed, replicas)
    return min(first, second, key=lambda each: -sum(map(len, each[0].values())))


def _greedy(
    order: Sequence[KernelNeed],
    neighbours: Mapping[str, Sequence[str]],
    rooms: Mapping[Location, int],
    placed: Mapping[str, Sequence[Location]],
    replicas: int,
) -> tuple[dict[str, list[Location]], dict[str, str]]:
    """Place one replica after the other where it leaves the least full device."""
    chosen = {need.name: list(placed.get(need.name, ())) for need in order}
    used = dict.fromkeys(sorted(rooms, key=_device_order), 0)
    pending: dict[str, str] = {}
    for need in order:
        for at in chosen[need.name]:
            used[at] += need.memory_bytes
    for number in range(replicas):
        for need in order:
            own = chosen[need.name]
            if len(own) > number or need.name in pending:
                continue
            firsts = [] if own else [chosen[name][:1] for name in neighbours.get(need.name, ())]
            near = {at.node for first in firsts for at in first}
            best = _best(need, rooms, used, own, near)
            if best is None:
                pending[need.name] = _reason(need, rooms, used, own, replicas)
                continue
            own.append(best)
            used[best] += need.memory_bytes
    return chosen, pending


def _best(
    need: KernelNeed,
    rooms: Mapping[Location, int],
    used: Mapping[Location, int],
    own: Sequence[Location],
    near: set[str],
) -> Location | None:
    """Return the best device for one more replica of a kernel; None when there is no room."""
    nodes, devices = Counter(at.node for at in own), Counter(own)
    after = {at: used[at] + need.memory_bytes for at in used}
    return min(
        (at for at in used if after[at] <= rooms[at]),
        key=lambda at: (nodes[at.node], devices[at], at.node in near, after[at] / rooms[at]),
        default=None,
    )


def _reason(
    need: KernelNeed,
    rooms: Mapping[Location, int],
    used: Mapping[Location, int],
    own: Sequence[Location],
    replicas: int,
) -> str:
    """Return why a kernel has too few processes, for people."""
    error = NotEnoughMemory(
        need.name,
        needed_bytes=need.memory_bytes,
        free_bytes=max((rooms[at] - used[at] for at in used), default=0),
        num_nodes=len({at.node for at in rooms}),
    )
    return f"{len(own)} of {replicas} processes have room: {error}" if own else str(error)


def _rooms(nodes: Iterable[Node]) -> dict[Location, int]:
    return {Location(node=n.id, device=d): b for n in nodes for d, b in n.memory_of_devices.items()}


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


def _device_order(at: Location) -> tuple[str, str]:
    return at.node, at.device
