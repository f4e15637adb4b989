"""Records of when a query lies outside every domain, and of how often that was right.

Shapes: L lengths, S shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isnan

from constellation.records.array_types import FloatArray
from constellation.records.routing import Rule

SHARE_DEFAULT = 0.01
"""Share of in-domain queries that is refused when nobody asks for another."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Thresholds:
    """Excesses beyond which a query is refused, for queries of several lengths.

    The excess of a query is its distance to its nearest kernel less half its distance to the
    background, in radians: a text that says little must lie nearer to a kernel than one that says
    much. Between lengths (on a logarithmic scale) and between shares (likewise) thresholds are
    interpolated; beyond the ends the nearest end holds.
    """

    lengths: tuple[int, ...]
    """Tokens of a query, rising from 1."""
    shares: tuple[float, ...]
    """Shares of in-domain queries that may be refused, rising, in (0, 1)."""
    excess: Mapping[Rule, FloatArray]
    """Per rule: radians, shape (L, S), falling along the shares; pi refuses nothing."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Refusal:
    """The thresholds of a table and what held-out text says of them, shapes (L, S) and (L,)."""

    thresholds: Thresholds
    refused: Mapping[Rule, FloatArray]
    """Share of the kernels' own held-out texts refused by thresholds that were fitted on other
    documents; the kernels weigh alike."""
    caught: Mapping[Rule, FloatArray]
    """Share of each kernel's held-out texts refused when that kernel is left out of the table:
    what the thresholds do to text of a foreign domain. NaN for a table of one kernel."""
    num_texts: tuple[int, ...]
    """Held-out texts of about each length."""
    num_documents: tuple[int, ...]
    """Documents that these texts are from: texts of one document are not independent."""

    def at_share(self, rule: Rule, share: float = SHARE_DEFAULT) -> tuple["LengthRefusal", ...]:
        """Return what refusing does at one of the fitted shares, a row for each length.

        Empty when thresholds were not fitted for the share.
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
    """What refusing does to queries of one length, measured when the table was made."""

    num_tokens: int
    share: float
    """Share of in-domain queries that may be refused."""
    refused: float | None
    """Share of in-domain texts refused by thresholds that were fitted on other documents; None
    when there was no text of about this length."""
    caught: float | None
    """Share of texts refused when their own kernel is left out; None when nothing says."""
    num_texts: int
    num_documents: int
    """Documents that the texts are from."""
