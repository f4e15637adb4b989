"""How fast and how evenly are kernels placed on nodes, and how few move when nodes leave and join?

    python -m benchmarks.placement [--kernels 240] [--nodes 30] [--changes 60] [--seed 0] [--json]

A simulation: `constellation.runtime.node_placement.place`, which the registry calls, with kernels
of 50 MB to 2 GB on every seat and nodes of 16 to 64 GB. Then nodes leave one after the other, and
come back empty. No process is started. Keys of the last line, one JSON object:

- `place_s`: processor seconds of one placement of all kernels on empty nodes, median of 9. Lower is
  better; the bar for 240 kernels on 30 nodes is 1.
- `change_s`: the same after one node left, when everything else stays. Lower is better.
- `fullest_ratio`: used share of the memory of the fullest node, over the mean of all nodes. Lower
  is better; 1 is even.
- `fullest_after`: the same after all changes, since no kernel moves to a node that joins. Lower is
  better.
- `fullest_rebalanced`: the same after `constellation rebalance` following all changes. Lower is
  better; `rebalance_moves` says how many kernels moved for that.
- `neighbour_pairs`: kernels with adjacent seats that share a node, over all changes the most. Lower
  is better; 0 means that the loss of one node leaves every query a kernel near its best one.
- `moved_needlessly`: kernels that moved although their node stayed, over all changes. Lower is
  better; the bar is 0.
- `fill_at_refusal`: used share of all memory when the first kernel finds no room, when kernels join
  one by one. Higher is better.
"""

import argparse
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from constellation.records import KernelNeed, Node
from constellation.runtime.node_placement import place, rebalanced
from constellation.runtime.placement import Placement

MB = 10**6
EMPTY = Placement(1, {})


def kernels_of(count: int, rng: random.Random) -> list[KernelNeed]:
    """Return kernels of 50 MB to 2 GB, most of them small, on the seats 0, 1, 2 and so on."""
    sizes = [round(50 * MB * 40 ** rng.random()) for _ in range(count)]
    return [KernelNeed(name=f"k{n:03}", memory_bytes=s, seat=n) for n, s in enumerate(sizes)]


def nodes_of(count: int, rng: random.Random) -> list[Node]:
    """Return nodes with 16, 32 or 64 GB."""
    return [
        Node(
            id=f"node-{n:02}",
            address=f"10.0.0.{n}",
            memory_bytes=rng.choice((16_000, 32_000, 64_000)) * MB,
        )
        for n in range(count)
    ]


def timed(kernels: Sequence[KernelNeed], nodes: Sequence[Node], before: Placement) -> float:
    """Return the processor seconds of one placement, the median of nine."""
    seconds = []
    for _ in range(9):
        began_s = time.process_time()
        place(kernels, nodes, before)
        seconds.append(time.process_time() - began_s)
    return statistics.median(seconds)


def fullest(kernels: Sequence[KernelNeed], nodes: Sequence[Node], placement: Placement) -> float:
    """Return the used share of the memory of the fullest node, over the mean of all nodes."""
    used: Counter[str] = Counter()
    for need in kernels:
        used[placement.located[need.name].node] += need.memory_bytes
    ratios = [used[node.id] / node.memory_bytes for node in nodes]
    return round(max(ratios) / statistics.mean(ratios), 3)


def moves(before: Placement, after: Placement) -> int:
    """Return how many kernels are on another node or device than before."""
    return sum(after.located[name] != at for name, at in before.located.items())


def neighbour_pairs(kernels: Sequence[KernelNeed], placement: Placement) -> int:
    """Return how many kernels share a node with the kernel of the next seat."""
    at = placement.located
    pairs = zip(kernels, [*kernels[1:], kernels[0]], strict=True)
    return sum(at[one.name].node == at[other.name].node for one, other in pairs)


def changes(nodes: Sequence[Node], count: int, rng: random.Random) -> Iterator[list[Node]]:
    """Yield the nodes that are there after each change: one leaves, then that node comes back."""
    for _ in range(count // 2):
        gone = rng.choice(nodes)
        yield [node for node in nodes if node is not gone]
        yield list(nodes)


def fill_at_refusal(kernels: Sequence[KernelNeed], nodes: Sequence[Node]) -> float:
    """Return the used share of all memory when the first of endless kernels finds no room."""
    placement, taken, served = EMPTY, 0, []
    room = sum(node.memory_bytes for node in nodes)
    for number in range(100_000):
        need = kernels[number % len(kernels)]
        more = KernelNeed(name=f"{need.name}-{number}", memory_bytes=need.memory_bytes)
        placement = place([*served, more], nodes, placement)
        if placement.pending:
            break
        served.append(more)
        taken += need.memory_bytes
    return taken / room


def measure(num_kernels: int, num_nodes: int, num_changes: int, seed: int) -> dict[str, float]:
    """Return the keys of the module's docstring."""
    rng = random.Random(seed)
    kernels, nodes = kernels_of(num_kernels, rng), nodes_of(num_nodes, rng)
    placement = place(kernels, nodes, EMPTY)
    pairs, needless = [neighbour_pairs(kernels, placement)], 0
    for present in changes(nodes, num_changes, rng):
        after = place(kernels, present, placement)
        ids = {node.id for node in present}
        stayed = {name: at for name, at in placement.located.items() if at.node in ids}
        needless += sum(after.located[name] != at for name, at in stayed.items())
        pairs.append(neighbour_pairs(kernels, after))
        placement = after
    first = place(kernels, nodes, EMPTY)
    even = rebalanced(kernels, nodes, placement)
    return {
        "place_s": timed(kernels, nodes, EMPTY),
        "change_s": timed(kernels, nodes[1:], first),
        "fullest_ratio": fullest(kernels, nodes, first),
        "fullest_after": fullest(kernels, nodes, placement),
        "fullest_rebalanced": fullest(kernels, nodes, even),
        "rebalance_moves": moves(placement, even),
        "neighbour_pairs": max(pairs),
        "moved_needlessly": needless,
        "fill_at_refusal": round(fill_at_refusal(kernels, nodes[:4]), 3),
    }


def main() -> None:
    """Measure, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, default=240)
    parser.add_argument("--nodes", type=int, default=30)
    parser.add_argument("--changes", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print nothing but the JSON object")
    given = parser.parse_args()
    found = measure(given.kernels, given.nodes, given.changes, given.seed)
    if not given.json:
        print(f"{given.kernels} kernels, {given.nodes} nodes, {given.changes} changes")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
