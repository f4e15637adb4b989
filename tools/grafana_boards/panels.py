"""Build Grafana panels that all have a title, a description, a unit, a legend and a data source.

The panels are objects of grafana-foundation-sdk, which knows the names of Grafana's fields.
"""

from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor, ThresholdsConfig
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="constellation-prometheus")
"""The data source of every query; `cluster/grafana/provisioning` declares the same uid."""

Steps = Sequence[tuple[float | None, str]]
"""Colours of values: (lowest value, colour) in rising order. Values below the first are green,
unless the first step has no lowest value."""


_P = TypeVar("_P", bargauge.Panel, stat.Panel, statetimeline.Panel, table.Panel, timeseries.Panel)


def lines(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    unit: str,
    size: tuple[int, int] = (12, 8),
    stacked: bool = False,
    limit: float | None = None,
    top: float | None = None,
) -> timeseries.Panel:
    """Return a panel of lines over time.

    Args:
        title: Heading.
        description: Help text; says which direction is good.
        queries: Legend -> PromQL; `{{label}}` in a legend is replaced by the label's value.
        unit: Grafana's name of the unit.
        size: Width in 24ths of the screen, height in rows.
        stacked: Whether the lines are stacked as areas.
        limit: A value that is drawn as a dashed red line, such as the value of an alert.
        top: Greatest value of the axis.
    """
    panel = _begun(timeseries.Panel(), title, description, unit, size)
    legend = common.VizLegendOptions().show_legend(True)
    legend.display_mode(shapes.LegendDisplayMode.LIST)
    panel.legend(legend.placement(shapes.LegendPlacement.BOTTOM).calcs([]))
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI))
    panel.min(0).fill_opacity(60 if stacked else 8)
    panel.show_points(shapes.VisibilityMode.NEVER)
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL))
    if top is not None:
        panel.max(top)
    if limit is not None:
        panel.thresholds(_thresholds([(limit, "red")]))
        dashed = common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED)
        panel.thresholds_style(dashed)
    return _with_queries(panel, queries)


def figure(
    title: str,
    description: str,
    expression: str,
    *,
    unit: str,
    size: tuple[int, int] = (4, 4),
    steps: Steps = (),
    words: Mapping[str, tuple[str, str]] | None = None,
    by: str = "",
) -> stat.Panel:
    """Return a panel of one large number, or one for each value of the label `by`.

    Args:
        title: Heading.
        description: Help text; says which direction is good.
        expression: PromQL.
        unit: Grafana's name of the unit.
        size: Width in 24ths of the screen, height in rows.
        steps: Colours of values.
        words: Value -> (word to show instead, colour).
        by: Label whose value names each number.
    """
    panel = _begun(stat.Panel(), title, description, unit, size)
    panel.thresholds(_thresholds(steps)).mappings(_mapped(words or {}))
    panel.graph_mode(shapes.BigValueGraphMode.NONE if words else shapes.BigValueGraphMode.AREA)
    if steps or words:
        panel.color_mode(shapes.BigValueColorMode.BACKGROUND)
    else:
        panel.color_scheme(FieldColor().mode(FieldColorModeId.FIXED).fixed_color("text"))
    panel.no_value("no data").reduce_options(_latest())
    return _with_queries(panel, {f"{{{{{by}}}}}" if by else title: expression})


def bars(
    title: str,
    description: str,
    queries: Mapping[str, str],
    *,
    unit: str,
    size: tuple[int, int] = (12, 8),
    steps: Steps = (),
    top: float | None = None,
) -> bargauge.Panel:
    """Return a panel of one horizontal bar for each series, of the latest values."""
    panel = _begun(bargauge.Panel(), title, description, unit, size)
    panel.orientation(shapes.VizOrientation.HORIZONTAL).thresholds(_thresholds(steps)).min(0)
    panel.display_mode(shapes.BarGaugeDisplayMode.BASIC)
    panel.no_value("no data").reduce_options(_latest())
    if top is not None:
        panel.max(top)
    return _with_queries(panel, queries, instant=True)


def states(
    title: str,
    description: str,
    queries: Mapping[str, str],
    words: Mapping[str, tuple[str, str]],
    *,
    size: tuple[int, int] = (12, 8),
) -> statetimeline.Panel:
    """Return a panel of coloured bands over time; `words` maps values to (word, colour)."""
    panel = _begun(statetimeline.Panel(), title, description, "short", size)
    panel.mappings(_mapped(words)).show_value(shapes.VisibilityMode.NEVER)
    panel.legend(common.VizLegendOptions().show_legend(True)).fill_opacity(80).line_width(0)
    return _with_queries(panel, queries)


def grid(
    title: str,
    description: str,
    columns: Mapping[str, tuple[str, str]],
    *,
    key: str,
    size: tuple[int, int] = (24, 9),
) -> table.Panel:
    """Return a table with one row for each value of label `key`.

    Args:
        title: Heading.
        description: Help text; says which direction is good.
        columns: Heading of a column -> (PromQL, Grafana's name of the unit).
        key: Label that all queries have and that joins them.
        size: Width in 24ths of the screen, height in rows.
    """
    panel = _begun(table.Panel(), title, description, "short", size)
    letters = [chr(ord("A") + at) for at in range(len(columns))]
    for letter, (expression, _) in zip(letters, columns.values(), strict=True):
        target = _query(expression, letter, letter).instant().format(PromQueryFormat.TABLE)
        panel.with_target(target)
    names = {f"Value #{letter}": name for letter, name in zip(letters, columns, strict=True)}
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    organised = {"excludeByName": {"Time": True}, "renameByName": names}
    panel.with_transformation(DataTransformerConfig(id_val="organize", options=organised))
    for name, (_, unit) in columns.items():
        panel.override_by_name(name, [DynamicConfigValue(id_val="unit", value=unit)])
    return panel.override_by_name(key, [DynamicConfigValue(id_val="unit", value="string")])


def _begun(panel: _P, title: str, description: str, unit: str, size: tuple[int, int]) -> _P:
    width, height = size
    panel.title(title).description(description).unit(unit).datasource(SOURCE)
    return panel.span(width).height(height)


def _with_queries(panel: _P, queries: Mapping[str, str], *, instant: bool = False) -> _P:
    for at, (legend, expression) in enumerate(queries.items()):
        target = _query(expression, legend, chr(ord("A") + at))
        panel.with_target(target.instant() if instant else target.range())
    return panel


def _query(expression: str, legend: str, letter: str) -> prometheus.Dataquery:
    text = " ".join(expression.split())
    return prometheus.Dataquery().expr(text).legend_format(legend).ref_id(letter).datasource(SOURCE)


def _latest() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _thresholds(steps: Steps) -> ThresholdsConfig:
    lowest = [] if steps and steps[0][0] is None else [(None, "green")]
    values = [Threshold(value=value, color=color) for value, color in [*lowest, *steps]]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(values)


def _mapped(words: Mapping[str, tuple[str, str]]) -> list[ValueMapping]:
    results = {
        value: ValueMappingResult(text=text, color=color, index=at)
        for at, (value, (text, color)) in enumerate(words.items())
    }
    return [ValueMap(options=results)] if results else []
