"""Colours, texts, axes and colour bars; :mod:`tlp_paraview.fitting` sets their sizes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from paraview import simple

from tlp_core import array_names as names
from tlp_core import profile
from tlp_core.array_names import CriticalType
from tlp_paraview import roles, versions
from tlp_paraview.roles import Role

_TICKS, _LABEL = 10, 0.06
"""Largest number of labels of a colour bar, and the height of one, as a fraction of the bar."""

_SHORT = 300.0
"""Ratio of the ends of a logarithmic range up to which 2 and 5 times a power of ten have labels."""

_DIGITS, _MAX_DIGITS = 3, 12
"""Smallest and largest number of digits of a label."""

_MOST_WRITTEN_OUT = 1e6
"""Numbers of this size and above are labelled by a power of ten."""

BLACK, WHITE, GREY = [0.0] * 3, [1.0] * 3, [0.8] * 3
RED, ORANGE = list(profile.RED), list(profile.ORANGE)

KINDS = {
    CriticalType.MINIMUM: ("minimum", RED),
    CriticalType.SADDLE: ("saddle", ORANGE),
    CriticalType.ROOT: ("root", ORANGE),
    CriticalType.DEGENERATE_SADDLE: ("saddle of more than two", ORANGE),
}


def empty_view() -> Any:
    """Return a new white render view that is in no layout yet."""
    simple._DisableFirstRenderCameraReset()  # a script's first Render would move the camera
    view = simple.CreateView("RenderView")
    view.UseColorPaletteForBackground = 0
    view.Background = WHITE
    view.OrientationAxesVisibility = 0
    return view


def color_by_loss(
    shown: Any, array: tuple[str, str], span: tuple[float, float], *, logarithmic: bool = False
) -> Any:
    """Colour a representation by an array, with a colour map of its own in the suite's blues.

    Args:
        shown: the representation.
        array: ``"POINTS"`` or ``"CELLS"``, and the name of the array.
        span: lowest and highest value of the colour map.
        logarithmic: divide the range logarithmically. Default: False.

    Returns:
        The colour map.
    """
    simple.ColorBy(shown, array, separate=True)
    colors = simple.GetColorTransferFunction(array[1], shown, separate=True)
    preset = json.loads(profile.COLOR_MAP.read_text(encoding="utf-8"))[0]
    colors.ColorSpace = preset["ColorSpace"]
    colors.NanColor = preset["NanColor"]
    colors.RGBPoints = preset["RGBPoints"]
    rescale(colors, span, logarithmic=logarithmic)
    return colors


def rescale(colors: Any, span: tuple[float, float], *, logarithmic: bool = False) -> None:
    """Rescale a colour map to a range.

    Args:
        colors: the colour map.
        span: lowest and highest value; a range of one value is widened upward.
        logarithmic: divide the range logarithmically, which needs values above 0. A range whose
            ends differ by less than a factor of 2 stays linear: the colours are nearly the same,
            and a logarithmic colour bar would have equal labels. Default: False.
    """
    low, high = span
    logarithmic = logarithmic and (high <= low or high >= 2 * low)
    if high <= low:
        high = 10.0 * low if logarithmic else low + 1.0
    if colors.UseLogScale and not logarithmic:  # before the range, which may include 0
        colors.MapControlPointsToLinearSpace()
        colors.UseLogScale = 0
    colors.RescaleTransferFunction(low, high)
    if logarithmic and not colors.UseLogScale:
        colors.MapControlPointsToLogSpace()
        colors.UseLogScale = 1


def span_of(colors: Any) -> tuple[float, float]:
    """Return the lowest and the highest value of a colour map."""
    points = colors.RGBPoints
    return float(points[0]), float(points[-4])


def digits_for(span: tuple[float, float]) -> int:
    """Return the number of digits with which twenty labels of a range differ, at least 3."""
    low, high = span
    if high <= low:
        return _DIGITS
    ratio = max(abs(low), abs(high)) / (high - low)
    needed = np.ceil(np.log10(max(ratio, 1.0)) + np.log10(20) + 1)
    return int(min(_MAX_DIGITS, max(_DIGITS, needed)))


def label_axis(grid: Any, axis: str, span: tuple[float, float]) -> None:
    """Give the labels of an axis as many digits as they need to differ, and its title their room.

    ParaView places the title of a vertical axis in space beside its labels, whatever their length.

    Args:
        grid: the axes of a view.
        axis: ``X``, ``Y`` or ``Z``.
        span: lowest and highest value of the axis.
    """
    digits, largest = digits_for(span), max(abs(span[0]), abs(span[1]))
    is_narrow = digits > _DIGITS
    before_point = 1 + int(np.floor(np.log10(largest))) if largest > 0 else 1
    setattr(grid, f"{axis}AxisNotation", "Fixed" if is_narrow else "Mixed")
    setattr(grid, f"{axis}AxisPrecision", max(0, digits - before_point) if is_narrow else 2)
    if axis == "Z" and grid.ZTitle and span[0] < span[1]:
        ticks = ticks_between(span, is_logarithmic=False)
        room = " " * (2 + max((len(f"{tick:.10g}") for tick in ticks), default=0))
        grid.ZTitle = room + grid.ZTitle.strip() + room


def label_color_bar(bar: Any, span: tuple[float, float]) -> None:
    """Label a colour bar at its ends and between; the bar of a range of one value has one label.

    ParaView's own labels between the ends can touch those of the ends.

    Args:
        bar: the colour bar.
        span: lowest and highest value of its colours.
    """
    is_one_value, largest = span[0] == span[1], max(map(abs, span))
    digits = digits_for(span)
    if 1 <= largest < _MOST_WRITTEN_OUT:
        digits = max(digits, int(np.log10(largest)) + 1)
    bar.RangeLabelFormat = versions.number_format(digits)
    # a format of our own only where labels need more digits: 6.1 shows that of a state as it is
    bar.AutomaticLabelFormat = int(digits <= _DIGITS)
    bar.LabelFormat = versions.number_format(digits)
    bar.UseCustomLabels, bar.AddRangeLabels = 1, int(not is_one_value)
    bar.CustomLabels = (
        [span[0]] if is_one_value else ticks_between(span, bar.LookupTable.UseLogScale)
    )


def ticks_between(span: tuple[float, float], is_logarithmic: bool) -> list[float]:
    """Return round values inside a range, none so close to an end that their labels touch.

    Args:
        span: lowest and highest value, low < high.
        is_logarithmic: the values are drawn at places of their logarithm; low > 0.
    """
    found = _inside(span, _decades(span), np.log) if is_logarithmic else []
    return found if len(found) > 1 else _inside(span, _rounds(span), np.asarray)


def _inside(span: tuple[float, float], values: list[float], scale: Any) -> list[float]:
    """Return the values whose labels touch neither end of a range."""
    low, high = scale(span)
    if not high > low:
        return []
    places = (scale(values) - low) / (high - low)
    return [v for v, place in zip(values, places) if _LABEL < place < 1 - _LABEL]


def _decades(span: tuple[float, float]) -> list[float]:
    """Return powers of ten, in a short range with 2 and 5 times a power."""
    low, high = span
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    factors = (1, 2, 5) if high < _SHORT * low else (1,)
    return [float(f"{factor}e{exponent}") for exponent in exponents for factor in factors]


def _rounds(span: tuple[float, float]) -> list[float]:
    """Return multiples of 1, 2 or 5 times a power of ten, ten at most."""
    low, high = span
    exponent = np.floor(np.log10((high - low) / _TICKS))
    steps = [float(f"{factor}e{exponent:.0f}") for factor in (1, 2, 5, 10)]
    step = next((each for each in steps if each * _TICKS >= high - low), 0.0)
    if not step or low + step in (low, high):  # beyond the precision of the numbers
        return []
    return [step * k for k in range(int(np.ceil(low / step)), int(np.floor(high / step)) + 1)]


def add_color_map() -> None:
    """Add the suite's blues to ParaView's list of colour maps, unless they are in it."""
    presets = versions.color_presets()
    name = json.loads(profile.COLOR_MAP.read_text(encoding="utf-8"))[0]["Name"]
    if not presets.HasPreset(name):
        presets.ImportPresets(str(profile.COLOR_MAP))


def show_color_bar(
    colors: Any,
    text: str,
    view: Any,
    span: tuple[float, float],
    *,
    position: tuple[float, float] = (0.84, 0.2),
) -> None:
    """Show the colour bar of a colour map.

    Args:
        colors: the colour map.
        text: title of the colour bar.
        view: a render view.
        span: lowest and highest value of the colours.
        position: x and y of the lower left corner, as fractions of the size of the view. Default:
            at the right.
    """
    bar = simple.GetScalarBar(colors, view)
    bar.Title, bar.ComponentTitle = text, ""
    bar.TitleColor = bar.LabelColor = BLACK
    bar.HorizontalTitle = 1
    label_color_bar(bar, span)
    bar.WindowLocation = "Any Location"
    bar.Position = list(position)
    bar.ScalarBarLength = 0.5
    bar.Visibility = 1
    roles.mark(bar, Role.COLOR_BAR)


def stretchable(name: str, points: Any) -> Any:
    """Return a filter that moves points as a stretch of their picture along y does.

    A representation that is stretched would deform discs. The filter has no widget in ParaView,
    where a click on a point makes it the active one.

    Args:
        name: name of the filter.
        points: the points.
    """
    moved = roles.mark_helper(
        simple.Calculator(registrationName=name, Input=points, CoordinateResults=1)
    )
    stretch(moved, 1.0)
    return moved


def stretch(points: Any, factor: float) -> None:
    """Stretch the points of a :func:`stretchable` along y."""
    if hasattr(points, "Transform"):  # of a state that an earlier version saved
        points.Transform.Scale = [1.0, factor, 1.0]
    else:
        points.Function = f"coordsX*iHat + {factor!r}*coordsY*jHat + coordsZ*kHat"


def show_discs(points: Any, view: Any, radius: float) -> Any:
    """Show points as discs, and return the representation.

    Discs are used because some drivers draw spheres behind the surface on which they lie.

    Args:
        points: the points.
        view: a render view.
        radius: radius of the discs, in the units of the points.
    """
    shown = simple.Show(points, view)
    shown.SetRepresentationType("Point Gaussian")
    shown.ShaderPreset = "Plain circle"
    shown.GaussianRadius = radius
    return shown


def show_critical_points(
    points: Any, view: Any, *, radius: float = 1.0, legend: bool = True
) -> Any:
    """Show minima as red discs and saddles as orange discs, and return the representation.

    Args:
        points: critical points with the array ``CriticalType``.
        view: a render view.
        radius: radius of the discs, in the units of the points. Default: 1.
        legend: show the legend. Default: True.
    """
    shown = show_discs(points, view, radius)
    simple.ColorBy(shown, ("POINTS", names.CRITICAL_TYPE), separate=True)
    colors = simple.GetColorTransferFunction(names.CRITICAL_TYPE, shown, separate=True)
    colors.InterpretValuesAsCategories = 1
    colors.Annotations = [text for kind, (name, _) in KINDS.items() for text in (str(kind), name)]
    colors.IndexedColors = [part for _, color in KINDS.values() for part in color]
    shown.SetScalarBarVisibility(view, False)
    if legend:
        for place, (name, color) in enumerate((("• minimum", RED), ("• saddle", ORANGE))):
            show_text(name, view, color=color, position=(0.82, 0.88 - 0.045 * place))
    return shown


def show_network(points: Any, view: Any, radius: float = 1.0) -> Any:
    """Show the given network as a black square around its sample, and return the representation.

    Its legend is shown if there is such a sample.

    Args:
        points: the network, as one point, or none.
        view: a render view.
        radius: half the size of the square, whose inside a disc of this radius fits into, in the
            units of the points. Default: 1.
    """
    shown = show_discs(points, view, radius)
    shown.ShaderPreset = "Square Outline"
    set_color(shown, BLACK, Pickable=0)
    points.UpdatePipeline()
    if points.GetDataInformation().GetNumberOfPoints():
        show_text("[ ] network", view, position=(0.82, 0.79))
    return shown


def show_columns(table: Any, view: Any, across: str, *, kind: str = "Row Data") -> Any:
    """Show the columns of a table in a chart, and return the representation.

    Args:
        table: the table.
        view: a chart view.
        across: name of the column along the horizontal axis.
        kind: ParaView's name of the kind of its arrays. Default: ``Row Data``.
    """
    shown = simple.Show(table, view, "XYChartRepresentation")
    shown.AttributeType = kind
    shown.UseIndexForXAxis, shown.XArrayName = 0, across
    return shown


def title_chart(view: Any, titles: tuple[str, str]) -> None:
    """Set the titles of the horizontal and the vertical axis of a chart."""
    view.BottomAxisTitle, view.LeftAxisTitle = (title.replace("_", " ") for title in titles)
    view.BottomAxisTitleFontSize = view.LeftAxisTitleFontSize = 16
    view.BottomAxisLabelFontSize = view.LeftAxisLabelFontSize = 14


def show_text(
    words: str,
    view: Any,
    *,
    color: list[float] = BLACK,
    position: tuple[float, float] | None = None,
    location: str = "Upper Center",
    role: Role = Role.TEXT,
) -> Any:
    """Show a text in a view, and return its source.

    Args:
        words: the text.
        view: a render view.
        color: red, green and blue, 0 to 1. Default: black.
        position: x and y of the text, as fractions of the size of the view. Default: None, which
            places the text at ``location``.
        location: window location, by its name in ParaView. Default: ``Upper Center``.
        role: mark of the representation. Default: ``Role.TEXT``.
    """
    source = roles.mark_helper(simple.Text(registrationName=words, Text=words))
    shown = roles.mark(simple.Show(source, view), role)
    shown.Color = color
    shown.WindowLocation = location if position is None else "Any Location"
    if position is not None:
        shown.Position = list(position)
    return source


def set_color(shown: Any, color: list[float], **properties: Any) -> None:
    """Show a representation in one colour, without lighting, and set further properties."""
    versions.clear_colors(shown)
    shown.AmbientColor = shown.DiffuseColor = color
    for name, value in properties.items():
        setattr(shown, name, value)
    disable_lighting(shown)


def disable_lighting(shown: Any) -> None:
    """Show the colours of a representation unchanged by lighting."""
    shown.Ambient, shown.Diffuse, shown.Specular = 1.0, 0.0, 0.0


def show_axes(view: Any, titles: tuple[str, str, str], scale: tuple[float, float, float]) -> None:
    """Show axes whose labels are divided by the scale of the drawing.

    Args:
        view: a render view.
        titles: titles of the axes x, y and z; empty for no title.
        scale: factors by which x, y and z are multiplied in the drawing.
    """
    grid = view.AxesGrid
    grid.Visibility = 1
    grid.GridColor = GREY
    grid.XTitle, grid.YTitle, grid.ZTitle = titles
    grid.DataScale = list(scale)
    for axis in "XYZ":
        setattr(grid, f"{axis}TitleColor", BLACK)
        setattr(grid, f"{axis}LabelColor", BLACK)
