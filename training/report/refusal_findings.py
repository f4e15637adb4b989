"""Tabulate the refusal of out-of-domain queries by text length, from the routing table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from constellation.records import SHARE_DEFAULT, LengthRefusal, Rule
from constellation.routing.refusal_rule import wilson_interval
from training.current_release import served_table

SHARES = (SHARE_DEFAULT, 0.05)
"""Shares of in-domain queries for which the report tabulates refusals."""


def refusal_facts(folder: Path) -> list[dict[str, Any]]:
    """Return a row for each share and length, by a constellation's default rule.

    Empty without a table, or with one of release 0.1.0, which has no thresholds.

    Raises:
        ArtifactError: The table is damaged.
    """
    table = served_table(folder)
    refusal = None if table is None else table.refusal
    if refusal is None:
        return []
    rows = [row for share in SHARES for row in refusal.at_share(Rule.BEARING, share)]
    return [_facts(row) for row in rows if row.num_texts]


def _facts(row: LengthRefusal) -> dict[str, Any]:
    return {
        **asdict(row),
        "refused_interval": _interval(row.refused, row.num_documents),
        "caught_interval": _interval(row.caught, row.num_documents),
    }


def _interval(share: float | None, num_documents: int) -> list[float] | None:
    return None if share is None else list(wilson_interval(share, num_documents))


def refusal_rows(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of the report's table: share, length, refused, caught, documents."""
    return [
        (
            f"{100 * row['share']:g} %",
            str(row["num_tokens"]),
            _percent(row["refused"], row["refused_interval"]),
            _percent(row["caught"], row["caught_interval"]),
            str(row["num_documents"]),
        )
        for row in facts
    ]


def _percent(share: float | None, interval: Sequence[float] | None) -> str:
    if share is None or interval is None:
        return "-"
    low, high = interval
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
