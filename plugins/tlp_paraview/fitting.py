"""Sizes that depend on the size of a view: fonts, points, and the frame of a profile.

They are computed from the visible representations of a view, so a view can be fitted again at any
time: after its window is resized, another step is shown, or a state file is opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from paraview import servermanager, simple
from vtkmodules.vtkCommonDataModel import vtkPlane, vtkPlaneCollection

from tlp_core import array_names as names
from tlp_core.profile import width_title
from tlp_paraview import roles, styles, versions
from tlp_paraview.roles import Role

SIZE = (1600, 900)
"""Width and height of a picture of two views, in pixels."""

FRAME = (0.13, 0.80, 0.13, 0.86)
"""Left, right, bottom and top of a profile, as fractions of the view; labels are outside."""

BARE_FRAME = (0.16, 0.97, 0.16, 0.88)
"""The frame if there is no colour bar at the right."""

LOSS_TITLES = ("loss", "log10 loss")
"""Titles of a linear and of a logarithmic loss axis."""

_FONT = (45, 46)
"""Height and width of a view divided by the height of a font."""

_MIN_FONT = 7.0
"""Smallest height of a font, in points."""

_LEGEND = (22, 11.5)
"""Height and width of a view with only a legend, divided by the height of a font."""

_BARE = 1.7
"""Factor on the height of fonts if there is no colour bar and no legend."""

_RADIUS = 0.32
"""Radius of minima and saddles divided by the height of a font."""

_MARGIN = 1.75
"""Factor on the distance of the camera from a landscape that would fill its view."""

_SHIFT = 0.04
"""Fraction of its distance by which the camera moves right, so that the colour bar is free."""

_LEVELS = (0.02, 0.1, 0.3)
"""Fractions of the samples that the three surfaces enclose in the view of three directions."""

_LETTER = 0.52
"""Width of an average letter divided by the height of its font."""


@dataclass(frozen=True)
class Ranges:
    """Ranges of the loss axis and of the colours, which several profiles can share.

    Attributes:
        loss: lowest and highest loss of the axis.
        average_loss: lowest and highest average loss of the colours.
    """

    loss: tuple[float, float]
    average_loss: tuple[float, float]


def ranges_of(profile: Any) -> Ranges | None:
    """Return the ranges of a profile as it is drawn now; None if it is empty."""
    loss, average = profile.FieldData[names.LOSS_RANGE], profile.CellData[names.AVERAGE_LOSS]
    if loss is None or average is None or not profile.GetDataInformation(0).GetNumberOfPoints():
        return None
    return Ranges(loss.GetRange(0), average.GetRange(0))


def extent_of(profile: Any) -> tuple[Any, ...]:
    """Return all values on which the frame of a profile depends."""
    ranges = ranges_of(profile)
    fields = (names.TOTAL_WIDTH, names.HEIGHT_SCALE) if ranges is not None else ()
    return (ranges, *(profile.FieldData[name].GetRange(0) for name in fields))


def union_of(parts: Iterable[Ranges | None]) -> Ranges | None:
    """Return the smallest ranges that contain all given ones; None if no ranges are given."""
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


def set_range(profile: Any, ranges: Ranges | None) -> None:
    """Set the range of the loss axis of a profile; None sets its own range."""
    profile.UseLossRange = int(ranges is not None)
    profile.LossRange = list(ranges.loss) if ranges is not None else [0.0, 1.0]
    profile.UpdatePipeline()


def has_own_range(profile: Any) -> bool:
    """Return whether the loss axis of a profile has the range of that profile."""
    return not int(profile.UseLossRange)


def shared_ranges_in(view: Any, profile: Any) -> Ranges | None:
    """Return the ranges that a profile in a view shares with others; None if it has its own."""
    basins = basins_in(view)
    if has_own_range(profile) or not basins:
        return None
    span = styles.span_of(basins[0].LookupTable)
    return Ranges(tuple(profile.LossRange), roles.shared_colors(basins[0], span) or span)


def basins_in(view: Any) -> list[Any]:
    """Return the visible representations of basins in a view."""
    return list(roles.visible(view, Role.BASINS))


def profiles_in(view: Any) -> list[Any]:
    """Return the profiles that are drawn in a view."""
    return [servermanager._getPyProxy(shown.Input.SMProxy) for shown in basins_in(view)]


def fit(view: Any, size: tuple[int, int] | None = None, *, keep_camera: bool = False) -> None:
    """Fit fonts and points to the size of a view and, in a view of profiles, camera and axes.

    Args:
        view: a render view.
        size: width and height in pixels. Default: the size of the view.
        keep_camera: leave a camera alone that was moved since it was fitted. Default: False.
    """
    size = size or tuple(view.ViewSize)
    _fit_fonts(view, size)
    moves_camera = not (keep_camera and camera_was_moved(view))
    for profile in profiles_in(view):
        if ranges_of(profile) is not None:
            _fit_profile(profile, view, size, moves_camera=moves_camera)


def frame_of(view: Any) -> tuple[float, float, float, float]:
    """Return left, right, bottom and top of the axes of a profile, as fractions of its view."""
    return FRAME if _has_color_bar(view) else BARE_FRAME


def look_at(
    view: Any, middle: tuple[float, float], distance: float, pixel: float, size: tuple[int, int]
) -> None:
    """Move a 2D camera so that a point is in the middle of the axes of a profile.

    Args:
        view: a render view.
        middle: x and y of the point.
        distance: distance of the camera from the profile.
        pixel: width of a pixel of the view, in the units of x and y.
        size: width and height of the view, in pixels.
    """
    left, right, bottom, top = frame_of(view)
    x = middle[0] - ((left + right) / 2 - 0.5) * size[0] * pixel
    y = middle[1] - ((bottom + top) / 2 - 0.5) * size[1] * pixel
    view.CameraFocalPoint = [x, y, 0.0]
    view.CameraPosition = [x, y, distance]
    view.CameraParallelScale = pixel * size[1] / 2


def camera_was_moved(view: Any) -> bool:
    """Return whether the camera of a view was moved since it was fitted."""
    return roles.fitted_camera(view) not in (None, camera_state(view))


def camera_state(view: Any) -> str:
    """Return the place of a camera as a text, with the digits that survive a state file."""
    numbers = (*view.CameraPosition, *view.CameraFocalPoint, *view.CameraViewUp)
    return " ".join(f"{number:.6g}" for number in (*numbers, view.CameraParallelScale))


def recolor(view: Any) -> None:
    """Rescale the colours of a landscape to the range of the losses shown now.

    Contour surfaces, each of which has only one loss, keep their colours: :func:`fit_slice`
    rescales those.
    """
    for shown in roles.visible(view, Role.LANDSCAPE):
        losses = None if _is_contour(shown) else shown.Input.PointData[names.LOSS]
        if losses is not None:
            styles.rescale(shown.LookupTable, losses.GetRange(0))
            _label_bars(view, shown.LookupTable, losses.GetRange(0))


def fit_slice(view: Any, part: Any) -> None:
    """Tell which slice of a landscape a view shows, and fit its contour surfaces to it.

    Args:
        view: the view of :func:`~tlp_paraview.views.show_native`.
        part: proxy of its TLP Landscape Slice.
    """
    samples = servermanager.Fetch(part, idx=0)
    if not samples.GetNumberOfPoints():  # after an error
        return
    coordinates = versions.point_array(samples, names.COORDINATES)
    n = coordinates.shape[1]
    axes = [axis for axis in part.Directions if axis][:n]
    for place, axis in zip("XYZ", axes):
        setattr(view.AxesGrid, f"{place}Title", f"direction {axis}")
    others = [axis for axis in range(1, n + 1) if axis not in axes]
    places = ", ".join(f"direction {axis} is {coordinates[0, axis - 1]:.3g}" for axis in others)
    for shown in roles.visible(view, Role.HEADING):
        whole = shown.Input.Text.partition(";")[0]
        shown.Input.Text = f"{whole}; slice where {places}" if others else whole
    contours = filter(_is_contour, roles.visible(view, Role.LANDSCAPE))
    levels = contour_levels(samples)
    inner = part.Input.PointData[names.LOSS].GetRange(0)[0], float(levels[-1])
    for shown, level in zip(contours, levels):
        shown.Input.Isosurfaces = [float(level)]
        styles.rescale(shown.LookupTable, inner)
        _label_bars(view, shown.LookupTable, inner)


def _is_contour(shown: Any) -> bool:
    return hasattr(shown.Input, "Isosurfaces")


def contour_levels(samples: Any) -> npt.NDArray[np.float64]:
    """Return the losses of the contour surfaces of samples, ascending, without equal ones."""
    return np.unique(np.quantile(versions.point_array(samples, names.LOSS), _LEVELS))


def fit_camera(view: Any, size: tuple[int, int] | None = None) -> None:
    """Move the camera so that all of a landscape is visible, with labels and colour bar.

    The direction of view does not change. Nothing is rendered, since this may be in the midst of a
    screenshot, whose size a view would lose.

    Args:
        view: a render view that was rendered before, so that it knows the bounds of what it shows.
        size: width and height in pixels. Default: the size of the view.
    """
    width, height = size or tuple(view.ViewSize)
    view.ResetCamera()
    view.SMProxy.SynchronizeCameraProperties()  # as a rendering would
    focus, place = np.array(view.CameraFocalPoint), np.array(view.CameraPosition)
    sight = (place - focus) * _MARGIN * max(1.0, height / width)
    right = np.cross(view.CameraViewUp, sight)
    shift = right / np.linalg.norm(right) * np.linalg.norm(sight) * _SHIFT
    view.CameraFocalPoint = list(focus + shift)
    view.CameraPosition = list(focus + sight + shift)
    roles.set_fitted_camera(view, camera_state(view))


def render(view: Any = None) -> None:
    """Render a view, or all views.

    The first call of ``simple.Render`` in a session resets the camera of the view, so that the
    camera of a saved state would be lost.
    """
    for each in simple.GetViews() if view is None else (view,):
        each.MakeRenderWindowInteractor(True)
        each.StillRender()


def fit_layout(layout: Any, size: tuple[int, int] | None = None) -> None:
    """Fit all views of a layout.

    Args:
        layout: the layout.
        size: width and height of all views together, in pixels. Default: 1600 x 900. Ignored in the
            GUI, where the windows have their own sizes.
    """
    set_size(layout, size or SIZE)
    for view in views_of(layout):
        fit_built(view)


def fit_built(view: Any) -> None:
    """Fit a view that was just built.

    The view is updated, too. ParaView would not draw a text as it is now if it was changed before
    the first update of its view.
    """
    fit(view)
    view.SMProxy.Update()


def set_size(layout: Any, size: tuple[int, int]) -> None:
    """Set the size of a layout, except in the GUI, where the windows have their own sizes."""
    if not any(versions.is_in_gui(view) for view in views_of(layout)):
        layout.SetSize(*size)


def views_of(layout: Any) -> list[Any]:
    """Return the render views in a layout, in the order of their places there."""
    inside = [view for view in simple.GetRenderViews() if layout.GetViewLocation(view) >= 0]
    return sorted(inside, key=layout.GetViewLocation)


def _fit_fonts(view: Any, size: tuple[int, int]) -> None:
    font = _font(size) * (1.0 if _has_color_bar(view) else _BARE)
    if _is_legend(view):
        font = min(size[1] / _LEGEND[0], size[0] / _LEGEND[1])
    for bar in roles.visible(view, Role.COLOR_BAR):
        bar.TitleFontSize, bar.LabelFontSize = _points(font), _points(0.85 * font)
        bar.ScalarBarThickness = max(6, round(0.9 * font))
    for shown in roles.visible(view, Role.TEXT, Role.HEADING, Role.LOSS_TITLE):
        letters = len(getattr(shown.Input, "Text", ""))  # the source of a time has no text
        longest = size[0] * 0.95 / (_LETTER * max(letters, 1))
        shown.FontSize = _points(min(font, longest))
    for axis in "XYZ":
        setattr(view.AxesGrid, f"{axis}TitleFontSize", _points(font))
        setattr(view.AxesGrid, f"{axis}LabelFontSize", _points(0.85 * font))


def _fit_profile(profile: Any, view: Any, size: tuple[int, int], *, moves_camera: bool) -> None:
    """Scale a profile, place a 2D camera and label the axes so that the profile fills its frame."""
    ranges, width = ranges_of(profile), _shared_width(profile, view)
    left, right, bottom, top = frame_of(view)
    scale = float(profile.FieldData[names.HEIGHT_SCALE].GetRange(0)[0])
    low, high = _ends(profile, ranges.loss)
    pixel = width / ((right - left) * size[0])
    span = (high - low) * scale
    stretch = (top - bottom) * size[1] * pixel / span if span > 0 else 1.0
    for shown in _drawn(profile, view):
        if roles.role_of(shown) in roles.POINTS_OF_A_PROFILE:
            styles.stretch(shown.Input, stretch)
            continue
        shown.Scale = [1.0, stretch, 1.0]
        if roles.role_of(shown) == Role.BASINS:
            _fit_colors(profile, shown, view, ranges.average_loss)

    if moves_camera:
        view.InteractionMode = "2D"
        view.CameraParallelProjection = 1
        view.CameraViewUp = [0.0, 1.0, 0.0]
        look_at(view, (width / 2, (low + high) / 2 * scale * stretch), width * 4, pixel, size)
        roles.set_fitted_camera(view, camera_state(view))

    seen = 2 * view.CameraParallelScale / size[1]  # of a pixel, also where a user has zoomed
    for shown in roles.visible(view, *roles.POINTS_OF_A_PROFILE):
        shown.GaussianRadius = _RADIUS * _font(size) * seen
    for shown in roles.visible(view, Role.LOSS_TITLE):
        shown.Input.Text = LOSS_TITLES[int(profile.LogarithmicLoss)]
    grid = view.AxesGrid
    grid.XTitle = "" if not grid.XTitle else title_of_widths(profile)
    grid.DataScale = [1.0, scale * stretch, 1.0]
    grid.UseCustomBounds = 1
    whole = bounds = [0.0, width, low * scale * stretch, high * scale * stretch]
    if camera_was_moved(view) and _looks_straight(view):
        bounds = _part_seen(whole, view, size)
        low, high = (end / (scale * stretch) for end in bounds[2:])
    _clip(view, bounds, whole)
    styles.label_axis(grid, "Y", (low, high))
    grid.CustomBounds = [*bounds, 0.0, 0.0]


def _clip(view: Any, bounds: list[float], whole: list[float]) -> None:
    """Hide what a view shows outside the axes of a part of a profile, where labels and legend are.

    Only the drawing in this process is changed. So nothing of it is saved in a state, and pictures
    that a server draws are not clipped.
    """
    planes = vtkPlaneCollection()
    for side, (end, last) in enumerate(zip(bounds, whole)):
        if end != last:
            normal, origin = [0.0] * 3, [0.0] * 3
            normal[side // 2], origin[side // 2] = (1.0, -1.0)[side % 2], end
            plane = vtkPlane()
            plane.SetOrigin(origin)
            plane.SetNormal(normal)
            planes.AddItem(plane)
    props = view.SMProxy.GetRenderer().GetViewProps()
    for prop in map(props.GetItemAsObject, range(props.GetNumberOfItems())):
        for name in ("GetMapper", "GetLODMapper"):
            mapper = getattr(prop, name)() if hasattr(prop, name) else None
            if mapper is not None:
                mapper.SetClippingPlanes(planes)


def _looks_straight(view: Any) -> bool:
    """Return whether a view shows a profile as a plane, not turned and not in perspective."""
    place, focus = np.array(view.CameraPosition), np.array(view.CameraFocalPoint)
    is_in_front = np.allclose(place[:2], focus[:2]) and place[2] > focus[2]
    is_upright = np.allclose(view.CameraViewUp, (0, 1, 0))
    return bool(view.CameraParallelProjection and is_in_front and is_upright)


def _part_seen(bounds: list[float], view: Any, size: tuple[int, int]) -> list[float]:
    """Return the part of each axis that is inside the frame of a view, or all if none of it is.

    Axes outside a view would have labels that nobody sees, and more of them the closer the look:
    a picture of a narrow basin would take seconds.
    """
    frame = frame_of(view)
    pixel = 2 * view.CameraParallelScale / size[1]
    part = list(bounds)
    for axis in (0, 1):
        low, high = (
            view.CameraFocalPoint[axis] + (end - 0.5) * size[axis] * pixel
            for end in frame[2 * axis : 2 * axis + 2]
        )
        ends = max(bounds[2 * axis], low), min(bounds[2 * axis + 1], high)
        if ends[0] < ends[1]:
            part[2 * axis : 2 * axis + 2] = ends
    return part


def _fit_colors(profile: Any, shown: Any, view: Any, own: tuple[float, float]) -> None:
    """Fit the colours of basins to the axis; profiles that share a range keep it."""
    span = own
    if not has_own_range(profile):
        span = roles.shared_colors(shown, styles.span_of(shown.LookupTable)) or own
    styles.rescale(shown.LookupTable, span, logarithmic=bool(profile.LogarithmicLoss))
    _label_bars(view, shown.LookupTable, span)


def _label_bars(view: Any, colors: Any, span: tuple[float, float]) -> None:
    """Label the colour bars of a colour map in a view."""
    for bar in roles.visible(view, Role.COLOR_BAR):
        if bar.LookupTable.SMProxy == colors.SMProxy:
            styles.label_color_bar(bar, span)


def _ends(profile: Any, loss: tuple[float, float]) -> tuple[float, float]:
    """Return the ends of the loss axis in the drawing, before the height scale."""
    return tuple(float(np.log10(end)) for end in loss) if profile.LogarithmicLoss else loss


def _shared_width(profile: Any, view: Any) -> float:
    """Return the largest width of the profiles of a layout that have the same Width property."""
    layout = simple.GetLayout(view)
    views = views_of(layout) if layout is not None else [view]
    together = {p.GetGlobalIDAsString(): p for v in views for p in profiles_in(v)}
    return max(
        float(p.FieldData[names.TOTAL_WIDTH].GetRange(0)[0])
        for p in [profile, *together.values()]
        if p.Width == profile.Width and ranges_of(p) is not None
    )


def title_of_widths(profile: Any) -> str:
    """Return the title of the axis of the widths of a profile."""
    arrays = simple.OutputPort(profile, 2).PointData.keys()
    return width_title(
        is_fraction=profile.Width != "samples", has_volumes=names.SAMPLE_VOLUME in arrays
    )


def _drawn(profile: Any, view: Any) -> list[Any]:
    """Return the visible representations of the outputs of a profile in a view."""
    return [
        shown
        for shown in roles.visible(view, *roles.PROFILE_PARTS)
        if _profile_behind(shown).SMProxy == profile.SMProxy
    ]


def _profile_behind(shown: Any) -> Any:
    is_transformed = roles.role_of(shown) in roles.POINTS_OF_A_PROFILE
    return shown.Input.Input if is_transformed else shown.Input


def _font(size: tuple[int, int]) -> float:
    """Return the height of a font in a view, in points."""
    return max(_MIN_FONT, min(size[1] / _FONT[0], size[0] / _FONT[1]))


def _is_legend(view: Any) -> bool:
    """Return whether a view shows texts and colour bars only."""
    return all(
        roles.role_of(proxy) in (Role.TEXT, Role.HEADING, Role.COLOR_BAR)
        for proxy in roles.proxies_in(view)
        if roles.is_visible(proxy)
    )


def _has_color_bar(view: Any) -> bool:
    return any(roles.visible(view, Role.COLOR_BAR))


def _points(size: float) -> int:
    return max(6, round(size))
