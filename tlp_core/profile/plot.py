"""Profiles drawn by matplotlib: the picture of ParaView without ParaView, also as vector graphics.

Steps of polygons and lines that are smaller than a fraction of a pixel are left out. Of more than a
thousand polygons or discs, the smaller ones are embedded as an image. A file therefore stays small,
whatever the number of basins.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tlp_core.profile.basins import Basins, CriticalPoints
from tlp_core.profile.colors import COLOR_MAP, ORANGE, RED

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

Array = npt.NDArray[np.float64]
Range = tuple[float, float]

_FINENESS = 0.25
"""Largest error of a drawn width, in pixels of the figure."""

_VECTORS = 1000
"""Largest number of polygons, and of discs, that are drawn as vectors; an image holds the rest."""

_MARGIN = 0.02
"""Margins at the ends of the axes, as a fraction of their length, so that no disc is cut off."""

_FAINT = 0.25
"""Opacity of basins that may be noise."""

DISC = 22.0
"""Area of the discs of a few minima and saddles, in square points."""

_MANY = 300
"""Number of minima from which discs become smaller, so that they do not hide the basins."""

_SHORT = 300.0
"""Ratio of the ends of a logarithmic axis below which 2 and 5 times a power of ten are labelled."""

_BELOW = 30
"""Distance of the legend below its axes in points, which ticks and label of the axis need."""


def blues() -> Colormap:
    """Return the suite's colour map for matplotlib, dark blue for low."""
    from matplotlib.colors import LinearSegmentedColormap

    preset = json.loads(COLOR_MAP.read_text(encoding="utf-8"))[0]
    points = np.reshape(preset["RGBPoints"], (-1, 4))
    colors = [(position, tuple(color)) for position, *color in points.tolist()]
    return LinearSegmentedColormap.from_list(preset["Name"], colors)


def is_drawn_logarithmically(span: Range, *, logarithmic: bool) -> bool:
    """Return whether a range is drawn logarithmically.

    A range whose ends differ by less than a factor of 2 is drawn linearly: the picture is nearly
    the same, and a logarithmic axis would have equal labels.

    Args:
        span: lowest and highest loss.
        logarithmic: whether the user wants it.

    Raises:
        ValueError: if the user wants it, and a loss is not positive.
    """
    if logarithmic and span[0] <= 0:
        raise ValueError(
            f"a logarithmic loss axis needs losses above 0, got {span[0]:g}; use a linear axis"
        )
    return logarithmic and (span[0] == span[1] or span[1] >= 2 * span[0])


def color_scale(span: Range, *, logarithmic: bool) -> Normalize:
    """Return the scale of the colours of a range of losses, as the axis is."""
    from matplotlib.colors import LogNorm, Normalize

    logarithmic = is_drawn_logarithmically(span, logarithmic=logarithmic)
    low, high = _widened(span, logarithmic=logarithmic)
    return LogNorm(low, high) if logarithmic else Normalize(low, high)


def _widened(span: Range, *, logarithmic: bool) -> Range:
    """Return a range whose upper end is higher than its lower one, which scales need."""
    low, high = span
    if low < high:
        return span
    return low, 10.0 * low if logarithmic else low + 1.0


def label_losses(axis: Any, span: Range, *, logarithmic: bool) -> None:
    """Label an axis of losses by the losses, not by offsets or by powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, ScalarFormatter

    if not is_drawn_logarithmically(span, logarithmic=logarithmic):
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
        return
    is_short = span[1] < _SHORT * span[0]
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if is_short else (1.0,), numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda loss, _place: f"{loss:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_profile(
    axes: Axes,
    basins: Basins,
    critical: CriticalPoints,
    outline: Array,
    total_width: float,
    width_title: str,
    *,
    logarithmic: bool,
    loss_range: Range | None,
    color_range: Range,
    faint: npt.NDArray[np.bool_] | None = None,
) -> Any:
    """Draw the parts of a profile into axes; :meth:`Profile.plot` has the meaning of each.

    Returns:
        The collection of the basins, for a colour bar.
    """
    low, high = loss_range or (float(outline[:, 1].min()), float(outline[:, 1].max()))
    _set_axes(axes, total_width, low, high, logarithmic=logarithmic)
    axes.set_xlabel(width_title, loc="left")
    pixel = total_width / max(1.0, axes.get_window_extent().width)
    drawn = _draw_basins(axes, basins, pixel, faint)
    for collection in drawn:
        collection.set(norm=color_scale(color_range, logarithmic=logarithmic))
    if faint is not None and faint.any():
        axes.fill([], [], color=blues()(0.0), alpha=_FAINT, label="may be noise")
    line = _thin_line(outline, _FINENESS * pixel)
    axes.plot(*line.T, color="black", linewidth=0.8, zorder=3, solid_joinstyle="miter")
    _draw_critical_points(axes, critical)
    return drawn[0]


def add_legend(axes: Axes, drawn: Any, color_range: Range, *, logarithmic: bool) -> None:
    """Add the legend of minima and saddles below the axes, and the colour bar beside them.

    Args:
        axes: with a profile.
        drawn: what :func:`draw_profile` returned for it.
        color_range: lowest and highest average loss of the colours.
        logarithmic: whether the axis of the losses is.
    """
    show_legend(axes, *axes.get_legend_handles_labels())
    add_color_bar(drawn, axes, "average loss", color_range, logarithmic=logarithmic)


def show_legend(axes: Axes, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Show a legend below the right end of axes, where neither data nor titles are."""
    from matplotlib.collections import PathCollection
    from matplotlib.transforms import ScaledTranslation

    below = ScaledTranslation(0, -_BELOW / 72, axes.figure.dpi_scale_trans)
    legend = axes.legend(
        handles,
        labels,
        loc="upper right",
        bbox_to_anchor=(1.0, 0.0),
        bbox_transform=axes.transAxes + below,
        ncols=len(labels),
        frameon=False,
        handletextpad=0.1,
        columnspacing=1.0,
        borderaxespad=0.0,
    )
    for handle in legend.findobj(PathCollection):
        handle.set_sizes([DISC])  # also where the discs of the axes are smaller


def add_color_bar(
    drawn: Any, beside: Any, text: str, span: Range, *, logarithmic: bool, **shape: float
) -> None:
    """Add a colour bar; that of a range of one value has one label.

    Args:
        drawn: what the colours belong to.
        beside: the axes, or several, beside which the bar is.
        text: its label.
        span: lowest and highest value of the colours.
        logarithmic: whether the colours are.
        shape: further arguments of ``Figure.colorbar``.
    """
    from matplotlib.ticker import MaxNLocator

    figure = np.ravel(beside)[0].figure
    bar = figure.colorbar(drawn, ax=beside, label=text, ticks=MaxNLocator(6), **shape)
    label_losses(bar.ax.yaxis, span, logarithmic=logarithmic)
    if span[0] == span[1]:
        bar.set_ticks([span[0]], labels=[f"{span[0]:.3g}"])
        bar.minorticks_off()


def _set_axes(
    axes: Axes, total_width: float, low: float, high: float, *, logarithmic: bool
) -> None:
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    logarithmic = is_drawn_logarithmically((low, high), logarithmic=logarithmic)
    axes.set_xlim(0.0, total_width)
    if logarithmic:
        axes.set_yscale("log")
        factor = (high / low) ** _MARGIN if high > low else 2.0
        axes.set_ylim(low / factor, high * factor)
    else:
        margin = _MARGIN * (high - low) if high > low else max(1.0, abs(high)) * 0.5
        axes.set_ylim(low - margin, high + margin)
    label_losses(axes.yaxis, (low, high), logarithmic=logarithmic)
    if total_width > 1:
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_ylabel("loss")
    axes.grid(color="0.9", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_basins(
    axes: Axes, basins: Basins, pixel: float, faint: npt.NDArray[np.bool_] | None
) -> list[Any]:
    """Draw all basins: the widest as polygons, those beyond a number of polygons as an image."""
    from matplotlib.collections import PolyCollection

    polygons = basin_polygons(basins, _FINENESS * pixel)
    by_width = np.argsort(-basins.top_width, kind="stable")
    wide, narrow = by_width[:_VECTORS], by_width[_VECTORS:]
    drawn = []
    for chosen, is_image in ((wide, False), (narrow, True)):
        if len(chosen):
            # edges of the own colour close the seams that antialiasing leaves between neighbours
            collection = PolyCollection(
                [polygons[basin] for basin in chosen],
                array=basins.average_loss[chosen],
                cmap=blues(),
                edgecolors="face",
                linewidths=0.3,
                zorder=2,
                rasterized=is_image,
                alpha=None if faint is None else np.where(faint[chosen], _FAINT, 1.0),
            )
            drawn.append(axes.add_collection(collection, autolim=False))
    return drawn


def basin_polygons(basins: Basins, fineness: float) -> list[Array]:
    """Return the polygon of each basin, (2 S, 2), without steps by less than the fineness."""
    arc = np.repeat(np.arange(len(basins)), np.diff(basins.step_start))
    kept = _changes(np.floor(basins.step_width / fineness), arc)
    arc = arc[kept]
    left = basins.center[arc] - basins.step_width[kept] / 2
    right = basins.center[arc] + basins.step_width[kept] / 2
    height = basins.step_height[kept]
    ends = np.cumsum(np.bincount(arc, minlength=len(basins)))
    return [
        np.concatenate(
            [
                np.stack([left[part], height[part]], axis=1),
                np.stack([right[part], height[part]], axis=1)[::-1],
            ]
        )
        for part in map(slice, np.append(0, ends[:-1]), ends)
    ]


def _changes(level: Array, group: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the indices of entries that differ from the entry before or after in their group."""
    differs = (level[1:] != level[:-1]) | (group[1:] != group[:-1])
    ends = np.concatenate([[True], differs, [True]])
    return np.flatnonzero(ends[1:] | ends[:-1])


def _thin_line(line: Array, fineness: float) -> Array:
    """Return the first, last, lowest and highest corner of a line in each column of a width."""
    column = np.floor(line[:, 0] / fineness).astype(np.int64)
    starts = np.flatnonzero(np.append(True, np.diff(column) != 0))
    ends = np.append(starts[1:], len(line)) - 1
    by_height = np.lexsort((line[:, 1], column))
    kept = np.unique(np.concatenate([starts, ends, by_height[starts], by_height[ends]]))
    return np.asarray(line[kept])


def draw_discs(
    axes: Axes, x: Array, y: Array, order: Array, color: Any, label: str | None, *, count: int
) -> None:
    """Draw discs; those beyond a number of them become an image, and many are smaller.

    Args:
        axes: the axes.
        x: (C,) horizontal places.
        y: (C,) vertical places.
        order: (C,) persistence; the largest are drawn as vectors.
        color: of all discs.
        label: text of the legend; None for no entry.
        count: number of all discs of the axes.
    """
    area = max(1.0, DISC * min(1.0, _MANY / max(1, count)))
    by_order = np.argsort(-order, kind="stable")
    for part, is_image in ((by_order[_VECTORS:], True), (by_order[:_VECTORS], False)):
        if len(part):
            axes.scatter(
                x[part],
                y[part],
                s=area,
                color=[color],
                linewidths=0,
                zorder=4,
                clip_on=False,
                rasterized=is_image,
                label=None if is_image else label,
            )


def _draw_critical_points(axes: Axes, critical: CriticalPoints) -> None:
    from tlp_core.array_names import CriticalType

    is_minimum = critical.type == CriticalType.MINIMUM
    for name, color, chosen in (("saddle", ORANGE, ~is_minimum), ("minimum", RED, is_minimum)):
        x, y = critical.x[chosen], critical.height[chosen]
        order = critical.persistence[chosen]
        draw_discs(axes, x, y, order, color, name, count=len(critical.x))
