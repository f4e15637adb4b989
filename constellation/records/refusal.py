"""Records of the thresholds beyond which a query is out of domain, and of their measured rates.

Shapes: L lengths of queries, S shares of in-domain queries that may be refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

from constellation.records.array_types import FloatArray
from constellation.records.routing import Rule

SHARE_DEFAULT = 0.01
"""Share of in-domain queries that is refused when a request names no other share."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Thresholds:
    """Thresholds of the excess beyond which a query is refused, by length of query and share.

    The excess of a query is its distance to its nearest kernel minus half its distance to the
    background, in radians: an uninformative text must lie nearer to a kernel than an informative
    text. Between fitted lengths, and between fitted shares, thresholds are interpolated on a
    logarithmic scale; beyond the ends the nearest fitted value holds.
    """

    lengths: tuple[int, ...]
    """Fitted lengths of queries in tokens, ascending from 1."""
    shares: tuple[float, ...]
    """Fitted shares of in-domain queries that may be refused, ascending, in (0, 1)."""
    excess: Mapping[Rule, FloatArray]
    """Rule -> thresholds in radians, shape (L, S), falling along the shares; pi refuses nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refusal:
    """Thresholds of a table, and their rates on held-out text, shapes (L, S) and (L,)."""

    thresholds: Thresholds
    refused: Mapping[Rule, FloatArray]
    """Rule -> share of the kernels' own held-out texts refused by thresholds that were fitted on
    other documents; every kernel has the same weight. Lower is better."""
    caught: Mapping[Rule, FloatArray]
    """Rule -> share of each kernel's held-out texts refused when that kernel is left out of the
    table: an estimate for text of a foreign domain. Higher is better. NaN for a table of one
    kernel."""
    num_texts: tuple[int, ...]
    """Number of held-out texts of about each length."""
    num_documents: tuple[int, ...]
    """Number of documents that these texts are from: texts of one document are not independent."""

    def at_share(self, rule: Rule, share: float = SHARE_DEFAULT) -> tuple["LengthRefusal", ...]:
        """Return the rates of refusal at one of the fitted shares, a row for each length.

        Empty when no thresholds were fitted for the share.
        """
        if share not in self.thresholds.shares:
            return ()
        column = self.thresholds.shares.index(share)
        rows = zip(
            self.thresholds.lengths,
            self.refused[rule][:, column].tolist(),
            self.caught[rule][:, column].tolist(),
            self.num_texts,
            self.num_documents,
            strict=True,
        )
        return tuple(
            LengthRefusal(
                num_tokens=length,
                share=share,
                refused=None if isnan(refused) else refused,
                caught=None if isnan(caught) else caught,
                num_texts=num_texts,
                num_documents=num_documents,
            )
            for length, refused, caught, num_texts, num_documents in rows
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LengthRefusal:
    """Measured rates of refusal for queries of one length, at one share."""

    num_tokens: int
    share: float
    """Share of in-domain queries that may be refused."""
    refused: float | None
    """Share of in-domain texts refused by thresholds that were fitted on other documents; lower is
    better. None when there was no text of about this length."""
    caught: float | None
    """Share of texts refused when their own kernel is left out; higher is better. None when not
    measured."""
    num_texts: int
    num_documents: int
    """Number of documents that the texts are from."""
