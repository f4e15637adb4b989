"""Fit every token's simplex point and the routing table to the text records of all kernels.

A pure function of the set of records: records are processed in the order of their names, and
earlier fits are not used, so neither the order in which kernels joined nor kernels that left make a
difference.

Shapes: V tokens of the vocabulary, K outcomes, N documents.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from constellation.coordizer.artifacts import Provenance
from constellation.coordizer.blocks import Blocks, allocate_blocks, outcomes_for
from constellation.coordizer.coordinates import anchored, block_counts
from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.count_factorisation import count_windows
from constellation.domains.calibration_passages import first_passages
from constellation.domains.encoded_documents import IdArray
from constellation.domains.membership import by_name, children_of, documents_of, root_of
from constellation.domains.record import Domain
from constellation.domains.refusal_thresholds import fit_thresholds
from constellation.domains.site_texts import texts_of
from constellation.errors import ConfigError, CorpusError, IncompatibleKernels
from constellation.geometry.bearings import bearing
from constellation.geometry.means import hellinger_mean
from constellation.geometry.seat_assignment import SeatAssignment, assign_seats
from constellation.records import FloatArray, KernelSite, Rule, Share, Table
from constellation.routing.calibration import Calibration, calibrate, make_table
from constellation.routing.site_fit import KernelTexts, SiteFit, fit_sites


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """Options of a fit: plain values, stored together with the result."""

    seed: int = 0
    """Seed of the coordinates' fit."""
    num_outcomes: int = 64
    """Least number of outcomes K; more domains than fit get a larger K (`blocks.outcomes_for`)."""
    smoothing: float = 1.0
    """Smoothing constant, as in `Coordinates.smoothing`."""
    basins_max: int = 1
    """Most basins (points of the simplex) of one kernel."""
    keep_coordinates: bool = False
    """Keep the given coordinates and fit only the table, for coordinates that are anchored to other
    domains than the kernels'. Coordinates that were fitted without labels are always kept."""

    def __post_init__(self) -> None:
        """Check that every setting is in range."""
        if self.num_outcomes < 2 or self.basins_max < 1 or not self.smoothing > 0:
            raise ConfigError(
                "need num_outcomes >= 2, basins_max >= 1 and smoothing > 0, got "
                f"{self.num_outcomes}, {self.basins_max} and {self.smoothing}"
            )


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Fitted:
    """Result of a fit: coordizer, routing table and measured statistics."""

    coordizer: Coordizer
    """The tokens with their fitted coordinates."""
    table: Table
    """Routing table, version 1, without endpoints; kernels in the order of names."""
    texts: tuple[KernelTexts, ...]
    """Basins of each kernel's own texts, from which its row of the table is made, in the order of
    names."""
    seating: SeatAssignment | None
    """Seats of the kernels (E8 roots) with their distortion."""
    accuracy: Mapping[Rule, float]
    """Rule -> share of held-out passages whose nearest kernel is their own, or of its family;
    higher is better."""
    num_passages: int


def fit(
    domains: Collection[Domain], tokens: Coordizer, options: FitOptions | None = None
) -> Fitted:
    """Fit token coordinates and the routing table to a set of records.

    Args:
        domains: Text records, one for each kernel.
        tokens: Coordizer with the vocabulary; its coordinates are used only if they are kept.
        options: Options of the fit; None means the defaults.

    Raises:
        ConfigError: There is no record, names repeat, a parent is missing, or a kernel's basin
            lies at the background.
        CorpusError: A domain has no held-out token to calibrate on.
        IncompatibleKernels: A record's tokens are of another vocabulary.
    """
    options = options or FitOptions()
    return fit_table(domains, fit_coordizer(domains, tokens, options), options)


def fit_coordizer(domains: Collection[Domain], tokens: Coordizer, options: FitOptions) -> Coordizer:
    """Fit the token coordinates alone to a set of records; arguments and errors as in `fit`."""
    named = _checked(domains, tokens)
    if options.keep_coordinates or not tokens.parts.blocks:
        return tokens
    roots = [domain for domain in named.values() if domain.spawned is None]
    names = [domain.name for domain in roots]
    num_outcomes = outcomes_for(len(names), options.num_outcomes)
    blocks = allocate_blocks(names, num_outcomes=num_outcomes)
    coordinates = anchored(
        blocks,
        lambda name: _counts(named[name], blocks, options.seed),
        vocab_size=tokens.vocab_size,
        num_outcomes=num_outcomes,
        smoothing=options.smoothing,
    )
    provenance = Provenance(
        corpus_bytes=_num_bytes(roots, tokens),
        corpus_sha256=_corpus_sha256(roots),
        num_documents=sum(len(domain.train) for domain in roots),
        seed=options.seed,
        seconds_merges=tokens.provenance.seconds_merges,
    )
    return tokens.with_coordinates(coordinates).with_provenance(provenance)


def fit_table(
    domains: Collection[Domain], coordizer: Coordizer, options: FitOptions | None = None
) -> Fitted:
    """Fit the routing table under the given coordinates; arguments and errors as in `fit`.

    Basins of kernels are computed from training documents; radii, temperatures and thresholds from
    held-out documents. The members of a family of spawned kernels get the basins of its root.
    """
    options = options or FitOptions()
    named = _checked(domains, coordizer)
    roots = [domain for domain in named.values() if domain.spawned is None]
    basins = {root.name: coordizer.basin_estimator.basins(root.train.evidence()) for root in roots}
    texts = tuple(
        texts_of(root.name, basins[root.name], root.train.rows_by_source()) for root in roots
    )
    is_plain = len(roots) == len(named)
    found = fit_sites(
        texts,
        background_K=coordizer.background_K,
        seats=is_plain,
        basins_max=options.basins_max,
    )
    calibration = _calibrated(roots, found, coordizer)
    refusal = fit_thresholds(
        roots,
        found.sites,
        coordizer,
        smoothing=options.smoothing,
        basins_max=options.basins_max,
    )
    made = make_table(
        found.sites,
        calibration,
        background_K=coordizer.background_K,
        coordizer_hash=coordizer.hash,
        refusal=refusal,
    )
    shares = {} if is_plain else _shares(named, basins, coordizer.background_K)
    sites, seating = _members(named, made.sites, shares, found.seating)
    return Fitted(
        coordizer=coordizer,
        table=replace(made, sites=sites),
        texts=texts,
        seating=seating,
        accuracy=calibration.accuracy,
        num_passages=calibration.num_texts,
    )


def _checked(domains: Collection[Domain], tokens: Coordizer) -> dict[str, Domain]:
    named = by_name(domains)
    if not named:
        raise ConfigError("a constellation needs the text record of at least one kernel")
    for name, domain in named.items():
        if domain.tokenizer_hash != tokens.tokenizer_hash:
            raise IncompatibleKernels(name)
        root_of(named, name)
    return named


def _counts(domain: Domain, blocks: Blocks, seed: int) -> FloatArray:
    """Return a record's counts for the coordinates: the stored counts, if they have this seed."""
    counts, vocab_size = domain.counts, domain.vocab_size
    if counts is not None and counts.seed == seed:
        return counts.of_block(blocks, domain.name, vocab_size=vocab_size)
    windows_WV = count_windows(domain.train.tokens(), vocab_size=vocab_size)
    return block_counts(windows_WV, blocks, domain.name, seed=seed)


def _calibrated(roots: Sequence[Domain], found: SiteFit, coordizer: Coordizer) -> Calibration:
    passages: list[IdArray] = []
    labels: list[str] = []
    for root in roots:
        own = first_passages(root.dev.evidence())
        if not own:
            raise CorpusError(
                f"domain {root.name!r}",
                "no held-out document has a token to calibrate on; add text",
            )
        passages += own
        labels += [root.name] * len(own)
    basins_NK = coordizer.basin_estimator.basins(passages)
    return calibrate(found.sites, basins_NK, labels, background_K=coordizer.background_K)


def _shares(
    named: Mapping[str, Domain], basins: Mapping[str, FloatArray], background_K: FloatArray
) -> dict[str, Share]:
    shares = {}
    for name, domain in named.items():
        if domain.spawned is None and not children_of(named, name):
            continue
        root = root_of(named, name).name
        basin_K = hellinger_mean(basins[root][documents_of(named, name)])
        bearing_K = bearing(basin_K, background_K)
        shares[name] = Share(family=root, basin_K=basin_K, bearing_K=bearing_K)
    return shares


def _members(
    named: Mapping[str, Domain],
    sites: Sequence[KernelSite],
    shares: Mapping[str, Share],
    seating: SeatAssignment | None,
) -> tuple[tuple[KernelSite, ...], SeatAssignment | None]:
    """Return the table's row for every kernel, in the order of names, and the kernels' seats."""
    of = {site.name: site for site in sites}
    members = [replace(of[root_of(named, name).name], name=name) for name in named]
    if shares:
        # The members of a family have the same basins, so the centres of their shares decide seats.
        placed = [
            shares[each.name].basin_K if each.name in shares else each.basin_K for each in members
        ]
        seating = assign_seats(np.stack(placed))
        members = [
            replace(each, seat=seat) for each, seat in zip(members, seating.seats, strict=True)
        ]
    return (
        tuple(
            replace(each, phi_gauge=named[each.name].phi_gauge, share=shares.get(each.name))
            for each in members
        ),
        seating,
    )


def _num_bytes(roots: Sequence[Domain], tokens: Coordizer) -> int:
    size_V = np.array([len(tokens.token_bytes(token)) for token in range(tokens.vocab_size)])
    return sum(int(size_V[root.train.tokens_T].sum()) for root in roots)


def _corpus_sha256(roots: Sequence[Domain]) -> str:
    """Return the sha256 (hex) of the names, tokens and ends of all training documents."""
    digest = hashlib.sha256()
    for root in roots:
        for data in (
            root.name.encode(),
            root.train.tokens_T.astype("<u4").tobytes(),
            root.train.ends_N.astype("<i8").tobytes(),
        ):
            digest.update(len(data).to_bytes(8, "little"))
            digest.update(data)
    return digest.hexdigest()
