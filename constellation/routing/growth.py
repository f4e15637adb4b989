"""What a table becomes when a kernel joins or leaves it.

Pure: a table goes in, the next one comes out. What does not take part keeps every bit: basins,
bearings, radii, thresholds and seats of the other kernels, the background, and the temperatures
and thresholds of the table, which are calibrated with a whole table and not with each change. Both
rules send a query to the nearest site, and a bearing depends on a kernel's own basin and the
table's background alone; so a query moves only to or from a kernel whose site was made, changed or
taken out.

Shapes: K outcomes, N queries.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, pi

import numpy as np

from constellation.errors import GrowthRefused, IncompatibleKernels, UnknownKernel
from constellation.geometry.bearings import angle, bearing, has_bearing
from constellation.geometry.e8 import NUM_ROOTS
from constellation.geometry.placing import free_seat
from constellation.geometry.seats import nearest_free_seat
from constellation.geometry.simplex import distance
from constellation.records import FloatArray, KernelSite, Rule, Split, Table, Thresholds
from constellation.routing.discovery import discover
from constellation.routing.sites import KernelTexts
from constellation.routing.sources import nearest_names, parts_of
from constellation.routing.summed_texts import SummedTexts

KERNELS_MAX = NUM_ROOTS
"""Kernels of one table: each has a seat of its own."""

SPLIT_QUERIES_MIN = 16
"""Queries that a split needs at least: fewer say little about where two halves lie."""

UNLEARNED_MAX = 256
"""Sources that one kernel may have unlearned: the table names them, and goes to every router."""

SOURCES_SHOWN = 5
"""Sources named when the one that is asked for is not there."""

_APART_MIN = 1e-3
"""Radians under both rules between the sites of parent and child, so that both get queries."""


def add_kernel(table: Table, candidate: Table) -> Table:
    """Return the table with one more kernel, the last of it; taking it out gives these bits back.

    Args:
        table: The kernels that serve.
        candidate: A table of the new kernel alone, of the same coordizer: its basin, its radii,
            its thresholds and its phi gauge count, and of one that was here before also what it
            unlearned and, while it is free, its seat; the rest is found here.

    Raises:
        IncompatibleKernels: It belongs to another coordizer.
        GrowthRefused: The name is taken, the table is full, or the basin has no bearing or no
            finite radius.
    """
    if len(candidate.sites) != 1:
        raise GrowthRefused("?", f"its table has {len(candidate.sites)} kernels, not itself alone")
    (site,) = candidate.sites
    _check_new(table, site.name)
    if candidate.coordizer_hash != table.coordizer_hash:
        raise IncompatibleKernels(site.name)
    bearing_K = bearing(site.basin_K, table.background_K)
    radii = [site.radii.get(rule, float("nan")) for rule in Rule]
    if not has_bearing(bearing_K) or not all(isfinite(radius) for radius in radii):
        raise GrowthRefused(
            site.name, "its text lies at the background or has no radius; give it other text"
        )
    joined = KernelSite(
        name=site.name,
        basin_K=site.basin_K,
        bearing_K=bearing_K,
        radii=site.radii,
        thresholds=site.thresholds,
        seat=_seat_of(site, table),
        phi_gauge=site.phi_gauge,
        unlearned=site.unlearned,
        basins_BK=site.basins_BK,
        bearings_BK=bearing(site.basins_BK, table.background_K),
        arrived=site.arrived,
        num_held_out=site.num_held_out,
    )
    return _next(table, (*table.sites, joined))


def spawn_kernel(table: Table, parent: str, child: str, queries_NK: FloatArray) -> Table:
    """Return the table in which a kernel shares its queries with a new one.

    The queries are grouped in two of about equal size; the parent moves to the centre that is
    nearer to where it was, the child is put at the other, on the free seat nearest to the
    parent's. Both get the parent's radius and thresholds and what they moved by on top, so that
    whatever was within the parent's domain stays within both.

    Args:
        table: The kernels that serve.
        parent: Name of the kernel that is split.
        child: Name of the new one.
        queries_NK: Basins of queries that went to the parent, simplex points.

    Raises:
        UnknownKernel: No kernel is named `parent`.
        GrowthRefused: The child's name is taken, the table is full, there are too few queries,
            or they are too much alike to be told apart.
    """
    before = site_of(table, parent)
    _check_new(table, child)
    if len(queries_NK) < SPLIT_QUERIES_MIN:
        raise GrowthRefused(
            child,
            f"{parent!r} has answered {len(queries_NK)} queries of late, and {SPLIT_QUERIES_MIN} "
            "are needed to find two halves; ask it more",
        )
    near, far = _two_sites(table, before, queries_NK)
    seats = _seats(table)
    spawned = replace(
        far,
        name=child,
        seat=None
        if seats is None or before.seat is None
        else nearest_free_seat(before.seat, seats),
        endpoint=None,
        split=Split(
            parent=parent,
            basin_K=before.basin_K,
            bearing_K=before.bearing_K,
            radii=before.radii,
            thresholds=before.thresholds,
        ),
    )
    if _alike(near, spawned):
        raise GrowthRefused(child, f"the queries of {parent!r} are alike: nothing to share out")
    others = tuple(near if site.name == parent else site for site in table.sites)
    return _next(table, (*others, spawned))


def retire_kernel(table: Table, name: str) -> Table:
    """Return the table without a kernel.

    A spawned kernel gives its parent back what it took: the last of a parent's children returns
    it to the bits it had before; an earlier one hands that memory on to the next. Whatever the
    order in which spawned kernels leave, the table they came from remains. The queries of others
    go to their next nearest kernel.

    Raises:
        UnknownKernel: No kernel has this name.
        GrowthRefused: It is the only one.
    """
    leaving = site_of(table, name)
    if len(table.sites) == 1:
        raise GrowthRefused(name, "it is the only kernel; add another first")
    heir = _heir(table, leaving)
    staying = (site for site in table.sites if site.name != name)
    return _next(table, tuple(_without(site, leaving, heir) for site in staying))


def unlearn_text(table: Table, texts: KernelTexts | SummedTexts, source: str) -> Table:
    """Return the table in which a kernel routes as if it had never read a source.

    Its basin and bearing are, to the bit, those of the kernel's other sources under the table's
    coordinates and background; all other kernels keep every bit. Radii, thresholds and
    temperatures, which held-out text calibrated, stay. What the kernel's weights learned is not
    undone.

    Args:
        table: The kernels that serve.
        texts: What training kept of the kernel's text, whatever was unlearned since.
        source: Name of one of its sources, or of a file that was cut into several: all go.

    Raises:
        UnknownKernel: The table has no such kernel.
        GrowthRefused: There is no such source, it is the last one, the kernel shares its queries
            with a spawned one, or the record is not that of this table.
    """
    name = texts.name
    before = site_of(table, name)
    if before.split is not None or any(
        site.split is not None and site.split.parent == name for site in table.sites
    ):
        raise GrowthRefused(name, "it shares its queries with a spawned kernel; remove that first")
    if isinstance(texts, KernelTexts):
        texts = SummedTexts(name=name, corpora=texts.sums())
    kept = {key: each for key, each in texts.corpora.items() if key not in before.unlearned}
    counted = replace(texts, corpora=kept)
    if not kept or not np.array_equal(counted.basin(), before.basin_K):
        raise GrowthRefused(name, "what training kept of its text is not this table's; train again")
    gone = parts_of(source, kept)
    if not gone:
        near = ", ".join(nearest_names(source, kept, most=SOURCES_SHOWN))
        first = ", ".join(sorted(kept)[:SOURCES_SHOWN])
        raise GrowthRefused(
            name,
            f"no text of {source!r} counts for it; nearest names: {near}; of {len(kept)} sources "
            f"the first: {first}; all of them: constellation sources {name}",
        )
    if len(gone) == len(kept):
        raise GrowthRefused(name, f"{source!r} is all its text; remove the kernel instead")
    if len(before.unlearned) + len(gone) > UNLEARNED_MAX:
        raise GrowthRefused(
            name,
            f"{source!r} is {len(gone)} of its sources, and {len(before.unlearned)} are unlearned "
            f"already; the table names at most {UNLEARNED_MAX} sources; train again without them",
        )
    left = {key: each for key, each in kept.items() if key not in gone}
    basin_K = replace(texts, corpora=left).basin()
    bearing_K = bearing(basin_K, table.background_K)
    if not has_bearing(bearing_K):
        raise GrowthRefused(name, "the rest of its text lies at the background")
    after = replace(
        before,
        basin_K=basin_K,
        bearing_K=bearing_K,
        basins_BK=basin_K[None],
        bearings_BK=bearing_K[None],
        unlearned=(*before.unlearned, *gone),
    )
    return _next(table, tuple(after if site is before else site for site in table.sites))


def _without(site: KernelSite, leaving: KernelSite, heir: str | None) -> KernelSite:
    """Return what a kernel that stays is after another has left."""
    if leaving.split is not None and site.name == heir:
        return _inherit(site, leaving.split)
    if site.split is not None and site.split.parent == leaving.name:
        return replace(site, split=None)  # nobody is left to give anything back to
    return site


def _heir(table: Table, leaving: KernelSite) -> str | None:
    """Return who remembers the parent's former site: its next child, else the parent itself."""
    if leaving.split is None:
        return None
    names = [site.name for site in table.sites]
    later = table.sites[names.index(leaving.name) + 1 :]
    parent = leaving.split.parent
    siblings = [site.name for site in later if site.split and site.split.parent == parent]
    return siblings[0] if siblings else parent


def _inherit(site: KernelSite, before: Split) -> KernelSite:
    if site.name != before.parent:
        return replace(site, split=before)
    return replace(
        site,
        basin_K=before.basin_K,
        bearing_K=before.bearing_K,
        basins_BK=before.basin_K[None],
        bearings_BK=before.bearing_K[None],
        radii=before.radii,
        thresholds=before.thresholds,
    )


def _two_sites(
    table: Table, before: KernelSite, queries_NK: FloatArray
) -> tuple[KernelSite, KernelSite]:
    """Return the sites at the centres of two halves of the queries, the nearer one first."""
    centres_2K = discover(queries_NK, num_shards=2).centres_MK
    order = np.argsort(distance(centres_2K, before.basin_K), kind="stable")
    first, second = (_moved(table, before, centres_2K[row]) for row in order)
    return first, second


def _moved(table: Table, before: KernelSite, basin_K: FloatArray) -> KernelSite:
    bearing_K = bearing(basin_K, table.background_K)
    shift = {
        Rule.GEODESIC: float(distance(basin_K, before.basin_K)),
        Rule.BEARING: float(angle(bearing_K, before.bearing_K)),
    }
    return replace(
        before,
        basin_K=basin_K,
        bearing_K=bearing_K,
        basins_BK=basin_K[None],
        bearings_BK=bearing_K[None],
        # By the triangle inequality; pi is as far as anything can be.
        radii={rule: min(pi, radius + shift[rule]) for rule, radius in before.radii.items()},
        thresholds=_widened(table, before, shift),
    )


def _widened(table: Table, before: KernelSite, shift: Mapping[Rule, float]) -> Thresholds | None:
    """Return the thresholds that hold for a kernel, wider by what it moved; None without any."""
    held = before.thresholds or (None if table.refusal is None else table.refusal.thresholds)
    if held is None:
        return None
    excess = {rule: np.minimum(pi, held.excess[rule] + shift[rule]) for rule in Rule}
    return replace(held, excess=excess)


def _alike(one: KernelSite, other: KernelSite) -> bool:
    if not (has_bearing(one.bearing_K) and has_bearing(other.bearing_K)):
        return True
    apart = (distance(one.basin_K, other.basin_K), angle(one.bearing_K, other.bearing_K))
    return float(min(apart)) < _APART_MIN


def site_of(table: Table, name: str) -> KernelSite:
    """Return the site of a kernel.

    Raises:
        UnknownKernel: No kernel has this name.
    """
    for site in table.sites:
        if site.name == name:
            return site
    raise UnknownKernel(name, [site.name for site in table.sites])


def _check_new(table: Table, name: str) -> None:
    if any(site.name == name for site in table.sites):
        raise GrowthRefused(name, "the name is taken; choose another, or remove that kernel first")
    if len(table.sites) >= KERNELS_MAX:
        raise GrowthRefused(name, f"there are {KERNELS_MAX} kernels already; remove one first")


def _seat_of(site: KernelSite, table: Table) -> int | None:
    """Return the seat of a kernel that joins: its former one, or the free one that fits best."""
    seats = _seats(table)
    if seats is None:
        return None
    if site.seat is not None and site.seat not in seats:
        return site.seat
    return free_seat(site.basin_K, np.stack([other.basin_K for other in table.sites]), seats)


def _seats(table: Table) -> Sequence[int] | None:
    """Return the seats in use; None when the table's kernels have none."""
    seats = [site.seat for site in table.sites if site.seat is not None]
    return seats if len(seats) == len(table.sites) else None


def _next(table: Table, sites: tuple[KernelSite, ...]) -> Table:
    return replace(table, version=table.version + 1, sites=sites)
