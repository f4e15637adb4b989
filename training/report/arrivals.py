"""Tabulate how many held-out passages are routed to their own kernel, from the routing table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from constellation.routing.refusal_rule import wilson_interval
from training.current_release import served_table


def arrival_facts(folder: Path) -> list[dict[str, Any]]:
    """Return a row for every kernel of the table, including kernels that joined after training.

    Empty without a table, and for kernels of a table that was made before this was measured.

    Raises:
        ArtifactError: The table is damaged.
    """
    table = served_table(folder)
    sites = () if table is None else table.sites
    return [
        {
            "kernel": site.name,
            "num_basins": len(site.basins_BK),
            "arrived": site.arrived,
            "interval": list(wilson_interval(site.arrived, site.num_held_out)),
            "num_held_out": site.num_held_out,
        }
        for site in sites
        if site.arrived is not None
    ]


def arrival_rows(facts: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """Return the rows of the report's table: kernel, basins, share that arrives, passages."""
    return [
        (
            row["kernel"],
            str(row["num_basins"]),
            f"{row['arrived']:.3f} ({row['interval'][0]:.3f} to {row['interval'][1]:.3f})",
            str(row["num_held_out"]),
        )
        for row in facts
    ]
