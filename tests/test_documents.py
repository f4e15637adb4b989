"""Documents keep up with the code: versions, tables, links, and the names of files and tests."""

import re
import tomllib
from pathlib import Path

import pytest
import typer.main
from google.protobuf import json_format
from prometheus_client import CollectorRegistry

from cluster.cli.main import app
from constellation.settings import Settings
from constellation.telemetry.aggregate import MEMBER_UP
from constellation.telemetry.metrics import KernelMetrics, RegistryMetrics, RouterMetrics
from constellation.telemetry.node_metrics import NodeActorMetrics, NodeMetrics, TrainingMetrics
from constellation.wire.services import CONSTELLATION, request_class

CATALOGUES = (
    RouterMetrics,
    KernelMetrics,
    RegistryMetrics,
    NodeMetrics,
    NodeActorMetrics,
    TrainingMetrics,
)

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
INVARIANTS = ROOT / "docs" / "invariants.md"


def test_the_change_log_begins_with_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## \[([^\]]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert released[0] == version


def test_every_metric_is_in_the_table_of_metrics_and_no_other() -> None:
    declared = {
        metric._name + ("_total" if metric._type == "counter" else "")
        for kind in CATALOGUES
        for name, metric in vars(kind(CollectorRegistry())).items()
        if name != "registry"
    } | {MEMBER_UP}
    text = (ROOT / "docs" / "metrics.md").read_text()
    assert set(re.findall(r"^\| `(\w+)", text, re.MULTILINE)) == declared


def test_every_command_is_in_the_table_of_commands_and_no_other() -> None:
    group = typer.main.get_command(app)
    commands = {
        f"{name} {inner}".strip()
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for inner in getattr(command, "commands", [""])
    }
    text = (ROOT / "docs" / "commands.md").read_text()
    named = re.findall(r"^\| `([a-z -]+)", text, re.MULTILINE)
    assert {name.strip() for name in named} == commands


def test_every_setting_is_in_the_table_of_settings_with_its_default() -> None:
    rows = set()
    for name, field in Settings.model_fields.items():
        section = getattr(field.annotation, "model_fields", None)
        inside = section.items() if section else [("", field)]
        rows |= {(f"{name}.{key}".strip("."), _as_toml(inner.default)) for key, inner in inside}
    text = (ROOT / "docs" / "configuration.md").read_text()
    assert set(re.findall(r"^\| `([a-z_.]+)` \| (?:`([^`]*)`)?", text, re.MULTILINE)) == rows


def _as_toml(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def dead_links(text: str, folder: Path) -> list[str]:
    """Return the relative links of a document that lead nowhere."""
    local = (target for target in LINK.findall(text) if "://" not in target)
    return [target for target in local if not (folder / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_links_to_a_file_that_is_not_there(document: Path) -> None:
    assert dead_links(document.read_text(), document.parent) == []


def test_a_dead_link_is_found() -> None:
    assert dead_links("[a](README.md) [b](gone.md#part) [c](https://x.y/z)", ROOT) == ["gone.md"]


CODE = re.compile(
    r"`((?:constellation|actors|training|cluster|tests|proto|benchmarks|docs)/[^`\s]*)`"
)


def missing_paths(text: str) -> list[str]:
    """Return the paths that a document names and the repository does not have."""
    named = (path.partition("::")[0] for path in CODE.findall(text))
    return [path for path in named if not list(ROOT.glob(path.rstrip("/")))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_that_a_document_names_exists(document: Path) -> None:
    assert missing_paths(document.read_text()) == []


def test_a_path_that_is_not_there_is_found() -> None:
    assert missing_paths("`actors/_ray.py` `actors/gone.py` `tests/cli/*.py`") == ["actors/gone.py"]


CONTRACT = re.compile(r"contract “([^”]+)”")
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def missing_tests(text: str) -> list[str]:
    """Return the tests that a document names and no file has."""
    return [
        name
        for path, name in TEST_NAME.findall(text)
        if f"def {name}(" not in (ROOT / path).read_text()
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document: Path) -> None:
    if not is_record_of_the_past(document):
        assert missing_tests(document.read_text()) == []


def is_record_of_the_past(document: Path) -> bool:
    """Say whether a document tells what was true on its date: the change log, the log."""
    return document.name == "CHANGELOG.md" or document.parent == ROOT / "docs" / "log"


def test_the_page_of_invariants_names_a_test_or_a_contract_in_every_row() -> None:
    rows = table_rows(INVARIANTS.read_text())
    assert len(rows) > 70
    kept_by = [row[-1] for row in rows]
    assert [each for each in kept_by if not re.search(r"::test_|contract “|make proto", each)] == []


def test_a_test_that_is_not_there_is_found() -> None:
    planted = (
        "`tests/test_records.py::test_records_survive_pickling` `tests/test_records.py::test_no`"
    )
    assert missing_tests(planted) == ["test_no"]


def test_the_page_of_invariants_names_every_contract_and_the_architecture_no_other() -> None:
    configuration = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = {each["name"] for each in configuration["tool"]["importlinter"]["contracts"]}
    assert set(CONTRACT.findall(INVARIANTS.read_text())) == contracts
    named = set(CONTRACT.findall(ARCHITECTURE.read_text()))
    assert named
    assert named <= contracts


def test_the_architecture_is_short_enough_to_be_read_at_once() -> None:
    assert len(ARCHITECTURE.read_text().split()) <= 1_800


def table_rows(text: str) -> list[list[str]]:
    """Return the cells of all tables of a document, row by row, without the heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rule = [*(set(line) <= set("|-: ") for line in lines), False]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line, is_rule, follows_rule in zip(lines, rule[:-1], rule[1:], strict=True)
        if not is_rule and not follows_rule
    ]


def test_the_head_of_a_table_is_no_row() -> None:
    text = "| a | b |\n|---|---|\n| 1 | 2 |\n\nx\n\n| c | d |\n|---|---|\n| 3 | 4 |\n"
    assert table_rows(text) == [["1", "2"], ["3", "4"]]


FOLDER = re.compile(r"^`([\w/]+)/`$")
FILE = re.compile(r"`(\w+\.py)`")


def mapped_folders(text: str) -> dict[Path, list[str]]:
    """Return the folders of a code map, each with the files that its row names."""
    return {
        ROOT / match[1]: FILE.findall(" ".join(row[1:]))
        for row in table_rows(text)
        if (match := FOLDER.match(row[0]))
    }


def test_the_code_map_names_every_folder_of_code_and_files_that_are_there() -> None:
    tops = ("constellation", "actors", "training", "cluster", "benchmarks")
    folders = {file.parent for top in tops for file in (ROOT / top).rglob("*.py")}
    mapped = mapped_folders((ROOT / "docs" / "code_map.md").read_text())
    assert set(mapped) == folders
    assert [
        str(folder / file)
        for folder, files in mapped.items()
        for file in files
        if not (folder / file).exists()
    ] == []


def test_a_file_of_a_row_of_the_code_map_is_found() -> None:
    head = "| folder | purpose | open first |\n|---|---|---|\n"
    row = "| `actors/` | x | `_ray.py` y, `gone.py` |"
    assert mapped_folders(head + row) == {ROOT / "actors": ["_ray.py", "gone.py"]}


def test_the_example_for_grpcurl_is_a_request_of_ours() -> None:
    text = (ROOT / "docs" / "commands.md").read_text()
    (body,) = re.findall(r"grpcurl .*-d '([^']+)'", text)
    (service, method) = re.findall(r"constellation\.v1\.(\w+)/(\w+)", text)[0]
    assert service == CONSTELLATION.name
    request = json_format.Parse(body, request_class(CONSTELLATION, method)())
    assert request.sampling.tokens_max == 16


def test_every_figure_of_the_readme_is_one_number_and_says_which_direction_is_good() -> None:
    rows = table_rows((ROOT / "README.md").read_text())
    assert 0 < len(rows) <= 8
    assert [row for row in rows if not re.search(r"\((high|low) is good\)$", row[1])] == []
    assert [row[0] for row in rows if not re.match(r"^[\d.]+( [a-z%]+( \d+ s)?)?$", row[0])] == []


def test_every_figure_says_which_direction_is_good() -> None:
    rows = table_rows((ROOT / "docs" / "figures.md").read_text())
    assert len(rows) > 30
    assert {row[2] for row in rows} == {"high", "low"}


@pytest.mark.parametrize("name", ["README.md", "ARCHITECTURE.md"])
def test_what_newcomers_read_first_leads_to_the_glossary_and_shows_a_picture(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "docs/glossary.md" in LINK.findall(text)
    assert re.search(r"^!\[[^\]]+\]\(docs/pictures/\w+\.(svg|png)\)$", text, re.MULTILINE)


LOG = ROOT / "docs" / "log.md"
ENTRY = re.compile(r"^## (\d{4}-\d\d-\d\d) (.+)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """Return the name under which a page of Markdown shows a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def logged() -> set[tuple[str, str]]:
    """Return all entries of the log: date, and where they stand."""
    return {
        (date, f"log/{path.name}#{anchor(f'{date} {title}')}")
        for path in (ROOT / "docs" / "log").glob("*.md")
        for date, title in ENTRY.findall(path.read_text())
    }


def test_the_index_of_the_log_has_a_line_for_every_entry_the_newest_first() -> None:
    rows = table_rows(LOG.read_text())
    targets = [re.fullmatch(r"\[[^\]]+\]\(([^)]+)\)", row[1]) for row in rows]
    listed = [(row[0], match[1]) for row, match in zip(rows, targets, strict=True) if match]
    assert len(listed) == len(rows) >= 77
    assert set(listed) == logged()
    assert len(set(listed)) == len(listed)
    dates = [date for date, _ in listed]
    assert dates == sorted(dates, reverse=True)
    assert all(row[2] for row in rows)


ANCHORED = re.compile(r"\]\(([^)#\s]*)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def dead_anchors(text: str, document: Path) -> list[str]:
    """Return the links of a document to headings that their page does not have."""
    return [
        f"{target}#{name}"
        for target, name in ANCHORED.findall(text)
        if "://" not in target
        and name not in map(anchor, HEADING.findall(_page(document, target).read_text()))
    ]


def _page(document: Path, target: str) -> Path:
    return document.parent / target if target else document


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_links_to_a_heading_that_is_not_there(document: Path) -> None:
    assert dead_anchors(document.read_text(), document) == []


def test_a_heading_that_is_not_there_is_found() -> None:
    text = "[a](#ten-invariants) [b](docs/modes.md#how-it-works) [c](docs/modes.md#gone)"
    assert dead_anchors(text, ARCHITECTURE) == ["docs/modes.md#gone"]


def test_the_picture_of_the_architecture_has_the_steps_of_the_query_that_the_page_numbers() -> None:
    picture = (ROOT / "docs" / "pictures" / "architecture.svg").read_text()
    section = ARCHITECTURE.read_text().partition("## One query")[2].partition("\n## ")[0]
    steps = re.findall(r"^(\d)\. ", section, re.MULTILINE)
    assert sorted(re.findall(r">(\d)  ", picture)) == steps
    assert len(steps) == 9
