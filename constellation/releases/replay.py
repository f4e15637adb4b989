"""Where queries would go under another release, and where they go now: before a switch, not after.

Decides by the code of the router: the same tokens, evidence, basin and policy. It knows of no
kernel that is down or busy: it says what the releases say.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from constellation.coordizer.coordizer import Coordizer
from constellation.coordizer.evidence import evidence_tokens
from constellation.errors import ArtifactError
from constellation.records import Route, Rule, TokenArray
from constellation.releases.manifest import TABLE_PATH
from constellation.releases.queries import Query
from constellation.releases.store import ReleaseStore
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import load_table

LISTED_MAX: Final = 1000
"""Queries that a report lists one by one when nobody says how many."""
_SHOWN_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """How routers decide when a request names nothing else: their settings."""

    rule: Rule
    top_k: int
    """Kernels that share the weight, at least 1."""
    phi_weighting: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """A query under two releases."""

    line: int
    text: str
    before: Route
    after: Route

    @property
    def moved(self) -> bool:
        """Whether another kernel would answer."""
        return self.before.kernel != self.after.kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedQuery:
    """A query that would go elsewhere."""

    line: int
    text: str
    """Its beginning."""
    before: str
    """The kernel that answers now."""
    after: str
    """The kernel that would."""
    margin_before: float
    """By how much the first was nearer than the second, radians: small ones are a toss-up."""
    margin_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedPair:
    """How many queries would leave one kernel for another."""

    before: str
    after: str
    num_queries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """What a replay found."""

    before: int
    """The release that queries were compared with."""
    after: int
    num_queries: int
    num_passed_over: int
    """Lines that no router accepts: empty, or over 1 MiB."""
    num_moved: int
    num_newly_out_of_domain: int
    """Queries that the second release counts as out of every domain and the first does not."""
    num_no_longer_out_of_domain: int
    pairs: tuple[MovedPair, ...]
    """The most frequent first, then by name."""
    moved: tuple[MovedQuery, ...]
    """In the order of the file, at most as many as were asked for."""


class ReleaseRouter:
    """Decides as a router that serves a release does, with every kernel up.

    Args:
        folder: Of the release.
        terms: The router's settings.

    Raises:
        ArtifactError: The coordizer or the table is damaged, or the two do not belong together.
    """

    def __init__(self, folder: Path, terms: Terms) -> None:
        self.coordizer = Coordizer.load(folder / "coordizer")
        table = load_table(folder / TABLE_PATH)
        if table.coordizer_hash != self.coordizer.hash:
            raise ArtifactError(folder / TABLE_PATH, "was made with another coordizer")
        self._policy = RoutingPolicy(
            table,
            rule=terms.rule,
            top_k=min(terms.top_k, len(table.sites)),
            phi_weighting=terms.phi_weighting,
        )

    def evidence(self, text: str) -> TokenArray:
        """Return the tokens that the basin of a text is folded from."""
        return evidence_tokens(text, self.coordizer.encode(text), self.coordizer.encode)

    def decide(self, counted: TokenArray) -> Route:
        """Return the route of a text with this evidence."""
        return self._policy.decide(self.coordizer.basin(counted), num_tokens=len(counted))


def replay(
    store: ReleaseStore,
    version: int,
    queries: Iterable[Query],
    terms: Terms,
    *,
    against: int | None = None,
) -> Iterator[Replayed]:
    """Yield where each query goes under two releases, one query at a time.

    Args:
        store: Of the releases.
        version: The release that is tried.
        queries: Those without a text are passed over.
        terms: The settings of the routers.
        against: The release that is compared with; None takes the current one.

    Raises:
        ArtifactError: A release is not there, or damaged; or none is current.
    """
    before = ReleaseRouter(store.folder(compared_with(store, against)), terms)
    after = ReleaseRouter(store.folder(version), terms)
    same_tokens = before.coordizer.tokenizer_hash == after.coordizer.tokenizer_hash
    for query in queries:
        if query.text is None:
            continue
        counted = before.evidence(query.text)
        yield Replayed(
            line=query.line,
            text=query.text,
            before=before.decide(counted),
            after=after.decide(counted if same_tokens else after.evidence(query.text)),
        )


def report(
    store: ReleaseStore,
    version: int,
    queries: Iterable[Query],
    terms: Terms,
    *,
    against: int | None = None,
    listed_max: int = LISTED_MAX,
) -> ReplayReport:
    """Replay queries and count what changes.

    Args:
        store: As for `replay`, like the next four.
        version: See `replay`.
        queries: See `replay`.
        terms: See `replay`.
        against: See `replay`.
        listed_max: Queries that are listed one by one, at least 0; all are counted.

    Raises:
        ArtifactError: As `replay`.
    """
    counts: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    moved: list[MovedQuery] = []

    def counted() -> Iterator[Query]:
        for query in queries:
            counts["passed over"] += query.text is None
            yield query

    for each in replay(store, version, counted(), terms, against=against):
        counts["queries"] += 1
        counts["newly"] += each.after.out_of_domain and not each.before.out_of_domain
        counts["no longer"] += each.before.out_of_domain and not each.after.out_of_domain
        if each.moved:
            pairs[each.before.kernel, each.after.kernel] += 1
            moved += [_listed(each)] if len(moved) < listed_max else []
    return ReplayReport(
        before=compared_with(store, against),
        after=version,
        num_queries=counts["queries"],
        num_passed_over=counts["passed over"],
        num_moved=pairs.total(),
        num_newly_out_of_domain=counts["newly"],
        num_no_longer_out_of_domain=counts["no longer"],
        pairs=tuple(
            MovedPair(before=names[0], after=names[1], num_queries=number)
            for names, number in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))
        ),
        moved=tuple(moved),
    )


def compared_with(store: ReleaseStore, against: int | None) -> int:
    """Return the release that is compared with: the one that was named, or the current one.

    Raises:
        ArtifactError: None was named, and none is current.
    """
    version = store.current() if against is None else against
    if version is None:
        raise ArtifactError(
            store.artifacts, "no release is current, so there is none to compare with"
        )
    return version


def _listed(each: Replayed) -> MovedQuery:
    return MovedQuery(
        line=each.line,
        text=each.text[:_SHOWN_MAX],
        before=each.before.kernel,
        after=each.after.kernel,
        margin_before=each.before.margin,
        margin_after=each.after.margin,
    )
