"""Read the PromQL of all panels, variables and event marks from the files of dashboards.

Prometheus knows nothing of Grafana's variables; `plain_promql` replaces them as Grafana does.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[2] / "cluster" / "grafana" / "dashboards"
_LABEL_VALUES: Final = re.compile(r"label_values\((\w+), (\w+)\)")


@dataclass(frozen=True, kw_only=True)
class BoardQuery:
    """One query of a dashboard.

    Attributes:
        board: Name of the dashboard's file, without its ending.
        panel: Heading of the panel; `variable NAME` or `event NAME` for other queries.
        legend: How the series of the result are called.
        expression: PromQL with Grafana's variables.
        instant: Whether only the latest value is read.
        unit: Grafana's name of the unit of the panel.
    """

    board: str
    panel: str
    legend: str
    expression: str
    instant: bool = False
    unit: str = "short"


def read_boards(folder: Path = FOLDER) -> dict[str, dict[str, Any]]:
    """Return the dashboards of a folder: name of the file without its ending -> content."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
    }


def board_queries(boards: Mapping[str, Mapping[str, Any]]) -> list[BoardQuery]:
    """Return every query of the panels, the variables and the event marks of dashboards."""
    return [
        query
        for name, board in boards.items()
        for part in (_of_panels, _of_variables, _of_events)
        for query in part(name, board)
    ]


def plain_promql(expression: str, *, window: str, span: str) -> str:
    """Return PromQL without Grafana's variables.

    Args:
        expression: PromQL of a dashboard.
        window: Replaces `$__rate_interval`; at least four scrapes, such as "20s".
        span: Replaces `$__range`, the time that the dashboard shows.
    """
    text = expression.replace("$__rate_interval", window).replace("$__range", span)
    return re.sub(r'=~"\$\w+"', '=~".+"', text)


def _of_panels(name: str, board: Mapping[str, Any]) -> Iterator[BoardQuery]:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield BoardQuery(
                board=name,
                panel=panel["title"],
                legend=target["legendFormat"],
                expression=target["expr"],
                instant=target.get("instant", False),
                unit=panel["fieldConfig"]["defaults"]["unit"],
            )


def _of_variables(name: str, board: Mapping[str, Any]) -> Iterator[BoardQuery]:
    for variable in board["templating"]["list"]:
        found = _LABEL_VALUES.fullmatch(variable["query"])
        if found is None:
            raise ValueError(f"{name}: variable {variable['name']} has query {variable['query']!r}")
        metric, label = found.groups()
        yield BoardQuery(
            board=name,
            panel=f"variable {variable['name']}",
            legend=f"{{{{{label}}}}}",
            expression=f"count by ({label}) ({metric})",
            instant=True,
        )


def _of_events(name: str, board: Mapping[str, Any]) -> Iterator[BoardQuery]:
    for event in board["annotations"]["list"]:
        yield BoardQuery(
            board=name,
            panel=f"event {event['name']}",
            legend=event["titleFormat"],
            expression=event["expr"],
        )
