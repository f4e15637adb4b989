"""Add, remove, spawn or unlearn: change the set of text records, one per kernel (model).

A kernel and the kernels spawned from it are a family. The family's root holds the text, and every
document counts for one member: a document of a spawned kernel counts for that kernel and not for
its parent. Only the division of documents is stored, never a query.

Shapes: K outcomes, N documents or queries.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from constellation.coordizer.coordizer import Coordizer
from constellation.domains.encoded_documents import join_documents, token_dtype
from constellation.domains.record import Domain, Spawned, unlearn
from constellation.errors import ConfigError, GrowthRefused, IncompatibleKernels, UnknownKernel
from constellation.geometry.bearings import angle, bearing, has_bearing
from constellation.geometry.e8 import NUM_ROOTS
from constellation.geometry.means import hellinger_mean
from constellation.geometry.simplex import distance
from constellation.records import FloatArray
from constellation.routing.balanced_clusters import cluster_balanced
from constellation.wire.kernel_names import check_kernel_name

KERNELS_MAX: Final = NUM_ROOTS
"""Most kernels of one table: each kernel has a seat of its own."""

SPLIT_QUERIES_MIN: Final = 16
"""Least number of queries for a spawn: fewer queries do not show where the two halves lie."""

SPLIT_SHARE_MIN: Final = 0.05
"""Least share of the parent's documents on each side of a split. If the centres of the queries give
one side less, the documents are divided into two halves by their difference of distances."""

_APART_MIN: Final = 1e-3
"""Least distance in radians between the centres of two halves, under both rules, so that both
halves get queries."""


def by_name(domains: Collection[Domain]) -> dict[str, Domain]:
    """Index records by name, in the order of names.

    Raises:
        ConfigError: Two records have the same name.
    """
    named = {domain.name: domain for domain in sorted(domains, key=lambda each: each.name)}
    if len(named) != len(domains):
        names = sorted(domain.name for domain in domains)
        raise ConfigError(f"records of domains need different names, got {', '.join(names)}")
    return named


def root_of(named: Mapping[str, Domain], name: str) -> Domain:
    """Return the record that holds a kernel's text: its own, or that of its family's root.

    Raises:
        ConfigError: A parent has no record here, or a kernel descends from itself.
    """
    domain, seen = named[name], {name}
    while domain.spawned is not None:
        parent = domain.spawned.parent
        if parent not in named or parent in seen:
            raise ConfigError(
                f"kernel {domain.name!r} was spawned by {parent!r}, which has no text record here"
            )
        seen.add(parent)
        domain = named[parent]
    return domain


def children_of(named: Mapping[str, Domain], name: str) -> tuple[str, ...]:
    """Return the kernels that were spawned by a kernel, in the order of names."""
    return tuple(
        each.name
        for each in named.values()
        if each.spawned is not None and each.spawned.parent == name
    )


def documents_of(named: Mapping[str, Domain], name: str) -> NDArray[np.int64]:
    """Return the training documents of the family's root that count for a kernel, ascending.

    They are the kernel's own documents without those of its children.
    """
    domain = named[name]
    own = domain.spawned.documents_N if domain.spawned else np.arange(len(domain.train))
    for child in children_of(named, name):
        spawned = named[child].spawned
        assert spawned is not None
        own = np.setdiff1d(own, spawned.documents_N)
    return own.astype(np.int64)


def add(domains: Collection[Domain], joining: Domain) -> tuple[Domain, ...]:
    """Return the set of records with that of a new kernel, which has text of its own.

    Raises:
        GrowthRefused: The name is taken, the table is full, or the kernel was spawned.
        IncompatibleKernels: The new kernel's tokens are of another vocabulary.
    """
    named = by_name(domains)
    _check_new(named, joining.name)
    if joining.spawned is not None:
        parent = joining.spawned.parent
        raise GrowthRefused(joining.name, f"it has no text of its own; spawn it from {parent!r}")
    if any(domain.tokenizer_hash != joining.tokenizer_hash for domain in named.values()):
        raise IncompatibleKernels(joining.name)
    return tuple(by_name([*domains, joining]).values())


def retire(domains: Collection[Domain], name: str) -> tuple[Domain, ...]:
    """Return the set of records without the record of one kernel.

    The documents of a removed spawned kernel count for its parent again, and the kernels that were
    spawned from it become children of its parent. In whatever order spawned kernels are removed,
    the original set remains.

    Raises:
        UnknownKernel: No kernel has this name.
        GrowthRefused: The kernel is the only one, or spawned kernels share its text.
    """
    named = by_name(domains)
    leaving = _known(named, name)
    children = children_of(named, name)
    if len(named) == 1:
        raise GrowthRefused(name, "it is the only kernel; add another kernel first")
    if leaving.spawned is None and children:
        raise GrowthRefused(
            name, f"its text is shared with {', '.join(children)}; remove them first"
        )
    del named[name]
    for child in children:
        spawned = named[child].spawned
        assert spawned is not None
        assert leaving.spawned is not None
        handed = replace(spawned, parent=leaving.spawned.parent)
        named[child] = replace(named[child], spawned=handed)
    return tuple(named.values())


def unlearn_source(domains: Collection[Domain], name: str, source: str) -> tuple[Domain, ...]:
    """Return the set of records without one source of one kernel's text; see `unlearn`.

    Raises:
        UnknownKernel: No kernel has this name.
        GrowthRefused: As in `unlearn`, or spawned kernels share the kernel's text.
    """
    named = by_name(domains)
    before = _known(named, name)
    if children := children_of(named, name):
        raise GrowthRefused(
            name,
            f"it shares its queries with spawned kernels; remove them first: {', '.join(children)}",
        )
    named[name] = unlearn(before, source)
    return tuple(named.values())


def spawn(
    domains: Collection[Domain],
    parent: str,
    child: str,
    queries_NK: FloatArray,
    coordizer: Coordizer,
) -> Domain:
    """Return the record of a new kernel that gets a part of its parent's documents.

    The queries are clustered into two groups of about equal size, and the parent's documents are
    divided by the two centres. Documents nearer to the centre that lies further from the parent
    count for the child.

    Args:
        domains: Records of the served kernels.
        parent: Name of the kernel that is split.
        child: Name of the new kernel.
        queries_NK: Basins of queries that were routed to the parent, simplex points; only the
            division of documents is stored.
        coordizer: Coordizer under which the basins were computed.

    Raises:
        UnknownKernel: No kernel is named `parent`.
        GrowthRefused: The child's name is taken, the table is full, there are too few queries or
            documents, or they are too similar to be divided.
        InvalidRequest: The child's name is not a valid name of a kernel.
    """
    check_kernel_name("name", child)
    named = by_name(domains)
    before = _known(named, parent)
    _check_new(named, child)
    if len(queries_NK) < SPLIT_QUERIES_MIN:
        raise GrowthRefused(
            child,
            f"{parent!r} has answered {len(queries_NK)} queries lately, and a spawn needs at least "
            f"{SPLIT_QUERIES_MIN}; send it more queries first",
        )
    own_N = documents_of(named, parent)
    if len(own_N) < 2:
        raise GrowthRefused(child, f"{parent!r} has {len(own_N)} documents; a spawn needs 2")
    evidence = root_of(named, parent).train.evidence()
    basins_NK = coordizer.basin_estimator.basins([evidence[row] for row in own_N])
    near_K, far_K = _centres(queries_NK, hellinger_mean(basins_NK))
    taken_N = _nearer(basins_NK, far_K, near_K)
    halves = [(near_K, far_K)]
    halves.append((hellinger_mean(basins_NK[~taken_N]), hellinger_mean(basins_NK[taken_N])))
    if any(_too_similar(one, other, coordizer.background_K) for one, other in halves):
        raise GrowthRefused(
            child, f"the queries of {parent!r} are too similar to be divided in two"
        )
    dtype = token_dtype(before.vocab_size)
    empty = join_documents([], [], [], dtype=dtype)
    return Domain(
        name=child,
        tokenizer_hash=before.tokenizer_hash,
        vocab_size=before.vocab_size,
        train=empty,
        dev=empty,
        counts=None,
        spawned=Spawned(parent=parent, documents_N=own_N[taken_N]),
    )


def _centres(queries_NK: FloatArray, before_K: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the centres of two halves of the queries; the centre nearer to the parent is first."""
    centres_2K = cluster_balanced(queries_NK, num_shards=2).centres_MK
    near, far = np.argsort(distance(centres_2K, before_K), kind="stable")
    return centres_2K[near], centres_2K[far]


def _nearer(basins_NK: FloatArray, wanted_K: FloatArray, other_K: FloatArray) -> NDArray[np.bool_]:
    """Return the documents nearer to one centre than to another; a half if a side is too small."""
    further_N = distance(basins_NK, wanted_K) - distance(basins_NK, other_K)
    taken_N: NDArray[np.bool_] = further_N < 0
    least = max(1, int(np.ceil(SPLIT_SHARE_MIN * len(taken_N))))
    if min(taken_N.sum(), (~taken_N).sum()) < least:
        taken_N = np.zeros(len(further_N), dtype=bool)
        taken_N[np.argsort(further_N, kind="stable")[: len(further_N) // 2]] = True
    return taken_N


def _too_similar(one_K: FloatArray, other_K: FloatArray, background_K: FloatArray) -> bool:
    bearings = [bearing(each_K, background_K) for each_K in (one_K, other_K)]
    if not all(map(has_bearing, bearings)):
        return True
    return float(min(distance(one_K, other_K), angle(*bearings))) < _APART_MIN


def _known(named: Mapping[str, Domain], name: str) -> Domain:
    if name not in named:
        raise UnknownKernel(name, list(named))
    return named[name]


def _check_new(named: Mapping[str, Domain], name: str) -> None:
    if name in named:
        raise GrowthRefused(name, "the name is taken; choose another, or remove that kernel first")
    if len(named) >= KERNELS_MAX:
        raise GrowthRefused(name, f"there are {KERNELS_MAX} kernels already; remove one first")
