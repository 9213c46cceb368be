"""Pictures of landscapes by matplotlib, as vector graphics or pixels; they need no ParaView."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.array_names import CriticalType
from tlp_core.atomic_files import atomic_write
from tlp_core.choices import PANELS, PROFILE_WIDTHS, Panel, ProfileWidth
from tlp_core.landscape.landscape import Landscape
from tlp_core.profile import ORANGE, RED, Profile, landscape_profile
from tlp_core.profile.plot import (
    add_color_bar,
    blues,
    color_scale,
    draw_discs,
    draw_profile,
    is_drawn_logarithmically,
    label_losses,
    show_legend,
)
from tlp_core.topology.branches import node_persistence
from tlp_core.topology.merge_tree import MergeTree, shown_levels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURE_ENDINGS = (".svg", ".pdf", ".png")

_PANEL = (4.6, 3.6)
"""Width and height of a panel in inches."""

_SERIES = (6.4, 1.7)
"""Width and height of the panel of a series in inches."""

_BESIDE = 1.1
"""Width of the colour bar with its labels, in inches."""

_DOTS = 200
"""Dots per inch of a .png file, and of images inside vector graphics."""

_TOLERANCE = 1e-4
"""Largest error of a width in a profile, as a fraction of its width."""

_FINE = 100 * 100
"""Number of samples above which contours are embedded as an image."""

_LEVELS = 24
"""Number of levels of a landscape's contours, with the lowest and the highest loss."""


@dataclass(frozen=True)
class Pictured:
    """One landscape of a picture.

    Attributes:
        heading: text above it.
        landscape: the losses.
        tree: their merge tree, simplified or not.
        faint: (A,) whether each basin of the tree is drawn faint; None for none.
    """

    heading: str
    landscape: Landscape
    tree: MergeTree
    faint: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class _Scales:
    """What all panels of a picture share.

    Attributes:
        losses: lowest and highest loss.
        averages: lowest and highest average loss of a basin.
        width: largest total width of a profile.
        logarithmic: whether axes and colours of losses are.
    """

    losses: tuple[float, float]
    averages: tuple[float, float]
    width: float
    logarithmic: bool


def draw_landscapes(
    cells: Sequence[Sequence[Pictured | None]],
    *,
    panels: Sequence[Panel] = ("profile",),
    logarithmic: bool = False,
    width: ProfileWidth = "samples",
) -> Figure:
    """Draw landscapes in rows and columns, with one loss axis and one range of colours.

    Args:
        cells: rows of equal length; None leaves a cell empty.
        panels: what is drawn of each landscape, one below the other: ``profile``; ``landscape``,
            the samples of one or two directions, or those of the slice through the model along the
            first two; or ``diagram``, the persistence diagram. Default: the profile.
        logarithmic: draw axes and colours of the losses logarithmically. Default: False.
        width: width of the basins: ``samples``, or ``n-th root`` for landscapes of different n,
            see the argument ``degree`` of :func:`~tlp_core.landscape_profile`.
            Default: ``samples``.

    Returns:
        The figure; :func:`write_picture` writes it.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
        ValueError: if all cells are empty, a panel is unknown, or a logarithmic axis has a loss
            that is not positive.
    """
    from matplotlib.figure import Figure

    checks.choice(width, PROFILE_WIDTHS, name="width")
    for panel in panels:
        checks.choice(panel, PANELS, name="panels")
    profiles = {id(each): _profile(each, width) for row in cells for each in row if each}
    if not profiles or not panels:
        raise ValueError("a picture must show at least one panel of one landscape, got none")
    scales = _scales(list(profiles.values()), logarithmic=logarithmic)
    rows = [(panel, row) for row in cells for panel in panels]
    size = (_PANEL[0] * len(cells[0]) + _BESIDE, _PANEL[1] * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(len(rows), len(cells[0]), squeeze=False)
    colored: dict[Panel, Any] = {}
    for i, (panel, row) in enumerate(rows):
        for axes, each in zip(grid[i], row):
            if each is None:
                axes.set_axis_off()
                continue
            if panel == "profile":
                colored[panel] = _draw_profile(axes, profiles[id(each)], scales, each.faint)
            elif panel == "landscape":
                drawn = _draw_samples(axes, each, scales)
                if drawn is not None:
                    colored[panel] = drawn
            else:
                _draw_diagram(axes, each.tree, scales)
            if panel == panels[0]:
                axes.set_title(each.heading, loc="left", fontsize="medium")
            if axes is not grid[i, 0]:
                axes.set_ylabel("")
            if len(panels) == 1 and i + 1 < len(rows):
                axes.set_xlabel("")
    kinds = [panel for panel, _row in rows]
    for panel, drawn in colored.items():
        beside = [axes for kind, line in zip(kinds, grid) if kind == panel for axes in line]
        is_profile = panel == "profile"
        text, span = ("average loss", scales.averages) if is_profile else ("loss", scales.losses)
        shape = {"fraction": 0.05, "aspect": 20.0 * len(cells)}
        add_color_bar(drawn, beside, text, span, logarithmic=logarithmic, **shape)
    _add_legend(grid)
    return figure


def draw_series(
    steps: Sequence[float],
    columns: Mapping[str, Sequence[float]],
    transitions: Mapping[str, Sequence[float]] | None = None,
    *,
    logarithmic: bool = False,
) -> Figure:
    """Draw numbers over the steps of a training, one below the other.

    Args:
        steps: (T,) steps, in ascending order.
        columns: (T,) values of each number by name; NaN leaves a gap.
        transitions: steps of the changes of each number, drawn as dashed lines. Default: none.
        logarithmic: draw the steps logarithmically; step 0 is drawn at half of the next one.
            Default: False.

    Returns:
        The figure; :func:`write_picture` writes it.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
        ValueError: if there are no columns, or a column has another length than the steps.
    """
    from matplotlib.figure import Figure

    if not columns:
        raise ValueError("a picture of series must have a column, got none")
    places = np.asarray(steps, dtype=np.float64)
    if logarithmic and len(places) > 1 and places[0] == 0:
        places = np.append(places[1] / 2, places[1:])
    figure = Figure(figsize=(_SERIES[0], _SERIES[1] * len(columns) + 0.4), layout="constrained")
    grid = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (name, values) in zip(grid, columns.items()):
        if len(values) != len(places):
            raise ValueError(f"{name} must have {len(places)} values, got {len(values)}")
        axes.plot(places, values, color=blues()(0.0), marker="o", markersize=3, linewidth=1)
        axes.set_title(name.replace("_", " "), loc="left", fontsize="medium")
        axes.grid(color="0.93")
        for step in (transitions or {}).get(name, ()):
            axes.axvline(step, color=RED, linestyle="--", linewidth=1)
    if logarithmic:
        grid[-1].set_xscale("log")
    grid[-1].set_xlabel("step", loc="left")
    return figure


def write_picture(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure, the same bytes each time.

    Args:
        figure: the figure.
        path: NAME.svg, NAME.pdf or NAME.png.

    Raises:
        ValueError: if the path has another ending.
    """
    import matplotlib

    require_picture(path)
    kind = Path(path).suffix.lower()
    # texts stay texts, so that a reader can search and edit them
    style = {"svg.hashsalt": "tlp", "svg.fonttype": "none", "pdf.fonttype": 42}
    undated: dict[str, dict[str, Any]] = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    with atomic_write(path) as temporary, matplotlib.rc_context(style):
        figure.savefig(temporary, dpi=_DOTS, metadata=undated.get(kind))


def require_picture(path: str | os.PathLike[str]) -> None:
    """Check that a path has the ending of a picture.

    Raises:
        ValueError: if it does not.
    """
    if Path(path).suffix.lower() not in PICTURE_ENDINGS:
        raise ValueError(f"a picture must end in {', '.join(PICTURE_ENDINGS)}, got {path}")


def _profile(each: Pictured, width: ProfileWidth) -> Profile:
    is_root = width == "n-th root"
    degree = each.landscape.number_of_directions if is_root else 1
    return landscape_profile(each.tree, degree=degree, relative=is_root, tolerance=_TOLERANCE)


def _scales(profiles: Sequence[Profile], *, logarithmic: bool) -> _Scales:
    heights = [profile.outline[:, 1] for profile in profiles]
    averages = [profile.basins.average_loss for profile in profiles]
    (low, high), (dark, light) = (
        (float(min(map(np.min, parts))), float(max(map(np.max, parts))))
        for parts in (heights, averages)
    )
    logarithmic = is_drawn_logarithmically((low, high), logarithmic=logarithmic)
    widths = {profile.total_width for profile in profiles}
    return _Scales((low, high), (dark, light), max(widths), logarithmic)


def _draw_profile(
    axes: Axes, profile: Profile, scales: _Scales, faint: npt.NDArray[np.bool_] | None
) -> Any:
    drawn = draw_profile(
        axes,
        profile.basins,
        profile.critical_points,
        profile.outline,
        profile.total_width,
        profile.width_title,
        logarithmic=scales.logarithmic,
        loss_range=scales.losses,
        color_range=scales.averages,
        faint=faint,
    )
    axes.set_xlim(0.0, scales.width)
    return drawn


def _draw_samples(axes: Axes, each: Pictured, scales: _Scales) -> Any:
    """Draw the samples of a landscape: a curve, contours or points, and the model at the origin."""
    landscape = each.landscape
    n = landscape.number_of_directions
    losses = shown_levels(landscape.loss)
    norm = color_scale(scales.losses, logarithmic=scales.logarithmic)
    colors = {"cmap": blues(), "norm": norm}
    axes.set_xlabel("direction 1", loc="left")
    if n == 1:
        x = landscape.coordinates()[:, 0]
        by_place = np.argsort(x)
        axes.plot(x[by_place], losses[by_place], color="black", linewidth=0.8)
        axes.set_ylabel("loss")
        own = float(losses.min()), float(losses.max())
        if is_drawn_logarithmically(own, logarithmic=scales.logarithmic):
            axes.set_yscale("log")
        label_losses(axes.yaxis, own, logarithmic=scales.logarithmic)
        axes.axvline(0.0, color="0.6", linestyle=":", zorder=0)
        return None
    axes.set_ylabel("direction 2")
    axes.set_aspect("equal", adjustable="box")
    axes.locator_params(nbins=4)  # labels of narrow boxes would touch
    if landscape.points is not None:
        x, y = landscape.points[:, 0], landscape.points[:, 1]
        drawn = axes.scatter(x, y, c=losses, s=8, linewidths=0, rasterized=len(x) > _DOTS, **colors)
    else:
        middle = tuple(size // 2 for size in landscape.shape[2:])
        across: tuple[Any, ...] = (slice(None), slice(None), *middle)
        plane = losses[across].T
        x, y = landscape.axis(0), landscape.axis(1)
        drawn = axes.pcolormesh(x, y, plane, shading="gouraud", rasterized=True, **colors)
        space = np.geomspace if scales.logarithmic else np.linspace
        levels = space(*scales.losses, _LEVELS)[1:-1]
        inside = levels[(plane.min() < levels) & (levels < plane.max())]
        if len(inside):
            if plane.size > _FINE:
                axes.set_rasterization_zorder(1.0)
            axes.contour(x, y, plane, inside, colors="black", linewidths=0.25, zorder=0.5)
    if n == 2:
        _mark_critical_points(axes, each)
    axes.plot(0.0, 0.0, "k+", markersize=9, zorder=4, label="the model")
    return drawn


def _mark_critical_points(axes: Axes, each: Pictured) -> None:
    tree = each.tree
    places = each.landscape.coordinates()[tree.node_vertex]
    is_minimum = tree.node_type == CriticalType.MINIMUM
    is_saddle = ~is_minimum & (tree.node_type != CriticalType.ROOT)
    order = node_persistence(tree.branches(), len(tree.parent))
    for name, color, chosen in (("saddle", ORANGE, is_saddle), ("minimum", RED, is_minimum)):
        x, y = places[chosen].T
        draw_discs(axes, x, y, order[chosen], color, name, count=len(places))


def _draw_diagram(axes: Axes, tree: MergeTree, scales: _Scales) -> None:
    pairs = tree.branches()
    axes.plot(scales.losses, scales.losses, color="black", linewidth=0.8)
    order, count = pairs.persistence, len(pairs.birth)
    draw_discs(axes, pairs.birth, pairs.death, order, RED, None, count=count)
    if scales.logarithmic:
        axes.set(xscale="log", yscale="log")
    axes.set_xlabel("loss at birth", loc="left")
    axes.set_ylabel("loss at death")
    for axis in (axes.xaxis, axes.yaxis):
        label_losses(axis, scales.losses, logarithmic=scales.logarithmic)


def _add_legend(panels: npt.NDArray[np.object_]) -> None:
    """Add one legend below the panels, with one entry for each label."""
    entries: dict[str, Any] = {}
    for axes in panels.ravel():
        for handle, label in zip(*axes.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    last = [axes for axes in panels[-1] if axes.axison][-1:]
    for axes in last:
        show_legend(axes, list(entries.values()), list(entries))
