"""Charts of an experiment's table, drawn by matplotlib."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tlp_core.atomic_files import atomic_write
from tlp_core.experiments.definition import Dates, Experiment
from tlp_core.experiments.rows import Row, group_rows, read_rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Values = npt.NDArray[np.float64]

_COLORS = ("#1f63a8", "#2b9959", "#944fb5", "#595959", "#1ab3bd", "#8c5729", "#d973a8", "#999e1a")
"""Colours of the values of a parameter; red and orange mean minima and saddles."""

_STYLES = ("-", "--", ":", "-.")
"""Styles of the lines of networks that differ in further parameters, such as the seed."""

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p")
"""Shapes of the points of networks that differ in a further parameter, such as the seed."""

_PALETTE = 128
"""Number of colours of a picture: those above, and their blends with white at edges."""

_LOGARITHMIC_RANGE = 30
"""Ratio of the largest to the smallest positive value above which an axis is logarithmic."""

_FEW_DECADES = 1_000
"""Ratio of the largest to the smallest value up to which 1, 2 and 5 of each decade are labelled."""

_LOGARITHMIC_STEPS = 10
"""Ratio of the largest to the smallest gap between steps above which their axis is logarithmic."""


def draw_charts(
    experiment: Experiment, folder: Path, *, is_wanted: Callable[[Path], bool] = lambda _path: True
) -> list[Path]:
    """Draw the charts of an experiment from the tables in its folder.

    For each look: a chart for each pair of columns in ``figures``, and one of the columns in
    ``series`` over the steps of the training; then the experiment's own ``charts``.

    Args:
        experiment: the experiment.
        folder: folder of its results.
        is_wanted: function that returns whether to draw a picture, given its path. Default: all.

    Returns:
        The ``.png`` files. A look without a column of a chart has no such chart.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
        FileNotFoundError: if the folder has no tables.
    """
    if not (table := read_rows(folder / "descriptors.csv")):
        raise FileNotFoundError(f"{folder} must have tables of an experiment, and has none")
    with open(folder / "landscapes.csv", newline="", encoding="utf-8") as file:
        _, *parameters, _step, _look = csv.DictReader(file).fieldnames or ()
    parameters.sort(key=lambda name: name != experiment.rows)
    charts: dict[Path, Callable[[Path], object]] = {}
    for (look,), rows in group_rows(table, ["look"]).items():
        last = [row for row in rows if row["step"] == rows[-1]["step"]]
        for x, y in experiment.figures:
            if all(any(name in row for row in rows) for name in (x, y)):
                path = folder / f"{y} over {x} {look}.png".replace(" ", "_")
                chosen = last if x in parameters else rows
                charts[path] = partial(draw_points, chosen, x, y, parameters)
        if experiment.series and len({row["step"] for row in rows}) > 1:
            path = folder / f"training_{look}.png"
            dates = experiment.dates(rows)
            charts[path] = partial(draw_training, rows, experiment.series, parameters, dates=dates)
    charts |= {folder / name: partial(draw, table) for name, draw in experiment.charts.items()}
    wanted = {path: draw for path, draw in charts.items() if is_wanted(path)}
    for path, draw in wanted.items():
        draw(path)
    return [path for path in wanted if path.exists()]


def draw_points(
    table: Sequence[Row], x: str, y: str, parameters: Sequence[str], path: Path
) -> Path:
    """Draw one column of a table over another, with a point for each row.

    Args:
        table: a row for each landscape.
        x: name of the column on the horizontal axis.
        y: name of the column on the vertical axis.
        parameters: that identify a network; the first decides the colours of the points, the next
            with several values, such as the seed, their shapes.
        path: of the picture.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    figure = _figure(6.4, 4.8)
    axes = figure.subplots()
    color, *others = parameters
    colors, shape = _colors(table, color), _first_of_several(table, others)
    kinds = dict.fromkeys(row.get(shape) for row in table)
    markers = {kind: _MARKERS[i % len(_MARKERS)] for i, kind in enumerate(kinds)}
    drawn = [{**row, shape: row.get(shape)} for row in table]
    for (kind, other), rows in group_rows(drawn, [color, shape]).items():
        style = {"color": colors[kind], "mec": "white", "mew": 0.5, "markersize": 8}
        axes.plot(_column(rows, x), _column(rows, y), markers[other], **style)
    for kind, tone in colors.items():
        axes.plot([], [], "o", color=tone, label=f"{color} {kind}")
    for kind, marker in markers.items() if shape else ():
        axes.plot([], [], marker, color="0.6", label=f"{shape} {kind}")
    _scale(axes, x, _column(table, x), "x")
    _scale(axes, y, _column(table, y), "y")
    return _save(figure, [axes], path)


def draw_values(groups: Mapping[str, Values], label: str, path: Path) -> Path:
    """Draw groups of positive values on one logarithmic axis, a line for each group.

    Args:
        groups: the values of each group by its name, from top to bottom.
        label: label of the axis.
        path: of the picture.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    from matplotlib.ticker import LogLocator, NullLocator

    figure = _figure(8.0, 1.2 + 0.36 * len(groups))
    axes = figure.subplots()
    for place, values in enumerate(groups.values()):
        axes.plot(values, np.full(len(values), place), "o", color=_COLORS[0], alpha=0.5)
        axes.plot(np.exp(np.log(values).mean()), place, "|", color="black", markersize=16)
    axes.set_yticks(range(len(groups)), list(groups))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
    return _save(figure, [axes], path)


def draw_training(
    table: Sequence[Row],
    columns: Sequence[str],
    parameters: Sequence[str],
    path: Path,
    dates: Dates | None = None,
) -> Path:
    """Draw columns of a table over the steps of training, one chart below the other.

    Args:
        table: a row for each checkpoint of each network.
        columns: names of the columns, each with a line for each network.
        parameters: that identify a network; the first decides the colours of the lines, the others
            their styles.
        path: of the picture.
        dates: steps of changes, which are marked by rings. Default: none.

    Returns:
        The path.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    gaps = np.diff(np.unique(_column(table, "step")))
    offset = 1.0 if gaps.max() > _LOGARITHMIC_STEPS * gaps.min() else 0.0
    figure = _figure(9.0, 1.9 * len(columns))
    panels = list(figure.subplots(len(columns), squeeze=False, sharex=True)[:, 0])
    colors = _colors(table, parameters[0])
    others = dict.fromkeys(network[1:] for network in group_rows(table, parameters))
    place = {other: i for i, other in enumerate(others)}
    cycle = {kind: i // len(_COLORS) for i, kind in enumerate(colors)}  # as colours repeat
    for axes, column in zip(panels, columns):
        for network, rows in group_rows(table, parameters).items():
            kind = rows[0][parameters[0]]
            steps, values = _column(rows, "step") + offset, _column(rows, column)
            finite = np.isfinite(values)
            line = _STYLES[(place[network[1:]] + cycle[kind]) % len(_STYLES)]
            style = {"color": colors[kind], "linewidth": 1, "linestyle": line}
            axes.plot(steps[finite], values[finite], marker=".", **style)
            dated = (dates or {}).get(column, {}).get(network, np.nan) + offset
            at = np.flatnonzero(steps == dated)
            axes.plot(steps[at], values[at], "o", mfc="none", mec=colors[kind], markersize=11)
        _scale(axes, column, _column(table, column), "y")
    for kind, tone in colors.items():
        line, label = _STYLES[cycle[kind] % len(_STYLES)], f"{parameters[0]} {kind}"
        panels[0].plot([], [], line, marker=".", linewidth=1, color=tone, label=label)
    if 1 < len(others) <= len(_STYLES):
        for other, line in zip(others, _STYLES):
            label = ", ".join(f"{name} {value}" for name, value in zip(parameters[1:], other))
            panels[0].plot([], [], line, linewidth=1, color="0.4", label=label)
    if offset:
        panels[-1].set_xscale("log")
    panels[-1].set_xlabel("step + 1" if offset else "step")
    return _save(figure, panels, path)


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure; without pyplot, which would keep it and may open a window."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def _scale(axes: Axes, name: str, values: Values, axis: str) -> None:
    """Label an axis, and make it logarithmic, or of whole numbers, as its values need."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    getattr(axes, f"set_{axis}label")(name.replace("_", " "))
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() == finite.max():
        getattr(axes, f"set_{axis}lim")(finite.min() - 1, finite.max() + 1)
    is_wide = len(finite) and finite.min() > 0 and finite.max() > _LOGARITHMIC_RANGE * finite.min()
    if is_wide and not name.endswith("accuracy"):
        getattr(axes, f"set_{axis}scale")("log")
        if finite.max() < _FEW_DECADES * finite.min():
            ticked = getattr(axes, f"{axis}axis")
            ticked.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ticked.set_major_formatter("{x:g}")
            ticked.set_minor_locator(NullLocator())
    elif len(finite) and (finite == finite.round()).all():
        getattr(axes, f"{axis}axis").set_major_locator(MaxNLocator(integer=True))


def _save(figure: Figure, panels: Sequence[Axes], path: Path) -> Path:
    """Add a legend beside the charts, and write the picture.

    It has a palette of colours, which takes a quarter of the bytes.
    """
    from PIL import Image

    handles, labels = panels[0].get_legend_handles_labels()
    if labels:
        legend = figure.legend(handles, labels, loc="upper right", frameon=False)
        taken = legend.get_window_extent().width / figure.bbox.width
        figure.set_layout_engine("constrained", rect=(0, 0, 0.99 - taken, 1))
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.9", linewidth=0.6)
    figure.align_ylabels(panels)
    with atomic_write(path) as temporary:
        figure.savefig(temporary)
        with Image.open(temporary) as drawn:
            palette = drawn.convert("RGB").quantize(_PALETTE)
        palette.save(temporary, format="PNG", optimize=True)
    return path


def _colors(table: Sequence[Row], name: str) -> dict[str, str]:
    """Return a colour for each value of a parameter."""
    kinds = dict.fromkeys(row[name] for row in table)
    return {kind: _COLORS[i % len(_COLORS)] for i, kind in enumerate(kinds)}


def _first_of_several(table: Sequence[Row], names: Sequence[str]) -> str:
    """Return the first of some columns that has several values; "" if there is none."""
    return next((name for name in names if len({row.get(name) for row in table}) > 1), "")


def _column(table: Sequence[Row], name: str) -> Values:
    return np.array([float(row.get(name, np.nan)) for row in table])
