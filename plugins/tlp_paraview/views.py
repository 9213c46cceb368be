"""The pictures: the landscape as ParaView shows it, beside its profile.

A profile is flat, x in samples and y the loss times the filter's height scale, which the axes undo
(``DataScale``), so that their labels read samples and loss. Sizes are :mod:`fitting`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from paraview import servermanager, simple

from tlp_core import array_names as names
from tlp_core import checks
from tlp_paraview import fitting, interaction, roles, styles, versions
from tlp_paraview.fitting import SIZE, Ranges
from tlp_paraview.pipeline import Pipeline, number_of_directions, steps_of, title
from tlp_paraview.roles import Role

StepRange = Literal["all steps", "each step"]
STEP_RANGES: tuple[StepRange, ...] = get_args(StepRange)

ANIMATIONS = (".png", ".jpg", ".ogv", ".avi")

_LEVELS = (0.02, 0.1, 0.3)
"""Shares of the samples that three surfaces enclose in the view of three directions."""

_RADIUS = 0.012
"""Radius of minima and saddles over the width of the landscape."""

_OPACITIES = (0.4, 0.3, 0.15)


def show_landscape(
    pipeline: Pipeline, *, size: tuple[int, int] = SIZE, step_range: StepRange = "all steps"
) -> Any:
    """Show a landscape and its profile side by side, and return the layout.

    Args:
        pipeline: what to show.
        size: of both views together in pixels; a window has its own.
        step_range: of a training, whether one loss axis and one range of colours hold for ``all
            steps``, which are all evaluated for that, or ``each step`` has its own (kept up by
            :func:`interaction.attach`); the height of a surface is that of the first step.

    Raises:
        RuntimeError: if there is nothing to show, because the source failed.
    """
    checks.choice(step_range, STEP_RANGES, name="step_range")
    steps = steps_of(pipeline.source)
    if steps:
        simple.GetAnimationScene().UpdateAnimationUsingDataTimeSteps()
    fitting.share(pipeline.profile, None)
    ranges = _of_all_steps(pipeline, steps) if steps and step_range == "all steps" else None
    _go_to_something(pipeline, steps)
    native, profile = styles.empty_view(), styles.empty_view()
    layout = _layout(title(pipeline, metrics=False), native, profile)
    fitting.set_size(layout, size)
    show_native(pipeline, native, ranges.loss if ranges is not None else None)
    show_profile(pipeline, profile, ranges)
    fitting.fit_layout(layout, size)
    simple.SetActiveView(profile)
    simple.SetActiveSource(pipeline.profile)
    return layout


def compare_profiles(pipelines: Sequence[Pipeline], *, size: tuple[int, int] = SIZE) -> Any:
    """Show two profiles side by side with one loss axis and one range of colours."""
    left, right = styles.empty_view(), styles.empty_view()
    layout = _layout("Profiles", left, right)
    ranges = shared_ranges(pipelines)
    for pipeline, view in zip(pipelines, (left, right), strict=True):
        show_profile(pipeline, view, ranges)
    fitting.fit_layout(layout, size)
    return layout


def save_animation(path: str, layout: Any, *, size: tuple[int, int] = SIZE) -> None:
    """Write a picture of every step of a training, also without a window.

    Args:
        path: an animation, NAME.ogv or NAME.avi, or pictures, NAME.png, which get numbers.
        layout: the views.
        size: in pixels.

    Raises:
        ValueError: for another ending.
        FileNotFoundError: if the folder does not exist.
    """
    if Path(path).suffix not in ANIMATIONS:
        raise ValueError(f"an animation must end in {', '.join(ANIMATIONS)}, got {path}")
    if not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(f"the folder of {path} must exist, and does not")
    interaction.attach()
    scene = simple.GetAnimationScene()
    scene.UpdateAnimationUsingDataTimeSteps()
    steps = scene.TimeKeeper.TimestepValues
    count = max(1, len(steps)) if hasattr(steps, "__len__") else 1
    simple.SaveAnimation(
        path, layout, ImageResolution=list(size), FrameWindow=[0, count - 1], FrameRate=2
    )


def close_views() -> None:
    """Delete all views; a script that exits with some open can die of an X error in 5.11."""
    for view in simple.GetViews():
        simple.Delete(view)


def shared_ranges(pipelines: Sequence[Pipeline]) -> Ranges | None:
    """Return the ranges that hold all of the profiles; None where all are empty."""
    return fitting.joined(fitting.ranges_of(pipeline.profile) for pipeline in pipelines)


def show_profile(
    pipeline: Pipeline,
    view: Any,
    ranges: Ranges | None = None,
    *,
    heading: str | None = None,
    bare: bool = False,
) -> None:
    """Show a profile in a view: basins, outline, points, axes, colour bar, legend and title.

    Args:
        pipeline: whose profile.
        view: an empty view.
        ranges: of loss axis and colours; None for those that the profile has.
        heading: what stands above it; by default what the network says of itself.
        bare: leave out colour bar, legend and the titles of the axes.
    """
    if ranges is not None:
        fitting.share(pipeline.profile, ranges)
    colors = ranges or fitting.ranges_of(pipeline.profile)
    basins = roles.mark(simple.Show(pipeline.basins, view), Role.BASINS)
    span = colors.average_loss if colors is not None else (0.0, 1.0)
    blues = styles.color_by_loss(basins, ("CELLS", names.AVERAGE_LOSS), span)
    if not bare:
        styles.color_bar(blues, "average loss", view)
    styles.flat(basins)
    outline = roles.mark(simple.Show(pipeline.outline, view), Role.OUTLINE)
    styles.solid(outline, styles.BLACK, LineWidth=1.5)
    points = simple.Transform(
        registrationName="Critical Points", Input=pipeline.critical_points, Transform="Transform"
    )
    discs = styles.show_critical_points(points, view, legend=not bare)
    roles.mark(discs, Role.CRITICAL_POINTS)
    styles.axes(view, ("" if bare else "number of samples", "", ""), (1.0, 1.0, 1.0))
    view.AxesGrid.AxesToLabel = 3  # only left and bottom
    view.AxesGrid.ShowGrid = 1
    steps = steps_of(pipeline.source)
    styles.text(heading or title(pipeline, metrics=not steps), view)
    if not bare:
        place = (0.08, 0.885)
        styles.text(fitting.LOSS_TITLES[0], view, position=place, role=Role.LOSS_TITLE)
        if steps:
            _show_step(view)


def show_tree(pipeline: Pipeline) -> Any:
    """Show the merge tree over its faint profile, in a layout of its own, and return the layout."""
    view = styles.empty_view()
    layout = simple.CreateLayout("Merge tree")
    layout.AssignView(0, view)
    show_profile(pipeline, view)
    simple.Show(pipeline.basins, view).Opacity = 0.3
    simple.Hide(pipeline.outline, view)
    branches = roles.mark(simple.Show(pipeline.branches, view), Role.BRANCHES)
    styles.solid(branches, styles.BLACK, LineWidth=2.0)
    fitting.fit_layout(layout, SIZE)
    return layout


def show_persistence_diagram(pipeline: Pipeline) -> Any:
    """Show birth and death of every branch in a chart of a layout of its own; return the layout."""
    view = simple.CreateView("XYChartView")
    layout = simple.CreateLayout("Persistence diagram")
    layout.AssignView(0, view)
    styles.title_chart(view, ("loss at birth", "loss at death"))
    shown = styles.show_columns(pipeline.diagram, view, names.BIRTH)
    shown.SeriesVisibility = [names.BIRTH, names.DEATH]
    shown.SeriesLabel = [names.DEATH, "branches", names.BIRTH, "diagonal"]
    shown.SeriesLineStyle = [names.DEATH, "0", names.BIRTH, "1"]
    shown.SeriesMarkerStyle = [names.DEATH, "4", names.BIRTH, "0"]
    shown.SeriesMarkerSize = [names.DEATH, "9", names.BIRTH, "1"]
    shown.SeriesColor = [
        text
        for name, color in ((names.DEATH, styles.RED), (names.BIRTH, styles.BLACK))
        for text in (name, *map(str, color))
    ]
    view.ChartTitle, view.ChartTitleFontSize = title(pipeline), 18
    view.ShowLegend, view.LegendLocation, view.LegendFontSize = 1, "BottomRight", 14
    ranges = fitting.ranges_of(pipeline.profile)
    if ranges is not None:
        low, high = ranges.loss
        margin = 0.05 * (high - low)
        view.LeftAxisUseCustomRange = view.BottomAxisUseCustomRange = 1
        view.LeftAxisRangeMinimum = view.BottomAxisRangeMinimum = low - margin
        view.LeftAxisRangeMaximum = view.BottomAxisRangeMaximum = high + margin
    layout.SetSize(*SIZE)
    return layout


def show_native(pipeline: Pipeline, view: Any, span: tuple[float, float] | None = None) -> None:
    """Show the samples: a surface for n = 2, nested surfaces for n = 3 and in a slice for n > 3.

    Args:
        pipeline: whose samples.
        view: an empty view.
        span: range of the losses' colours; None for their own.
    """
    n = number_of_directions(pipeline.source)
    count = pipeline.source.GetDataInformation().GetNumberOfPoints()
    heading = f"{count:,} samples in {n} directions"
    losses = pipeline.source.PointData[names.LOSS]
    span = span or (losses.GetRange(0) if losses is not None else (0.0, 1.0))
    part = _slice(pipeline) if n > 1 and _is_grid(pipeline.source) else None
    if part is None:
        _show_points(pipeline, view, span)
    elif n == 2:
        _show_surface(pipeline, part, view, span)
    else:
        _show_contours(part, view, span)
        if n > 3:
            heading += "; slice where the others are 0"
    styles.text(heading, view)


def _of_all_steps(pipeline: Pipeline, steps: Sequence[float]) -> Ranges | None:
    """Evaluate all steps, each laid out by itself, and return what holds them all."""
    profile, parts = pipeline.profile, []
    kept = int(profile.KeepPlaces)
    profile.KeepPlaces = 0
    for step in steps:
        profile.UpdatePipeline(step)
        parts.append(fitting.ranges_of(profile))
    profile.KeepPlaces = kept
    return fitting.joined(parts)


def _go_to_something(pipeline: Pipeline, steps: Sequence[float]) -> None:
    """Evaluate the first step that there is a profile of."""
    for step in steps or [0.0]:
        pipeline.profile.UpdatePipeline(step)
        if fitting.ranges_of(pipeline.profile) is not None:
            pipeline.descriptors.UpdatePipeline(step)
            return
    raise RuntimeError(
        "there is nothing to show yet; mend what the source says, apply it, and show it again"
    )


def _is_grid(source: Any) -> bool:
    return source.FieldData[names.SHAPE] is not None


def _slice(pipeline: Pipeline) -> Any:
    part = simple.TLPLandscapeSlice(registrationName="Slice", Input=pipeline.samples)
    part.UpdatePipeline()
    return part


def _show_surface(pipeline: Pipeline, part: Any, view: Any, span: tuple[float, float]) -> None:
    scale = _height(pipeline, span)
    surface = _raised(simple.OutputPort(part, 0), "Surface", scale)
    points = _raised(simple.OutputPort(part, 1), "Points on the Surface", scale)
    shown = simple.Show(surface, view)
    shown.SetRepresentationType("Surface")
    colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), span)
    roles.mark(shown, Role.LANDSCAPE)
    styles.color_bar(colors, "loss", view)
    radius = _RADIUS * _width(pipeline)
    discs = styles.show_critical_points(points, view, radius=radius)
    versions.move(discs, [0.0, 0.0, radius])
    styles.axes(view, ("direction 1", "direction 2", "loss"), (1, 1, scale))
    _look_from(view, (-1.0, -1.6, 1.1))


def _width(pipeline: Pipeline) -> float:
    """Return the range of the widest direction."""
    return 2 * float(pipeline.source.FieldData[names.DISTANCE].GetRange(0)[1])


def _height(pipeline: Pipeline, span: tuple[float, float]) -> float:
    """Return the factor on the loss under which a surface is half as high as it is wide."""
    return _width(pipeline) * 0.5 / (span[1] - span[0]) if span[1] > span[0] else 1.0


def _raised(samples: Any, name: str, scale: float) -> Any:
    """Return samples with the loss as height."""
    raised = simple.WarpByScalar(registrationName=name, Input=samples)
    raised.Scalars = ["POINTS", names.LOSS]
    raised.ScaleFactor = scale
    return raised


def _show_contours(part: Any, view: Any, span: tuple[float, float]) -> None:
    samples = servermanager.Fetch(part, idx=0)
    losses = versions.point_array(samples, names.LOSS)
    levels = np.unique(np.quantile(losses, _LEVELS))
    if span[0] == span[1]:
        styles.text(f"all losses are {span[0]:.3g}", view, location="Lower Center")
    for i, level in enumerate(levels):
        contour = simple.Contour(
            registrationName=f"Loss {level:.3g}", Input=simple.OutputPort(part, 0)
        )
        contour.ContourBy = ["POINTS", names.LOSS]
        contour.Isosurfaces = [float(level)]
        shown = simple.Show(contour, view)
        shown.SetRepresentationType("Surface")
        colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), (span[0], float(levels[-1])))
        roles.mark(shown, Role.LANDSCAPE)
        shown.Opacity = _OPACITIES[i]
        if i == 0:
            styles.color_bar(colors, "loss", view)
    _show_selectable(simple.OutputPort(part, 0), view)
    bounds = samples.GetBounds()
    radius = _RADIUS * (bounds[1] - bounds[0])
    styles.show_critical_points(simple.OutputPort(part, 1), view, radius=radius)
    styles.axes(view, ("direction 1", "direction 2", "direction 3"), (1, 1, 1))
    _look_from(view, (-1.0, -1.6, 0.9))


def _show_selectable(samples: Any, view: Any) -> None:
    """Put samples into a view unseen, so that they light up when they are selected."""
    shown = simple.Show(samples, view)
    shown.SetRepresentationType("Points")
    versions.clear_colors(shown)
    shown.Opacity = 0.0


def _show_points(pipeline: Pipeline, view: Any, span: tuple[float, float]) -> None:
    """Show the samples as points, those of one direction over it at the height of their loss."""
    curve = number_of_directions(pipeline.source) == 1
    scale = _height(pipeline, span) if curve else 1.0
    samples = _raised(pipeline.samples, "Curve", scale) if curve else pipeline.samples
    shown = simple.Show(samples, view)
    shown.SetRepresentationType("Point Gaussian")
    colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), span)
    roles.mark(shown, Role.LANDSCAPE)
    styles.color_bar(colors, "loss", view)
    third = "loss" if curve else "direction 3"
    styles.axes(view, ("direction 1", "direction 2", third), (1, 1, scale))
    _look_from(view, (0.0, -1.0, 0.0) if curve else (-1.0, -1.6, 0.9))


def _show_step(view: Any) -> None:
    note = simple.AnnotateTime(registrationName="Step")
    note.Format = versions.TIME_FORMAT
    shown = roles.mark(simple.Show(note, view), Role.TEXT)
    shown.Color = styles.BLACK
    shown.WindowLocation = "Any Location"
    shown.Position = [0.4, 0.885]


def _layout(name: str, left: Any, right: Any) -> Any:
    layout = simple.CreateLayout(name)
    layout.AssignView(0, left)
    versions.split_right(layout, left, right)
    return layout


def _look_from(view: Any, direction: tuple[float, float, float]) -> None:
    """Look at everything from a direction."""
    view.CameraViewUp = [0.0, 0.0, 1.0]
    view.CameraFocalPoint = [0.0, 0.0, 0.0]
    view.CameraPosition = list(direction)
    fitting.aim(view)
