"""The files of the Grafana dashboards are fresh and agree with metrics, rules and alerts."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from tools.grafana_boards import expressions
from tools.grafana_boards.__main__ import BOARDS, stale_files, text_of
from tools.grafana_boards.board_queries import (
    FOLDER,
    BoardQuery,
    board_queries,
    plain_promql,
    read_boards,
)
from tools.grafana_boards.document import DOCUMENT, PICTURE, pictures_of

ROOT = Path(__file__).parents[2]
PROVISIONING = FOLDER.parent / "provisioning"
PROMETHEUS = ROOT / "cluster" / "prometheus"
BOARD_FILES = read_boards()
QUERIES = board_queries(BOARD_FILES)
PANELS = [
    pytest.param(panel, id=f"{name}-{panel['id']}")
    for name, board in BOARD_FILES.items()
    for panel in board["panels"]
    if panel["type"] != "row"
]
SOURCE = {"type": "prometheus", "uid": "constellation-prometheus"}
_METRIC = re.compile(r"\bconstellation_[a-z_]+")


def test_the_files_are_what_make_boards_writes() -> None:
    texts = {f"{board.name}.json": text_of(board) for board in BOARDS}
    assert stale_files(FOLDER, texts) == []
    assert len(texts) == 6


def test_a_file_that_is_stale_missing_or_too_much_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "c.json").write_text("x")
    found = stale_files(tmp_path, {"a.json": "new", "b.json": "x"})
    assert found == ["a.json", "b.json", "c.json"]


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.board}-{query.panel}")
def test_every_query_is_promql_without_a_variable_of_grafana(query: BoardQuery) -> None:
    text = plain_promql(query.expression, window="20s", span="300s")
    assert "$" not in text
    promql_parser.parse(text)


def test_what_is_no_promql_is_found() -> None:
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        promql_parser.parse("sum(rate(constellation_requests_total[5m])")


def test_every_metric_of_a_query_is_in_the_table_of_metrics_or_recorded_by_a_rule() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    known = set(re.findall(r"^\| `(constellation_\w+)", text, re.MULTILINE))
    assert "`process_*`" in text
    recorded = (PROMETHEUS / "recording.yml").read_text()
    for query in QUERIES:
        for name in _METRIC.findall(query.expression):
            assert {name, re.sub(r"_(bucket|sum|count)$", "", name)} & known, (name, query)
        for name in re.findall(r"constellation:[\w:]+", query.expression):
            assert f"record: {name}\n" in recorded, (name, query)


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_says_what_it_shows_which_direction_is_good_and_in_which_unit(
    panel: dict[str, Any],
) -> None:
    assert panel["title"]
    assert re.search(r"\bgood\b", panel["description"]), panel["description"]
    assert panel["description"].endswith((".", "%."))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_and_its_queries_ask_the_source_that_is_provisioned(panel: dict[str, Any]) -> None:
    assert panel["datasource"] == SOURCE
    assert [target["datasource"] for target in panel["targets"]] == [SOURCE] * len(panel["targets"])
    letters = [target["refId"] for target in panel["targets"]]
    assert len({*letters}) == len(letters) > 0
    sources = yaml.safe_load((PROVISIONING / "datasources" / "constellation.yml").read_text())
    assert {(each["type"], each["uid"]) for each in sources["datasources"]} == {
        (SOURCE["type"], SOURCE["uid"])
    }


@pytest.mark.parametrize("name", BOARD_FILES)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    panels = BOARD_FILES[name]["panels"]
    assert sorted(panel["id"] for panel in panels) == list(range(1, len(panels) + 1))
    assert overlaps(panels) == []
    assert all(at["x"] >= 0 and at["x"] + at["w"] <= 24 for at in map(_place, panels))


def overlaps(panels: list[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the ids of pairs of panels that cover one cell of the grid."""
    covered: dict[tuple[int, int], int] = {}
    found = []
    for panel in panels:
        at = _place(panel)
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                if (x, y) in covered:
                    found.append((covered[x, y], panel["id"]))
                covered[x, y] = panel["id"]
    return sorted({*found})


def _place(panel: dict[str, Any]) -> dict[str, int]:
    place: dict[str, int] = panel["gridPos"]
    return place


def test_an_overlap_is_found() -> None:
    places = [{"x": 0, "y": 0, "w": 2, "h": 2}, {"x": 1, "y": 1, "w": 1, "h": 1}]
    assert overlaps([{"id": at, "gridPos": place} for at, place in enumerate(places)]) == [(0, 1)]


def test_the_overview_fits_on_one_screen() -> None:
    """A screen of 1080 lines shows 24 rows of 38 pixels beside Grafana's own bars."""
    assert max(at["y"] + at["h"] for at in map(_place, BOARD_FILES["overview"]["panels"])) <= 24


def test_every_dashboard_has_a_uid_and_links_to_the_others_and_variables_all() -> None:
    assert {board["uid"] for board in BOARD_FILES.values()} == {
        f"constellation-{name}" for name in BOARD_FILES
    }
    for board in BOARD_FILES.values():
        assert [link["tags"] for link in board["links"]] == [board["tags"]]
        for variable in board["templating"]["list"]:
            assert variable["datasource"] == SOURCE
            assert variable["includeAll"]
            assert f'=~"${variable["name"]}"' in str(board["panels"])
            assert variable["allValue"] == ".+"


LIMITS = {
    "ConstellationOutOfDomainShareHigh": f"> {expressions.OUT_OF_DOMAIN_SHARE:g}",
    "ConstellationRouteCollapse": f"< {expressions.ENTROPY_RATIO:g}",
    "ConstellationQueueFull": f"> {expressions.QUEUE_SHARE:g}",
    "ConstellationRouterFull": f"> {expressions.QUEUE_SHARE:g}",
    "ConstellationDiskNearlyFull": f"< {expressions.DISK_SHARE:g}",
    "ConstellationRestartLoop": f"> {expressions.RESTARTS:g}",
    "ConstellationFirstTokenBudgetBurnsFast": "> 14.4 * 0.01",
}
"""Alert -> the comparison that the colours of panels repeat."""


def test_colours_change_at_the_limits_of_the_alerts() -> None:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    alerts = {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}
    assert [name for name, limit in LIMITS.items() if limit not in alerts[name]] == []
    assert pytest.approx(14.4 * 0.01) == expressions.BURNING_SHARE
    assert f'le="{expressions.FIRST_TEXT_S}"' in (PROMETHEUS / "recording.yml").read_text()


@pytest.mark.parametrize("panel", PANELS)
def test_colours_rise_with_the_values(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": []})["steps"]
    values = [step["value"] for step in steps]
    assert all(value is None for value in values[:1])
    assert all(low < high for low, high in pairwise(values[1:]))


def test_the_ten_questions_have_a_panel_and_a_small_picture_each() -> None:
    pictures = pictures_of(DOCUMENT)
    assert (
        len(pictures) == len(re.findall(r"^### \d+\. ", DOCUMENT.read_text(), re.MULTILINE)) == 10
    )
    for picture in pictures:
        titles = [panel["title"] for panel in BOARD_FILES[picture.board]["panels"]]
        assert picture.panel in titles
        assert picture.path.read_bytes().startswith(b"\x89PNG")
        assert picture.path.stat().st_size <= 40_000


def test_a_picture_that_the_page_names_is_found() -> None:
    text = "In dashboard “a b”, panel “c\nd”. Words.\n\n![e](f/g.png)\n"
    assert PICTURE.findall(text) == [("a b", "c\nd", "f/g.png")]
