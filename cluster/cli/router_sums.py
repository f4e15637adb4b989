"""Ask every router of a constellation for its state, and add up what each of them counts.

A router counts its own requests only. All routers are asked at the same time, each with a deadline,
and a router that does not answer is named.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from constellation.client import Client, ConstellationStatus
from constellation.errors import ConstellationError
from constellation.records import Traffic
from constellation.routing.load_entropy import load_entropy_ratio

ANSWER_S = 2.0
"""Seconds that each router may take, unless the caller gives another limit."""
ASKED_AT_ONCE = 16
_EVERYWHERE = ("0.0.0.0", "[::]")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """The state of a constellation, with the counts of all routers that answered."""

    status: ConstellationStatus
    """What the first router said, with the sums of all; the longest uptime."""
    num_routers: int
    """Routers whose counts are in the sums."""
    unanswered: tuple[str, ...] = ()
    """Names of the other routers."""


def sum_routers(
    first: ConstellationStatus, endpoint: str, open_client: Callable[[str], Client]
) -> Sums:
    """Ask the routers that `first` names, beside the one that said so.

    Args:
        first: What one router said.
        endpoint: host:port of that router.
        open_client: Opens a client of the router at host:port, which asks once.
    """
    others = {each.name: each.endpoint for each in first.routers if each.name != first.router}
    if not first.router or not others:  # an earlier version names no router
        return Sums(status=first, num_routers=1)

    def ask(name: str) -> ConstellationStatus | None:
        try:
            with open_client(_reachable(others[name], endpoint)) as one:
                return one.status()
        except ConstellationError:
            return None

    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        said = dict(zip(others, threads.map(ask, others), strict=True))
    heard = [each for each in said.values() if each is not None]
    return Sums(
        status=_together(first, heard),
        num_routers=1 + len(heard),
        unanswered=tuple(name for name, each in said.items() if each is None),
    )


def _reachable(endpoint: str, known: str) -> str:
    """Return where to call a router that listens on all addresses: at the host of another one."""
    host, _, port = endpoint.rpartition(":")
    return f"{known.rpartition(':')[0]}:{port}" if host in _EVERYWHERE else endpoint


def _together(
    first: ConstellationStatus, others: Iterable[ConstellationStatus]
) -> ConstellationStatus:
    everyone = (first, *others)
    num_routed = Counter[str]()
    traffic = Traffic()
    for each in everyone:
        num_routed.update({kernel.name: kernel.num_routed for kernel in each.kernels})
        traffic = traffic.plus(each.traffic)
    counts = {kernel.name: num_routed[kernel.name] for kernel in first.kernels}
    return replace(
        first,
        kernels=tuple(replace(each, num_routed=counts[each.name]) for each in first.kernels),
        traffic=traffic,
        uptime_s=max(each.uptime_s for each in everyone),
        num_unexpected_errors=sum(each.num_unexpected_errors for each in everyone),
        load_entropy_ratio=load_entropy_ratio(counts) or 0.0,
    )
