"""Replay queries against two releases: which queries would another kernel (model) answer?

Routes are computed by the router's code: the same tokens, evidence, basin and policy. All kernels
are assumed to be up and idle.
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
from constellation.releases.query_file import Query
from constellation.releases.store import ReleaseStore
from constellation.routing.policy import RoutingPolicy
from constellation.wire.table_file import load_table

LISTED_MAX: Final = 1000
"""Default number of queries that a report lists one by one."""
_SHOWN_MAX = 200


@dataclass(frozen=True, kw_only=True, slots=True)
class Terms:
    """Settings of the routers that decide a route when a request names no options."""

    rule: Rule
    top_k: int
    """Number of kernels that share the weight, at least 1."""
    phi_weighting: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """Routes of one query under two releases."""

    line: int
    text: str
    before: Route
    after: Route

    @property
    def moved(self) -> bool:
        """Whether another kernel would answer under the second release."""
        return self.before.kernel != self.after.kernel


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedQuery:
    """A query that another kernel would answer under the second release."""

    line: int
    text: str
    """Beginning of the query's text."""
    before: str
    """Kernel that answers under the first release."""
    after: str
    """Kernel that answers under the second release."""
    margin_before: float
    """Distance of the second nearest kernel minus that of the nearest, radians; near 0 means that
    small changes decide the route."""
    margin_after: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MovedPair:
    """Number of queries that would move from one kernel to another."""

    before: str
    after: str
    num_queries: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayReport:
    """Counts and examples of the queries that move between two releases."""

    before: int
    """The release that is compared with."""
    after: int
    num_queries: int
    num_passed_over: int
    """Number of lines that a router would refuse: empty, or over 1 MiB."""
    num_moved: int
    num_newly_out_of_domain: int
    """Number of queries that are out of every domain under the second release only."""
    num_no_longer_out_of_domain: int
    pairs: tuple[MovedPair, ...]
    """Pairs of kernels, the most frequent first, then by name."""
    moved: tuple[MovedQuery, ...]
    """Moved queries in the order of the file, at most as many as the caller asked for."""


class ReleaseRouter:
    """Routes texts as a router of a release does, with every kernel up.

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
        """Return the tokens from which the basin of a text is computed."""
        return evidence_tokens(text, self.coordizer.encode(text), self.coordizer.encode)

    def decide(self, counted: TokenArray) -> Route:
        """Return the route of a text with these evidence tokens."""
        return self._policy.decide(self.coordizer.basin(counted), num_tokens=len(counted))


def replay(
    store: ReleaseStore, version: int, queries: Iterable[Query], terms: Terms
) -> Iterator[Replayed]:
    """Yield the routes of each query under the current release and under another one.

    Args:
        store: Store that holds the releases.
        version: The other release, to which a switch is considered.
        queries: Queries, read one at a time; those without a text are skipped.
        terms: Settings of the routers.

    Raises:
        ArtifactError: A release is missing or damaged, or no release is current.
    """
    before = ReleaseRouter(store.folder(_current(store)), terms)
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
    listed_max: int = LISTED_MAX,
) -> ReplayReport:
    """Replay queries and count those that another kernel would answer.

    At most `listed_max` queries are listed one by one; all are counted. The other arguments, and
    the errors, are those of `replay`.
    """
    counts: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    moved: list[MovedQuery] = []

    def counted() -> Iterator[Query]:
        for query in queries:
            counts["passed over"] += query.text is None
            yield query

    for each in replay(store, version, counted(), terms):
        counts["queries"] += 1
        counts["newly"] += each.after.out_of_domain and not each.before.out_of_domain
        counts["no longer"] += each.before.out_of_domain and not each.after.out_of_domain
        if each.moved:
            pairs[each.before.kernel, each.after.kernel] += 1
            moved += [_listed(each)] if len(moved) < listed_max else []
    return ReplayReport(
        before=_current(store),
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


def _current(store: ReleaseStore) -> int:
    version = store.current()
    if version is None:
        raise ArtifactError(
            store.artifacts, "no release is current; name the release to compare with"
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
