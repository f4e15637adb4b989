"""Put panels on a dashboard, with variables, marks of events, and links to other dashboards."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from grafana_foundation_sdk.builders.dashboard import (
    Dashboard,
    DashboardLink,
    QueryVariable,
    Row,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    Panel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from tools.grafana_boards.panels import SOURCE

TAG: Final = "constellation"
ALL: Final = "$__all"


@dataclass(frozen=True, kw_only=True)
class Section:
    """Panels of a dashboard below a heading; without a heading, if `title` is empty."""

    title: str = ""
    panels: Sequence[Builder[Panel]]


@dataclass(frozen=True, kw_only=True)
class Board:
    """What one dashboard shows.

    Attributes:
        name: Name of the file and end of the dashboard's uid.
        title: Heading.
        description: The questions that the dashboard answers.
        sections: Panels, the important ones first.
        variables: Labels that a reader can choose values of, among `VARIABLES`.
    """

    name: str
    title: str
    description: str
    sections: Sequence[Section]
    variables: Sequence[str] = field(default=())


VARIABLES: Final = {
    "kernel": ("constellation_kernel_up", "Kernels to show."),
    "node": ("constellation_node_up", "Machines to show."),
}
"""Label -> (metric that has every value of the label, help text)."""


class EventMark(AnnotationQuery):
    """A query whose results are drawn as vertical marks over all panels.

    Grafana's Prometheus source reads fields that the class of the library does not have.

    Args:
        name: What the marks are called at the top of the dashboard.
        expression: PromQL; a mark is drawn wherever its value is not 0.
        title: Text of a mark; `{{label}}` is replaced.
        color: Colour of the marks.
        value_is_time: Whether the value is the time of the mark, in milliseconds since 1970.
    """

    def __init__(
        self, name: str, expression: str, title: str, color: str, *, value_is_time: bool = False
    ) -> None:
        super().__init__(name=name, datasource=SOURCE, expr=expression, icon_color=color)
        self._more = {"titleFormat": title, "step": "60s"}
        self._value_is_time = value_is_time

    def to_json(self) -> dict[str, object]:
        """Return the fields as Grafana reads them."""
        time = {"useValueForTime": "on"} if self._value_is_time else {}
        return super().to_json() | self._more | time

    def build(self) -> "EventMark":
        """Return the mark itself, since a dashboard accepts builders only."""
        return self


EVENTS: Final = (
    EventMark(
        "releases",
        'count_values("release", constellation_release_number) * on () group_left ()'
        " (1000 * max(constellation_release_since_seconds))",
        "release {{release}} serves",
        "blue",
        value_is_time=True,
    ),
    EventMark(
        "tables",
        'changes(constellation_table_version{member="registry"}[1m]) > 0',
        "the table of kernels changed",
        "purple",
    ),
    EventMark(
        "restarts",
        "sum by (member) (increase(constellation_member_restarts_total[1m])) > 0",
        "{{member}} restarted",
        "orange",
    ),
)
"""Events that explain why lines move."""


def dashboard_of(board: Board) -> Dashboard:
    """Return the dashboard of grafana-foundation-sdk that shows `board`."""
    made = Dashboard(board.title).uid(f"constellation-{board.name}").description(board.description)
    made.tags([TAG]).timezone("browser").time("now-30m", "now").refresh("10s").readonly()
    made.tooltip(DashboardCursorSync.CROSSHAIR)
    made.link(_link_to_other_boards())
    for label in board.variables:
        made.with_variable(_variable(label))
    made.annotations(list(EVENTS))
    number = 0
    for section in board.sections:
        if section.title:
            number += 1
            made.with_row(Row(section.title).id(number))
        for panel in section.panels:
            number += 1
            made.with_panel(panel.id(number))  # type: ignore[attr-defined]
    return made


def _link_to_other_boards() -> DashboardLink:
    link = DashboardLink("Constellation").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return link.keep_time(True).include_vars(True)


def _variable(label: str) -> QueryVariable:
    metric, description = VARIABLES[label]
    made = QueryVariable(label).label(label).description(description).datasource(SOURCE)
    made.query(f"label_values({metric}, {label})").refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    made.sort(VariableSort.ALPHABETICAL_ASC).multi(True).include_all(True).all_value(".+")
    return made.current(VariableOption(text="All", value=ALL, selected=True))
