"""Compare two releases: which kernels, files, basins, seats and thresholds differ.

The result is a record, and lines for people. Shapes: B basins of a kernel, K outcomes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from constellation.coordizer.artifacts import MERGE_RULES, META, VOCAB
from constellation.errors import ArtifactError
from constellation.geometry.simplex import distance
from constellation.records import FloatArray, KernelSite, Rule, Table
from constellation.releases.manifest import KernelFiles, Release
from constellation.releases.store import ReleaseStore


@dataclass(frozen=True, kw_only=True, slots=True)
class KernelChange:
    """Differences of one kernel that is in both releases."""

    name: str
    files: tuple[str, ...]
    """Paths in the kernel's folder that only one release has, or whose contents differ."""
    base_changed: bool
    """Whether the adapter has another base, or its base has other files."""
    text_changed: bool
    """Whether the text record of the kernel differs."""
    moved_rad: float | None
    """Largest movement of the kernel's basins, Fisher-Rao distance, radians in [0, pi]; None when
    the simplexes have different numbers of outcomes."""
    num_basins: tuple[int, int]
    """Number of basins of the kernel, before and after."""
    share_changed: bool
    """Whether the kernel gets another part of its family's queries, or is of another family."""
    arrived: tuple[float | None, float | None]
    """Share of the kernel's held-out passages whose nearest kernel it is, before and after, higher
    is better; None when not measured."""
    radius_rad: float
    """Largest change of the kernel's radius over the rules, radians."""
    seats: tuple[int | None, int | None]
    """Seat (E8 root) of the kernel, before and after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CoordizerChange:
    """Differences of the coordizers of two releases, for tokens and for coordinates."""

    hashes: tuple[str, str]
    """sha256 (hex) of vocabulary, coordinates, background and settings, before and after."""
    tokens_changed: bool
    blocks: tuple[str, ...]
    """Domains whose outcomes differ, or that only one coordizer has."""
    num_outcomes: tuple[int, int]

    @property
    def changed(self) -> bool:
        """Whether a text may have another basin."""
        return self.hashes[0] != self.hashes[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Differences of two releases."""

    before: int
    after: int
    same: bool
    """Whether all that is served is equal to the bit."""
    joined: tuple[str, ...]
    """Kernels that only the second release has, by name."""
    left: tuple[str, ...]
    """Kernels that only the first release has, by name."""
    kernels: tuple[KernelChange, ...]
    """Differences of the kernels that both releases have; kernels without differences are
    omitted."""
    coordizer: CoordizerChange
    temperatures: Mapping[str, tuple[float | None, float | None]]
    """Rule -> temperature before and after in radians, where it changed."""
    thresholds_changed: bool
    """Whether the thresholds of refusal, which all kernels share, differ."""
    options: tuple[str, ...]
    """Options of the fit whose values differ."""

    @property
    def moved_rad(self) -> float | None:
        """Largest movement of any basin, radians; None when one movement is undefined."""
        moved = [kernel.moved_rad for kernel in self.kernels]
        return None if None in moved else max((each for each in moved if each), default=0.0)

    def words(self) -> list[str]:
        """Return the differences as lines for people."""
        if self.same:
            return [f"releases {self.before} and {self.after} serve the same, to the bit"]
        lines = [
            *_listed("joined", self.joined),
            *_listed("left", self.left),
            *_coordizer_words(self.coordizer),
            *(f"{kernel.name}: {', '.join(_kernel_words(kernel))}" for kernel in self.kernels),
            *(
                f"temperature of rule {rule}: {_number(before)} to {_number(after)} rad"
                for rule, (before, after) in self.temperatures.items()
            ),
            *(["thresholds of refusal changed"] if self.thresholds_changed else []),
            *_listed("options that changed", self.options),
        ]
        return lines or ["the tables differ, in nothing that kernels or routes depend on"]


def compare(store: ReleaseStore, before: int, after: int) -> Comparison:
    """Compare two releases of a store.

    Raises:
        ArtifactError: A release does not exist, or a file of it is missing or damaged.
    """
    old, new = store.read(before), store.read(after)
    old_table, new_table = store.table(old), store.table(new)
    old_names, new_names = ({kernel.name for kernel in each.kernels} for each in (old, new))
    return Comparison(
        before=before,
        after=after,
        same=old.content_sha256 == new.content_sha256,
        joined=tuple(sorted(new_names - old_names)),
        left=tuple(sorted(old_names - new_names)),
        kernels=_kernel_changes(old, new, old_table, new_table),
        coordizer=_coordizer_change(store, old, new, (old_table, new_table)),
        temperatures=_temperatures(old_table, new_table),
        thresholds_changed=_thresholds(old_table) != _thresholds(new_table),
        options=_keys_that_differ(old.options, new.options),
    )


def _kernel_changes(
    old: Release, new: Release, old_table: Table, new_table: Table
) -> tuple[KernelChange, ...]:
    after = {kernel.name: kernel for kernel in new.kernels}
    old_sites, new_sites = _sites(old_table), _sites(new_table)
    changes = []
    for kernel in old.kernels:
        sites = (old_sites.get(kernel.name), new_sites.get(kernel.name))
        if kernel.name in after and sites[0] is not None and sites[1] is not None:
            other = after[kernel.name]
            based = (old.bases.get(kernel.base or ""), new.bases.get(other.base or ""))
            change = _kernel_change(kernel, other, sites[0], sites[1], based[0] != based[1])
            changes += [] if change is None else [change]
    return tuple(changes)


def _kernel_change(
    old: KernelFiles, new: KernelFiles, site: KernelSite, moved: KernelSite, base_changed: bool
) -> KernelChange | None:
    change = KernelChange(
        name=old.name,
        files=_keys_that_differ(old.files, new.files),
        base_changed=base_changed or old.base != new.base,
        text_changed=old.domain != new.domain,
        moved_rad=farthest(site.basins_BK, moved.basins_BK),
        num_basins=(len(site.basins_BK), len(moved.basins_BK)),
        share_changed=_share(site) != _share(moved),
        arrived=(site.arrived, moved.arrived),
        radius_rad=max(abs(site.radii[rule] - moved.radii[rule]) for rule in Rule),
        seats=(site.seat, moved.seat),
    )
    return change if _kernel_words(change) else None


def farthest(old_BK: FloatArray, new_BK: FloatArray) -> float | None:
    """Return the largest distance from a basin of either set to the nearest basin of the other.

    This is the Hausdorff distance of the two sets; for one basin each it is their distance.

    Args:
        old_BK: Simplex points, shape (B, K).
        new_BK: Simplex points; their number B may differ.

    Returns:
        Radians in [0, pi], 0 for equal sets; None when K differs.
    """
    if old_BK.shape[1] != new_BK.shape[1]:
        return None
    between = np.asarray(distance(old_BK[:, None], new_BK[None]))
    return float(max(between.min(axis=0).max(), between.min(axis=1).max()))


def _share(site: KernelSite) -> object:
    return None if site.share is None else (site.share.family, site.share.basin_K.tolist())


def _sites(table: Table) -> dict[str, KernelSite]:
    return {site.name: site for site in table.sites}


def _coordizer_change(
    store: ReleaseStore, old: Release, new: Release, tables: tuple[Table, Table]
) -> CoordizerChange:
    blocks = _blocks(store, old), _blocks(store, new)
    tokens = (VOCAB, MERGE_RULES)
    return CoordizerChange(
        hashes=(tables[0].coordizer_hash, tables[1].coordizer_hash),
        tokens_changed=any(old.coordizer.get(name) != new.coordizer.get(name) for name in tokens),
        blocks=_keys_that_differ(*blocks),
        num_outcomes=(tables[0].background_K.size, tables[1].background_K.size),
    )


def _blocks(store: ReleaseStore, release: Release) -> dict[str, object]:
    if META not in release.coordizer:
        raise ArtifactError(f"release {release.version}", f"its coordizer has no {META}")
    path = store.blobs.path(release.coordizer[META])
    try:
        return dict(json.loads(store.blobs.read(release.coordizer[META]))["blocks"])
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(path, f"does not describe a coordizer: {error!r}") from error


def _temperatures(old: Table, new: Table) -> dict[str, tuple[float | None, float | None]]:
    found = {str(rule): (old.temperatures.get(rule), new.temperatures.get(rule)) for rule in Rule}
    return {rule: values for rule, values in found.items() if values[0] != values[1]}


def _thresholds(table: Table) -> object:
    if table.refusal is None:
        return None
    kept = table.refusal.thresholds
    return kept.lengths, kept.shares, {rule: kept.excess[rule].tolist() for rule in Rule}


def _keys_that_differ(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    missing = object()
    keys = sorted({*old, *new})
    return tuple(key for key in keys if old.get(key, missing) != new.get(key, missing))


def _kernel_words(change: KernelChange) -> list[str]:
    moved = change.moved_rad
    return [
        *([f"other files ({', '.join(change.files)})"] if change.files else []),
        *(["another base"] if change.base_changed else []),
        *(["other text"] if change.text_changed else []),
        *(["its basins are on another simplex"] if moved is None else []),
        *([f"basins moved by at most {moved:.2g} rad"] if moved else []),
        *_became("basins", *change.num_basins),
        *(["another share of its family"] if change.share_changed else []),
        *_became("of its held-out passages arriving", *change.arrived),
        *([f"radius changed by {change.radius_rad:.2g} rad"] if change.radius_rad else []),
        *_became("as its seat", *change.seats),
    ]


def _coordizer_words(change: CoordizerChange) -> list[str]:
    if not change.changed:
        return []
    parts = [
        "other tokens" if change.tokens_changed else "the same tokens at other coordinates",
        *([f"other blocks for {', '.join(change.blocks)}"] if change.blocks else []),
        *_became("outcomes", *change.num_outcomes),
    ]
    return [f"coordizer: {', '.join(parts)}"]


def _listed(title: str, names: tuple[str, ...]) -> list[str]:
    return [f"{title}: {', '.join(names)}"] if names else []


def _became(what: str, before: float | None, after: float | None) -> list[str]:
    same = before == after
    return [] if same else [f"{_number(after)} {what} instead of {_number(before)}"]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
