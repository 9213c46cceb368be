"""Charts of an experiment's table: columns over each other, and columns over the training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from paraview import simple
from vtkmodules.vtkCommonDataModel import vtkTable

from tlp_core import vtk_bridge
from tlp_core.experiments.rows import Row, group_rows
from tlp_paraview import fitting, styles, versions

Values = npt.NDArray[np.float64]

_POINTS = (800, 600)
"""Size of a chart of points in pixels."""

_PANEL = (1000, 240)
"""Size of each chart over the training."""

_LEGEND = 200
"""Width of the legend in pixels."""

_LINE = 40
"""Height of its lines in pixels."""

_COLORS = (
    [0.12, 0.39, 0.66],
    [0.17, 0.60, 0.35],
    [0.58, 0.34, 0.71],
    [0.35, 0.35, 0.35],
    [0.10, 0.70, 0.74],
    [0.55, 0.34, 0.16],
    [0.85, 0.45, 0.66],
    [0.60, 0.62, 0.10],
)
"""Of lines, one after the other; red and orange are for minima and saddles."""

_MARGIN = 0.05
"""Share of the range of points that is left free around them."""

_UNEVEN = 10
"""Ratio of gaps between steps from which on they are spread over orders of magnitude."""


def draw_points(table: Sequence[Row], x: str, y: str, color: str, path: Path) -> None:
    """Write a chart of one column of a table over another, a point for each row.

    Args:
        table: a row for each landscape.
        x: the column that goes across.
        y: the one that goes up.
        color: the parameter by which points are coloured.
        path: of the picture.
    """
    across, up = _column(table, x), _column(table, y)
    view = _chart((x, y), up)
    view.BottomAxisLogScale = int(_spreads(across))
    for axis, values in ("Bottom", across), ("Left", up):
        _range(view, axis, *_around(values))
    colors = _colors(table, color)
    for (kind,), rows in group_rows(table, [color]).items():
        shown = _show(view, _column(rows, x), _column(rows, y), y)
        shown.SeriesLineStyle, shown.SeriesMarkerStyle = [y, "0"], [y, "4"]
        shown.SeriesMarkerSize, shown.SeriesColor = [y, "9"], [y, *map(str, colors[kind])]
    _save([view], _POINTS, color, colors, path)


def draw_training(
    table: Sequence[Row], columns: Sequence[str], parameters: Sequence[str], path: Path
) -> None:
    """Write charts of columns over the steps of training, one below the other.

    Args:
        table: a row for each checkpoint of each network.
        columns: to draw, with a line for each network.
        parameters: that tell networks apart; lines are coloured by the first.
        path: of the picture.
    """
    steps = np.unique(_column(table, "step"))
    logarithmic = bool(np.diff(steps).max() > _UNEVEN * np.diff(steps).min())
    colors = _colors(table, parameters[0])
    panels = []
    for column in columns:
        across = ("step + 1" if logarithmic else "step") if column == columns[-1] else ""
        view = _chart((across, column), _column(table, column))
        view.BottomAxisLogScale = int(logarithmic)
        _range(view, "Bottom", *(steps[[0, -1]] + logarithmic))
        for rows in group_rows(table, parameters).values():
            values = _column(rows, column)
            there = np.isfinite(values)
            shown = _show(view, _column(rows, "step")[there] + logarithmic, values[there], column)
            shown.SeriesColor = [column, *map(str, colors[rows[0][parameters[0]]])]
            shown.SeriesMarkerStyle, shown.SeriesMarkerSize = [column, "4"], [column, "5"]
        panels.append(view)
    _save(panels, _PANEL, parameters[0], colors, path)


def _colors(table: Sequence[Row], name: str) -> dict[str, list[float]]:
    """Return a colour for each value of a parameter."""
    kinds = dict.fromkeys(row[name] for row in table)
    return {kind: _COLORS[i % len(_COLORS)] for i, kind in enumerate(kinds)}


def _save(
    panels: list[Any],
    panel: tuple[int, int],
    name: str,
    colors: Mapping[str, list[float]],
    path: Path,
) -> None:
    """Write charts of a size, one below the other, with a legend of a parameter's colours."""
    size = (panel[0] + _LEGEND, panel[1] * len(panels))
    legend = styles.empty_view()
    for place, (kind, color) in enumerate(colors.items()):
        high = 1 - _LINE * (place + 1) / size[1]
        styles.text(f"{name} {kind}", legend, color=color, position=(0.1, high))
    grid = [[view] for view in panels]
    layout = versions.grid_layout(path.stem, grid, legend, _LEGEND / size[0])
    fitting.fit_layout(layout, size)
    simple.SaveScreenshot(str(path), layout, SeparatorColor=styles.WHITE)


def _chart(titles: tuple[str, str], up: Values) -> Any:
    """Return an empty chart with titles of the axes across and up, and what goes up."""
    view = simple.CreateView("XYChartView")
    view.ViewSize = list(_POINTS)
    view.ShowLegend = 0
    view.LeftAxisLogScale = int(_spreads(up))
    if len(up) and np.nanmin(up) == np.nanmax(up):
        _range(view, "Left", np.nanmin(up) - 1, np.nanmin(up) + 1)
    styles.title_chart(view, titles)
    return view


def _range(view: Any, axis: str, low: float, high: float) -> None:
    """Let an axis of a chart, such as ``Left``, show a range of values and no more."""
    setattr(view, f"{axis}AxisUseCustomRange", 1)
    setattr(view, f"{axis}AxisRangeMinimum", float(low))
    setattr(view, f"{axis}AxisRangeMaximum", float(high))


def _around(values: Values) -> tuple[float, float]:
    """Return a range around values, with room for points at its ends."""
    logarithmic = _spreads(values)
    finite = values[np.isfinite(values)]
    scaled = np.log10(finite) if logarithmic else finite
    low, high = (scaled.min(), scaled.max()) if len(scaled) else (0.0, 0.0)
    margin = _MARGIN * (high - low) or 1.0
    ends = low - margin, high + margin
    return (10 ** ends[0], 10 ** ends[1]) if logarithmic else ends


def _show(view: Any, across: Values, up: Values, name: str) -> Any:
    """Show one column over another in a chart, and return the representation."""
    data = vtkTable()
    for column, values in (("across", across), (name, up)):
        vtk_bridge.add_array(data.GetRowData(), column, values)
    producer = simple.TrivialProducer(registrationName=name)
    producer.GetClientSideObject().SetOutput(data)
    shown = styles.show_columns(producer, view, "across")
    shown.SeriesVisibility = [name]
    return shown


def _column(table: Sequence[Row], name: str) -> Values:
    return np.array([float(row[name]) for row in table])


def _spreads(values: Values) -> bool:
    """Return whether values are positive and lie orders of magnitude apart."""
    finite = values[np.isfinite(values)]
    return bool(len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min())
