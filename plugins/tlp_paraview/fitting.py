"""Sizes that follow a view's: fonts, points, and the frame that a profile fills.

All of it is worked out from what is shown in a view, so it can be done again at any time: after a
window was resized, another training step shown, or a state file opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from paraview import servermanager, simple

from tlp_core import array_names as names
from tlp_paraview import roles, styles, versions
from tlp_paraview.roles import Role

SIZE = (1600, 900)
"""Size of pictures in pixels, both views together."""

FRAME = (0.13, 0.80, 0.13, 0.86)
"""Left, right, bottom and top of a profile in its view; outside are labels, title, colour bar."""

BARE_FRAME = (0.16, 0.97, 0.16, 0.88)
"""The same without a colour bar at the right."""

LOSS_TITLES = ("loss", "log10 loss")
"""What stands above a linear and a logarithmic loss axis."""

_FONT = (45, 46)
"""Share of the height and of the width of a view that a font is high."""

_LEAST_FONT = 7.0

_LEGEND = 17
"""Share of the width of a legend that its font is high."""

_BARE = 1.4
"""Share by which fonts are larger where there is no colour bar and no legend."""

_RADIUS = 0.32
"""Radius of minima and saddles over the height of a font."""

_MARGIN = 1.6
"""By what the camera goes back from a landscape that fills its view."""

_SHIFT = 0.04
"""Share of its width by which the native view looks to the right, to free the colour bar."""

_LETTER = 0.52
"""Width of an average letter over the height of its font."""


@dataclass(frozen=True)
class Ranges:
    """What several profiles share: the range of the loss axis and that of the colours."""

    loss: tuple[float, float]
    average_loss: tuple[float, float]


def ranges_of(profile: Any) -> Ranges | None:
    """Return the ranges of a profile as it is drawn now; None where it is empty."""
    if not profile.GetDataInformation(0).GetNumberOfPoints():
        return None
    return Ranges(
        loss=profile.FieldData[names.LOSS_RANGE].GetRange(0),
        average_loss=profile.CellData[names.AVERAGE_LOSS].GetRange(0),
    )


def extent_of(profile: Any) -> tuple[Any, ...]:
    """Return all on which the frame of a profile depends."""
    ranges = ranges_of(profile)
    fields = (names.TOTAL_WIDTH, names.HEIGHT_SCALE) if ranges is not None else ()
    return (ranges, *(profile.FieldData[name].GetRange(0) for name in fields))


def joined(parts: Iterable[Ranges | None]) -> Ranges | None:
    """Return the ranges that hold all parts that are there; None where none is."""
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    lows_and_highs = [
        [getattr(part, name)[end] for part in parts]
        for name in ("loss", "average_loss")
        for end in (0, 1)
    ]
    lowest, highest, darkest, lightest = lows_and_highs
    return Ranges((min(lowest), max(highest)), (min(darkest), max(lightest)))


def share(profile: Any, ranges: Ranges | None) -> None:
    """Let a profile draw its loss axis over shared ranges, or over its own for None."""
    profile.LossRange = list(ranges.loss) if ranges is not None else [0.0, 0.0]
    profile.UpdatePipeline()


def has_own_range(profile: Any) -> bool:
    """Return whether a profile draws its loss axis over its own range."""
    return bool(profile.LossRange[0] == profile.LossRange[1])


def basins_in(view: Any) -> list[Any]:
    """Return the visible representations of basins in a view."""
    return list(roles.visible(view, Role.BASINS))


def profiles_in(view: Any) -> list[Any]:
    """Return the profiles that are drawn in a view."""
    return [servermanager._getPyProxy(shown.Input.SMProxy) for shown in basins_in(view)]


def fit(view: Any, size: tuple[int, int] | None = None) -> None:
    """Fit fonts, points and, of a view of profiles, camera and axes to the size of a view.

    Args:
        view: a render view.
        size: width and height in pixels, by default those of the window.
    """
    size = size or tuple(view.ViewSize)
    _fit_fonts(view, size)
    for profile in profiles_in(view):
        if ranges_of(profile) is not None:
            _fit_profile(profile, view, size)


def recolor(view: Any) -> None:
    """Spread the colours of a landscape's surfaces over the losses that they show now."""
    for shown in roles.visible(view, Role.LANDSCAPE):
        if (losses := shown.Input.PointData[names.LOSS]) is not None:
            styles.rescale(shown.LookupTable, losses.GetRange(0))


def aim(view: Any, size: tuple[int, int] | None = None) -> None:
    """Look at all of a landscape from where the camera is, with room for labels and colour bar."""
    width, height = size or tuple(view.ViewSize)
    simple.ResetCamera(view)
    focus, place = np.array(view.CameraFocalPoint), np.array(view.CameraPosition)
    sight = (place - focus) * _MARGIN * max(1.0, height / width)
    right = np.cross(view.CameraViewUp, sight)
    shift = right / np.linalg.norm(right) * np.linalg.norm(sight) * _SHIFT
    view.CameraFocalPoint = list(focus + shift)
    view.CameraPosition = list(focus + sight + shift)


def fit_layout(layout: Any, size: tuple[int, int] | None = None) -> None:
    """Fit all views of a layout: to the GUI's windows, and elsewhere to a size of them together."""
    set_size(layout, size or SIZE)
    for view in views_of(layout):
        fit(view)


def set_size(layout: Any, size: tuple[int, int]) -> None:
    """Set the size of a layout, but in the GUI, whose windows have their own."""
    if not any(versions.is_in_gui(view) for view in views_of(layout)):
        layout.SetSize(*size)


def views_of(layout: Any) -> list[Any]:
    """Return the render views in a layout."""
    return [view for view in simple.GetRenderViews() if layout.GetViewLocation(view) >= 0]


def _fit_fonts(view: Any, size: tuple[int, int]) -> None:
    font = _font(size) * (1.0 if _has_color_bar(view) else _BARE)
    if not view.AxesGrid.Visibility:  # a legend by itself
        font = min(size[1] / _FONT[0], size[0] / _LEGEND)
    for bar in roles.visible(view, Role.COLOR_BAR):
        bar.TitleFontSize, bar.LabelFontSize = _points(font), _points(0.85 * font)
        bar.ScalarBarThickness = max(6, round(0.9 * font))
    for shown in roles.visible(view, Role.TEXT, Role.LOSS_TITLE):
        letters = len(getattr(shown.Input, "Text", ""))  # a time has none
        longest = size[0] * 0.95 / (_LETTER * max(letters, 1))
        shown.FontSize = _points(min(font, longest))
    for axis in "XYZ":
        setattr(view.AxesGrid, f"{axis}TitleFontSize", _points(font))
        setattr(view.AxesGrid, f"{axis}LabelFontSize", _points(0.85 * font))


def _fit_profile(profile: Any, view: Any, size: tuple[int, int]) -> None:
    """Stretch a profile, aim a flat camera and label the axes so that it fills its frame."""
    ranges, width = ranges_of(profile), _shared_width(profile, view)
    left, right, bottom, top = FRAME if _has_color_bar(view) else BARE_FRAME
    scale = float(profile.FieldData[names.HEIGHT_SCALE].GetRange(0)[0])
    low, high = _ends(profile, ranges.loss)
    pixel = width / ((right - left) * size[0])
    span = (high - low) * scale
    stretch = (top - bottom) * size[1] * pixel / span if span > 0 else 1.0
    for shown in _drawn(profile, view):
        if roles.role_of(shown) == Role.CRITICAL_POINTS:  # its own scale would stretch the discs
            shown.Input.Transform.Scale = [1.0, stretch, 1.0]
            shown.GaussianRadius = _RADIUS * _font(size) * pixel
            continue
        shown.Scale = [1.0, stretch, 1.0]
        if roles.role_of(shown) == Role.BASINS and has_own_range(profile):
            styles.rescale(shown.LookupTable, ranges.average_loss)

    y = (low + high) / 2 * scale * stretch - ((bottom + top) / 2 - 0.5) * size[1] * pixel
    x = width / 2 - ((left + right) / 2 - 0.5) * size[0] * pixel
    view.InteractionMode = "2D"
    view.CameraParallelProjection = 1
    view.CameraFocalPoint = [x, y, 0.0]
    view.CameraPosition = [x, y, width * 4]
    view.CameraViewUp = [0.0, 1.0, 0.0]
    view.CameraParallelScale = pixel * size[1] / 2

    for shown in roles.visible(view, Role.LOSS_TITLE):
        shown.Input.Text = LOSS_TITLES[int(profile.LogarithmicLoss)]
    grid = view.AxesGrid
    grid.XTitle = "" if not grid.XTitle else _width_title(profile)
    grid.DataScale = [1.0, scale * stretch, 1.0]
    grid.UseCustomBounds = 1
    grid.CustomBounds = [0.0, width, low * scale * stretch, high * scale * stretch, 0.0, 0.0]


def _ends(profile: Any, loss: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the loss axis as they are drawn, before the scale."""
    return tuple(float(np.log10(end)) for end in loss) if profile.LogarithmicLoss else loss


def _shared_width(profile: Any, view: Any) -> float:
    """Return the width of the widest of the profiles that are drawn in the same way together."""
    layout = simple.GetLayout(view)
    views = views_of(layout) if layout is not None else [view]
    together = {p.GetGlobalIDAsString(): p for v in views for p in profiles_in(v)}
    return max(
        float(p.FieldData[names.TOTAL_WIDTH].GetRange(0)[0])
        for p in [profile, *together.values()]
        if p.Width == profile.Width and ranges_of(p) is not None
    )


def _width_title(profile: Any) -> str:
    if profile.Width == "samples":
        return "number of samples"
    return "n-th root of the share of samples"


def _drawn(profile: Any, view: Any) -> list[Any]:
    """Return the representations of a profile's outputs; its points pass through a transform."""
    return [
        shown
        for shown in roles.visible(view, *roles.PROFILE_PARTS)
        if _profile_behind(shown).SMProxy == profile.SMProxy
    ]


def _profile_behind(shown: Any) -> Any:
    moved = roles.role_of(shown) == Role.CRITICAL_POINTS
    return shown.Input.Input if moved else shown.Input


def _font(size: tuple[int, int]) -> float:
    """Return the height of a font in a view, in points."""
    return max(_LEAST_FONT, min(size[1] / _FONT[0], size[0] / _FONT[1]))


def _has_color_bar(view: Any) -> bool:
    return any(roles.visible(view, Role.COLOR_BAR))


def _points(size: float) -> int:
    return max(6, round(size))
