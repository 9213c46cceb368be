"""The pictures: the landscape as ParaView shows it, beside its profile.

A profile is flat, x in samples and y the loss times the filter's height scale, which the axes undo
(``DataScale``), so that their labels read samples and loss.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from paraview import servermanager, simple
from vtkmodules.util.numpy_support import vtk_to_numpy

from tlp_core import array_names as names
from tlp_core.array_names import CriticalType
from tlp_paraview import versions
from tlp_paraview.pipeline import Pipeline, number_of_directions, title

COLOR_MAP = Path(__file__).parent / "colormaps" / "tlp_blues.json"
SIZE = (1600, 900)

BLACK, WHITE, GREY = [0.0] * 3, [1.0] * 3, [0.8] * 3
RED, ORANGE = [0.84, 0.10, 0.11], [0.99, 0.55, 0.0]

_FRAME = (0.13, 0.80, 0.13, 0.86)
"""Left, right, bottom and top of a profile in its view; outside are labels, title, colour bar."""

_SHIFT = 0.04
"""Share of its width by which the native view looks to the right, to free the colour bar."""

_LEVELS = (0.02, 0.1, 0.3)
"""Shares of the samples that three surfaces enclose in the view of three directions."""


@dataclass(frozen=True)
class Ranges:
    """What several profiles share: the range of the loss axis, that of the colours, the width."""

    loss: tuple[float, float]
    average_loss: tuple[float, float]
    samples: float

    def height_scale(self, size: tuple[int, int]) -> float:
        """Return the factor on the loss under which the profile fills its frame in a view."""
        left, right, bottom, top = _FRAME
        aspect = (top - bottom) * size[1] / ((right - left) * size[0])
        span = self.loss[1] - self.loss[0]
        return aspect * self.samples / span if span > 0 else 1.0


def show_landscape(pipeline: Pipeline, *, size: tuple[int, int] = SIZE) -> Any:
    """Show a landscape and its profile side by side, and return the layout."""
    native, profile = _empty_view(), _empty_view()
    layout = _layout(title(pipeline.source), native, profile, size)
    ranges = shared_ranges([pipeline])
    show_native(pipeline, native, size)
    show_profile(pipeline, profile, ranges, (size[0] // 2, size[1]))
    return layout


def compare_profiles(pipelines: Sequence[Pipeline], *, size: tuple[int, int] = SIZE) -> Any:
    """Show two profiles side by side with one loss axis and one range of colours."""
    left, right = _empty_view(), _empty_view()
    layout = _layout("Profiles", left, right, size)
    ranges = shared_ranges(pipelines)
    for pipeline, view in zip(pipelines, (left, right), strict=True):
        show_profile(pipeline, view, ranges, (size[0] // 2, size[1]))
    return layout


def close_views() -> None:
    """Delete all views; a script that exits with some open can die of an X error in 5.11."""
    for view in simple.GetRenderViews():
        simple.Delete(view)


def shared_ranges(pipelines: Sequence[Pipeline]) -> Ranges:
    """Return the ranges that hold all of the profiles."""
    basins = [servermanager.Fetch(p.profile, idx=0) for p in pipelines]
    births, deaths, averages, sizes = (
        np.concatenate([vtk_to_numpy(b.GetCellData().GetArray(name)) for b in basins])
        for name in (names.BIRTH, names.DEATH, names.AVERAGE_LOSS, names.SIZE)
    )
    return Ranges(
        loss=(float(births.min()), float(deaths.max())),
        average_loss=(float(averages.min()), float(averages.max())),
        samples=float(sizes.max()),
    )


def show_profile(pipeline: Pipeline, view: Any, ranges: Ranges, size: tuple[int, int]) -> None:
    """Show a profile in a view: basins, outline, points, axes, colour bar, legend and title."""
    scale = ranges.height_scale(size)
    pipeline.profile.HeightScale = scale
    basins = simple.Show(pipeline.basins, view)
    _color_by_loss(basins, ("CELLS", names.AVERAGE_LOSS), ranges.average_loss)
    _flat(basins)
    _color_bar(names.AVERAGE_LOSS, "average loss", view, size)
    outline = simple.Show(pipeline.outline, view)
    _solid(outline, BLACK, LineWidth=1.5)
    _show_critical_points(pipeline.critical_points, view, size)
    _profile_axes(view, ranges, scale, size)
    _text(title(pipeline.source), view, size, WindowLocation="Upper Center")
    _text("loss", view, size, Position=[0.08, 0.885])
    _fit(view, ranges, scale, size)


def show_native(pipeline: Pipeline, view: Any, size: tuple[int, int]) -> None:
    """Show the samples themselves: a surface for n = 2, nested surfaces for n = 3, else points."""
    n = number_of_directions(pipeline.source)
    count = pipeline.source.GetDataInformation().GetNumberOfPoints()
    _text(f"{count:,} samples in {n} directions", view, size, WindowLocation="Upper Center")
    if n == 2:
        _show_surface(pipeline, view, size)
    elif n == 3:
        _show_contours(pipeline, view, size)
    else:
        _show_points(pipeline, view, size)


def _show_surface(pipeline: Pipeline, view: Any, size: tuple[int, int]) -> None:
    image = servermanager.Fetch(pipeline.source, idx=1)
    bounds = image.GetBounds()
    low, high = image.GetPointData().GetArray(names.LOSS).GetRange()
    scale = (bounds[1] - bounds[0]) * 0.5 / (high - low) if high > low else 1.0
    surface = simple.WarpByScalar(
        registrationName="Surface", Input=simple.OutputPort(pipeline.source, 1)
    )
    surface.Scalars = ["POINTS", names.LOSS]
    surface.ScaleFactor = scale
    shown = simple.Show(surface, view)
    shown.SetRepresentationType("Surface")
    _color_by_loss(shown, ("POINTS", names.LOSS), (low, high))
    _color_bar(names.LOSS, "loss", view, size)
    _show_placed_points(pipeline, view, size, f" + {scale!r}*{names.LOSS}*kHat")
    _native_axes(view, size, ("direction 1", "direction 2", "loss"), (1, 1, scale))
    _look_from(view, (-1.0, -1.6, 1.1))


def _show_contours(pipeline: Pipeline, view: Any, size: tuple[int, int]) -> None:
    image = servermanager.Fetch(pipeline.source, idx=1)
    losses = vtk_to_numpy(image.GetPointData().GetArray(names.LOSS))
    levels = np.unique(np.quantile(losses, _LEVELS))
    for i, level in enumerate(levels):
        contour = simple.Contour(
            registrationName=f"Loss {level:.3g}", Input=simple.OutputPort(pipeline.source, 1)
        )
        contour.ContourBy = ["POINTS", names.LOSS]
        contour.Isosurfaces = [float(level)]
        shown = simple.Show(contour, view)
        shown.SetRepresentationType("Surface")
        _color_by_loss(shown, ("POINTS", names.LOSS), (float(losses.min()), float(levels[-1])))
        shown.Opacity = 1.0 if i == 0 else 0.35 / i
    _color_bar(names.LOSS, "loss", view, size)
    _show_placed_points(pipeline, view, size, "")
    _native_axes(view, size, ("direction 1", "direction 2", "direction 3"), (1, 1, 1))
    _look_from(view, (-1.0, -1.6, 0.9))


def _show_points(pipeline: Pipeline, view: Any, size: tuple[int, int]) -> None:
    shown = simple.Show(simple.OutputPort(pipeline.source, 0), view)
    shown.SetRepresentationType("Point Gaussian")
    low, high = pipeline.source.PointData[names.LOSS].GetRange()
    _color_by_loss(shown, ("POINTS", names.LOSS), (low, high))
    _color_bar(names.LOSS, "loss", view, size)
    _native_axes(view, size, ("direction 1", "direction 2", "direction 3"), (1, 1, 1))
    _look_from(view, (-1.0, -1.6, 0.9))


def _show_placed_points(pipeline: Pipeline, view: Any, size: tuple[int, int], lift: str) -> None:
    """Show the profile's minima and saddles at their coordinates, lifted by an expression."""
    n = number_of_directions(pipeline.source)
    axes = ("iHat", "jHat", "kHat")[:n]
    suffixes = "XYZ" if n == 3 else "01"
    place = " + ".join(f"{names.COORDINATES}_{s}*{axis}" for s, axis in zip(suffixes, axes))
    placed = simple.Calculator(registrationName="Critical Points", Input=pipeline.critical_points)
    placed.AttributeType = "Point Data"
    placed.CoordinateResults = 1
    placed.Function = place + lift
    _show_critical_points(placed, view, size)


def _show_critical_points(points: Any, view: Any, size: tuple[int, int]) -> None:
    shown = simple.Show(points, view)
    shown.SetRepresentationType("Points")
    shown.PointSize = size[1] / 75
    shown.RenderPointsAsSpheres = 1
    simple.ColorBy(shown, ("POINTS", names.CRITICAL_TYPE))
    colors = simple.GetColorTransferFunction(names.CRITICAL_TYPE)
    colors.InterpretValuesAsCategories = 1
    kinds = {
        CriticalType.MINIMUM: ("minimum", RED),
        CriticalType.SADDLE: ("saddle", ORANGE),
        CriticalType.ROOT: ("root", ORANGE),
        CriticalType.DEGENERATE_SADDLE: ("saddle of more than two", ORANGE),
    }
    colors.Annotations = [text for kind, (name, _) in kinds.items() for text in (str(kind), name)]
    colors.IndexedColors = [part for _, color in kinds.values() for part in color]
    shown.SetScalarBarVisibility(view, False)
    for place, (text, color) in enumerate((("• minimum", RED), ("• saddle", ORANGE))):
        _text(text, view, size, color=color, Position=[0.82, 0.88 - 0.045 * place])


def _color_by_loss(shown: Any, array: tuple[str, str], span: tuple[float, float]) -> None:
    simple.ColorBy(shown, array)
    colors = simple.GetColorTransferFunction(array[1])
    preset = json.loads(COLOR_MAP.read_text(encoding="utf-8"))[0]
    colors.ColorSpace = preset["ColorSpace"]
    colors.NanColor = preset["NanColor"]
    colors.RGBPoints = preset["RGBPoints"]
    low, high = span
    colors.RescaleTransferFunction(low, high if high > low else low + 1.0)


def _color_bar(array: str, text: str, view: Any, size: tuple[int, int]) -> None:
    bar = simple.GetScalarBar(simple.GetColorTransferFunction(array), view)
    bar.Title, bar.ComponentTitle = text, ""
    bar.TitleColor = bar.LabelColor = BLACK
    bar.TitleFontSize, bar.LabelFontSize = _font(size), _font(size, 0.85)
    bar.HorizontalTitle = 1
    bar.AutomaticLabelFormat = 0
    bar.LabelFormat = bar.RangeLabelFormat = "%.3g"
    bar.WindowLocation = "Any Location"
    bar.Position = [0.84, 0.2]
    bar.ScalarBarLength = 0.5
    bar.ScalarBarThickness = size[1] // 50
    bar.Visibility = 1


def _profile_axes(view: Any, ranges: Ranges, scale: float, size: tuple[int, int]) -> None:
    axes = view.AxesGrid
    _axes_style(axes, size)
    axes.XTitle, axes.YTitle, axes.ZTitle = "number of samples", "", ""
    axes.AxesToLabel = 3  # only left and bottom
    axes.ShowGrid = 1
    axes.DataScale = [1.0, scale, 1.0]
    axes.UseCustomBounds = 1
    low, high = (height * scale for height in ranges.loss)
    axes.CustomBounds = [0.0, ranges.samples, low, high, 0.0, 0.0]


def _native_axes(
    view: Any, size: tuple[int, int], titles: tuple[str, str, str], scale: tuple[float, ...]
) -> None:
    axes = view.AxesGrid
    _axes_style(axes, size)
    axes.XTitle, axes.YTitle, axes.ZTitle = titles
    axes.DataScale = list(scale)


def _axes_style(axes: Any, size: tuple[int, int]) -> None:
    axes.Visibility = 1
    axes.GridColor = GREY
    for axis in "XYZ":
        setattr(axes, f"{axis}TitleColor", BLACK)
        setattr(axes, f"{axis}LabelColor", BLACK)
        setattr(axes, f"{axis}TitleFontSize", _font(size))
        setattr(axes, f"{axis}LabelFontSize", _font(size, 0.85))


def _text(
    text: str, view: Any, size: tuple[int, int], *, color: list[float] = BLACK, **place: Any
) -> None:
    source = simple.Text(registrationName=text, Text=text)
    shown = simple.Show(source, view)
    shown.Color, shown.FontSize = color, _font(size)
    shown.WindowLocation = place.get("WindowLocation", "Any Location")
    if "Position" in place:
        shown.Position = place["Position"]


def _solid(shown: Any, color: list[float], **properties: Any) -> None:
    versions.clear_colors(shown)
    shown.AmbientColor = shown.DiffuseColor = color
    for name, value in properties.items():
        setattr(shown, name, value)
    _flat(shown)


def _flat(shown: Any) -> None:
    """Show colours as they are, without light."""
    shown.Ambient, shown.Diffuse, shown.Specular = 1.0, 0.0, 0.0


def _font(size: tuple[int, int], share: float = 1.0) -> int:
    return max(8, round(size[1] / 45 * share))


def _empty_view() -> Any:
    view = simple.CreateView("RenderView")
    view.UseColorPaletteForBackground = 0
    view.Background = WHITE
    view.OrientationAxesVisibility = 0
    return view


def _layout(name: str, left: Any, right: Any, size: tuple[int, int]) -> Any:
    layout = simple.CreateLayout(name)
    layout.AssignView(0, left)
    versions.split_right(layout, left, right)
    layout.SetSize(*size)
    return layout


def _fit(view: Any, ranges: Ranges, scale: float, size: tuple[int, int]) -> None:
    """Aim a flat camera so that the profile fills its frame."""
    left, right, bottom, top = _FRAME
    pixel = ranges.samples / ((right - left) * size[0])
    x = ranges.samples / 2 - ((left + right) / 2 - 0.5) * size[0] * pixel
    y = sum(ranges.loss) * scale / 2 - ((bottom + top) / 2 - 0.5) * size[1] * pixel
    view.InteractionMode = "2D"
    view.CameraParallelProjection = 1
    view.CameraFocalPoint = [x, y, 0.0]
    view.CameraPosition = [x, y, ranges.samples * 4]
    view.CameraViewUp = [0.0, 1.0, 0.0]
    view.CameraParallelScale = pixel * size[1] / 2


def _look_from(view: Any, direction: tuple[float, float, float]) -> None:
    """Look at everything from a direction, a little to the right of it, with room for labels."""
    view.CameraViewUp = [0.0, 0.0, 1.0]
    view.CameraFocalPoint = [0.0, 0.0, 0.0]
    view.CameraPosition = list(direction)
    simple.ResetCamera(view)
    focus, place = np.array(view.CameraFocalPoint), np.array(view.CameraPosition)
    sight = (place - focus) * 1.6
    right = np.cross([0.0, 0.0, 1.0], sight)
    shift = right / np.linalg.norm(right) * np.linalg.norm(sight) * _SHIFT
    view.CameraFocalPoint = list(focus + shift)
    view.CameraPosition = list(focus + sight + shift)
