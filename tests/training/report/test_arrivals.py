"""The report says how often each kernel's held-out passages arrive."""

from dataclasses import replace
from pathlib import Path

from constellation.records import Table
from constellation.releases.store import ReleaseStore
from constellation.wire.table_file import pack_table
from tests.releases.drafts import draft
from tests.routing.tables import several
from training.report.arrivals import arrival_facts, arrival_rows


def serve(artifacts: Path, table: Table) -> None:
    """Make a release of a table the current one."""
    store = ReleaseStore(artifacts)
    with store.adding() as put:
        store.write(replace(draft(put), table=put.put_bytes(pack_table(table))))
    store.switch(1)


def test_there_is_a_row_for_every_kernel_whose_arrivals_were_measured(tmp_path: Path) -> None:
    made = several(0, (1, 3, 2))
    measured = tuple(
        replace(site, arrived=share, num_held_out=80)
        for site, share in zip(made.sites[:2], (1.0, 0.75), strict=True)
    )
    serve(tmp_path, replace(made, sites=(*measured, made.sites[2])))
    facts = arrival_facts(tmp_path)
    assert [(row["kernel"], row["num_basins"], row["arrived"]) for row in facts] == [
        ("k0", 1, 1.0),
        ("k1", 3, 0.75),
    ]
    assert all(row["interval"][0] < row["arrived"] <= row["interval"][1] for row in facts)
    assert arrival_rows(facts)[1] == ("k1", "3", "0.750 (0.645 to 0.832)", "80")


def test_without_a_release_there_are_no_rows(tmp_path: Path) -> None:
    assert arrival_facts(tmp_path) == []
