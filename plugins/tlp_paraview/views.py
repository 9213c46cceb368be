"""Views of a landscape, its profile, its merge tree and its persistence diagram.

A profile lies in a plane: x in samples, y the loss multiplied by the height scale of the filter.
The axes divide by that scale (``DataScale``), so that their labels are samples and loss.
:mod:`~tlp_paraview.fitting` sets all sizes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from paraview import servermanager, simple

from tlp_core import array_names as names
from tlp_core import checks, vtk_bridge
from tlp_core.choices import Panel
from tlp_core.pictures import Pictured, draw_landscapes, require_picture, write_picture
from tlp_paraview import fitting, interaction, roles, styles, versions
from tlp_paraview.fitting import SIZE, Ranges
from tlp_paraview.pipeline import (
    Pipeline,
    all_profiles,
    build,
    comes_from,
    find_pipeline,
    is_beside,
    is_connected,
    load_plugin,
    number_of_directions,
    raised_errors,
    replace_crashing_tree,
    steps_of,
    title,
    upstream,
)
from tlp_paraview.roles import Role

StepRange = Literal["all steps", "each step"]
STEP_RANGES: tuple[StepRange, ...] = get_args(StepRange)

ANIMATIONS = (".png", ".jpg", ".ogv", ".avi")

_NATIVE, _PROFILE = "landscape:", "profile:"
"""Kinds of views, at the start of their content."""

_ROOM = 1.1
"""Size of the box of the axes, divided by that of the landscape inside."""

_SURFACE = 0.75
"""Opacity of a surface, through which the minima behind it are seen."""

_VEIL = 0.7
"""Opacity of the white in front of basins that may be noise."""

_RADIUS = 0.012
"""Radius of minima and saddles, as a fraction of the width of the landscape."""

_SMALL = 0.6
"""Radius of samples that are shown as points, divided by that of minima and saddles."""

_OPACITIES = (0.4, 0.3, 0.15)
"""Opacities of the three surfaces."""


def show_landscape(
    pipeline: Pipeline, *, size: tuple[int, int] = SIZE, step_range: StepRange = "all steps"
) -> Any:
    """Show a landscape and its profile side by side in a new layout.

    The views are fitted again when the profile or the slice changes, and selections are linked:
    see :func:`~tlp_paraview.interaction.attach`.

    Args:
        pipeline: the pipeline to show.
        size: width and height of both views together, in pixels. Default: 1600 x 900. Ignored in
            the GUI, where the window has its own size.
        step_range: range of the loss axis and of the colours, for a training with several steps.
            ``all steps``: one range for all steps, which are all evaluated. ``each step``: a range
            for each step, when it is shown.
            The height of a surface is always that of the first step. Default: ``all steps``.

    Returns:
        The layout.

    Raises:
        ValueError: for an unknown ``step_range``.
        RuntimeError: if no step has a profile, for example because the source reported an error.
    """
    checks.choice(step_range, STEP_RANGES, name="step_range")
    steps = steps_of(pipeline.source)
    if steps:
        simple.GetAnimationScene().UpdateAnimationUsingDataTimeSteps()
    fitting.set_range(pipeline.profile, None)
    ranges = ranges_of_all_steps(pipeline, steps) if steps and step_range == "all steps" else None
    go_to_first_profile(pipeline, steps)
    native, profile = styles.empty_view(), styles.empty_view()
    layout = _layout(title(pipeline, metrics=False), native, profile)
    fitting.set_size(layout, size)
    _fill_views(pipeline, native, profile, ranges)
    fitting.fit_layout(layout, size)
    interaction.attach(render=False)
    simple.SetActiveView(profile)
    simple.SetActiveSource(pipeline.profile)
    return layout


def update_views(pipeline: Pipeline, *, new_steps: Sequence[float] | None = None) -> bool:
    """Build the views of :func:`show_landscape` again if the source has changed since.

    Another number of directions, another normalization or another range of the losses needs another
    picture of the landscape and other titles. A merge tree filter of TTK that would crash on the
    landscape is replaced by TLP Merge Tree; :func:`tlp_paraview.pipeline.find_pipeline` finds it.

    Args:
        pipeline: a pipeline that was shown before, also in a saved state file.
        new_steps: steps that came since. Only these are evaluated for the range that all steps
            share. Default: None, all steps are evaluated.

    Returns:
        Whether views were built again.
    """
    pipeline.profile.UpdatePipeline()
    pipeline = replace_crashing_tree(pipeline)
    if fitting.ranges_of(pipeline.profile) is None:
        return False
    pair = [_find_view(pipeline, kind) for kind in (_NATIVE, _PROFILE)]
    if None in pair or roles.content_of(pair[0]) == f"{_NATIVE} {_content(pipeline)}":
        return False
    steps = steps_of(pipeline.source)
    had_steps = new_steps is None or len(steps) - len(new_steps) > 1
    known = fitting.shared_ranges_in(pair[1], pipeline.profile) if new_steps is not None else None
    shares_range = not fitting.has_own_range(pipeline.profile) or not had_steps
    fitting.set_range(pipeline.profile, None)
    ranges = None
    if steps and shares_range:
        evaluated = steps if known is None else new_steps or steps[-1:]
        ranges = fitting.union_of([known, ranges_of_all_steps(pipeline, evaluated)])
    for view in pair:
        _clear(view)
    _fill_views(pipeline, *pair, ranges)
    for view in pair:
        fitting.fit_built(view)
    return True


def update_all_views() -> None:
    """Build the views of all profiles of the session again whose source has changed."""
    for profile in all_profiles():
        found = find_pipeline(profile)
        if found is not None:
            update_views(found)


def show_again(selected: Any) -> Any:
    """Show the landscape of a pipeline whose views were closed.

    Args:
        selected: proxy of its source, or of a filter before its profile or behind its merge tree.

    Returns:
        The new layout; None if the profile is drawn in a view, or there is none.
    """
    profiles = all_profiles()
    own = [each for each in profiles if is_connected(selected, each)]
    profile = next(iter(own or [each for each in profiles if is_beside(selected, each)]), None)
    found = find_pipeline(profile) if profile is not None else None
    drawn = [p.SMProxy for view in simple.GetRenderViews() for p in fitting.profiles_in(view)]
    if found is None or profile.SMProxy in drawn:
        return None
    _delete_helpers_of_closed_views()
    return show_landscape(found)


def compare_profiles(
    pipelines: Sequence[Pipeline],
    *,
    headings: Sequence[str] | None = None,
    size: tuple[int, int] = SIZE,
) -> Any:
    """Show profiles side by side in a new layout, with the same ranges of loss and colours.

    Args:
        pipelines: the pipelines.
        headings: text above each profile. Default: None, the
            :func:`~tlp_paraview.pipeline.title` of each.
        size: width and height of all views together, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        ValueError: if there is no pipeline, another number of headings, or a profile with a
            logarithmic axis beside losses that are not positive.
    """
    if not pipelines:
        raise ValueError("there must be at least one profile to compare, got none")
    if headings is not None and len(headings) != len(pipelines):
        raise ValueError(f"there must be {len(pipelines)} headings, got {len(headings)}")
    ranges = shared_ranges(pipelines)
    is_logarithmic = any(int(pipeline.profile.LogarithmicLoss) for pipeline in pipelines)
    if ranges is not None and is_logarithmic and not ranges.loss[0] > 0:
        raise ValueError(
            f"profiles beside one with a logarithmic axis must have losses above 0, got "
            f"{ranges.loss[0]:.6g}"
        )
    places = [styles.empty_view() for _ in pipelines]
    layout = versions.row_layout("Profiles", places)
    texts = headings or [None] * len(pipelines)
    for pipeline, view, heading in zip(pipelines, places, texts):
        show_profile(pipeline, view, ranges, heading=heading)
    fitting.fit_layout(layout, size)
    interaction.attach(render=False)
    return layout


def compare_stores(
    *paths: str | os.PathLike[str],
    threshold: float = 0.0,
    logarithmic: bool = False,
    size: tuple[int, int] = SIZE,
) -> Any:
    """Show the profiles of landscapes in files side by side, as :func:`compare_profiles`.

    Args:
        paths: stores (``NAME.zarr``) or other files that TLP Landscape Reader opens.
        threshold: smallest persistence of the basins that stay, as a fraction, 0 to 1, of the range
            of the losses of each landscape. Default: 0, all basins.
        logarithmic: draw the decimal logarithm of the loss. Default: False.
        size: width and height of all views together, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        RuntimeError: if a filter reports an error, such as that of a file that is no landscape.
        ValueError: if there is no path.
    """
    load_plugin()
    places, built = [Path(path) for path in paths], []
    for place in places:
        reader = simple.TLPLandscapeReader(registrationName=place.stem, FileName=[str(place)])
        with raised_errors():
            built.append(build(reader, threshold=threshold))
            built[-1].profile.LogarithmicLoss = int(logarithmic)
            built[-1].profile.UpdatePipeline()
    headings = [f"{place.name}: {title(each)}" for place, each in zip(places, built)]
    return compare_profiles(built, headings=headings, size=size)


def save_vector_graphics(
    path: str, pipelines: Sequence[Pipeline], *, panels: Sequence[Panel] = ("profile",)
) -> None:
    """Write profiles side by side as vector graphics, drawn by matplotlib.

    ParaView itself exports the picture of a view as pixels. Width and logarithmic axis are those of
    the first profile; all profiles have one loss axis and one range of colours.

    Args:
        path: NAME.svg, NAME.pdf or NAME.png.
        pipelines: the pipelines of the profiles, at the current time.
        panels: what is drawn of each, one below the other: ``profile``, ``landscape`` or
            ``diagram``, see :func:`tlp_core.pictures.draw_landscapes`. Default: the profile.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
        ValueError: if the path has another ending, there is no pipeline, a profile is empty, a
            panel is unknown, or a logarithmic axis has a loss that is not positive.
    """
    require_picture(path)
    if not pipelines:
        raise ValueError("a picture must show at least one pipeline, got none")
    first = pipelines[0].profile
    figure = draw_landscapes(
        [[_pictured(pipeline) for pipeline in pipelines]],
        panels=panels,
        logarithmic=bool(first.LogarithmicLoss),
        width=first.Width,
    )
    write_picture(figure, path)


def _pictured(pipeline: Pipeline) -> Pictured:
    ports = [getattr(pipeline.profile, name) for name in ("Nodes", "Arcs", "Segmentation")]
    nodes, arcs, samples = (servermanager.Fetch(port, idx=port.Port) for port in ports)
    if not samples.GetNumberOfPoints():
        raise ValueError("a profile must have basins to be drawn, got an empty one")
    name = pipeline.profile.ScalarField[1]
    return Pictured(
        heading=title(pipeline),
        landscape=vtk_bridge.grid_to_landscape(samples, name),
        tree=vtk_bridge.skeleton_to_tree(nodes, arcs, samples, name),
    )


def save_animation(path: str, layout: Any, *, size: tuple[int, int] = SIZE) -> None:
    """Write an animation, or one picture, for each step of a training; no window is needed.

    Args:
        path: an animation, NAME.ogv or NAME.avi, or pictures, NAME.png or NAME.jpg, which are
            numbered.
        layout: the layout to write, from :func:`show_landscape`.
        size: width and height in pixels. Default: 1600 x 900.

    Raises:
        ValueError: if the path has another ending.
        FileNotFoundError: if the folder does not exist.
    """
    if Path(path).suffix not in ANIMATIONS:
        raise ValueError(f"an animation must end in {', '.join(ANIMATIONS)}, got {path}")
    if not Path(path).resolve().parent.is_dir():
        raise FileNotFoundError(
            f"an animation must be written to an existing folder, found none for {path}; create it"
        )
    interaction.attach()
    scene = simple.GetAnimationScene()
    scene.UpdateAnimationUsingDataTimeSteps()
    steps = scene.TimeKeeper.TimestepValues
    count = max(1, len(steps)) if hasattr(steps, "__len__") else 1
    simple.SaveAnimation(
        path, layout, ImageResolution=list(size), FrameWindow=[0, count - 1], FrameRate=2
    )


def close_views() -> None:
    """Delete all views; in ParaView 5.11, a script that exits with open views can crash."""
    for view in simple.GetViews():
        simple.Delete(view)


def shared_ranges(pipelines: Sequence[Pipeline]) -> Ranges | None:
    """Return the smallest ranges that contain those of all profiles; None if all are empty."""
    return fitting.union_of(fitting.ranges_of(pipeline.profile) for pipeline in pipelines)


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
        pipeline: the pipeline of the profile.
        view: an empty render view.
        ranges: ranges of the loss axis and of the colours. Default: None, the profile's own ranges.
        heading: text above the profile. Default: the :func:`~tlp_paraview.pipeline.title`.
        bare: omit colour bar, legend and the titles of the axes. Default: False.
    """
    if ranges is not None:
        fitting.set_range(pipeline.profile, ranges)
    colors = ranges or fitting.ranges_of(pipeline.profile)
    basins = roles.mark(simple.Show(pipeline.basins, view), Role.BASINS)
    span = colors.average_loss if colors is not None else (0.0, 1.0)
    blues = styles.color_by_loss(
        basins,
        ("CELLS", names.AVERAGE_LOSS),
        span,
        logarithmic=bool(pipeline.profile.LogarithmicLoss),
    )
    if not bare:
        styles.show_color_bar(blues, "average loss", view, span)
    roles.set_shared_colors(basins, ranges.average_loss if ranges is not None else None)
    styles.disable_lighting(basins)
    basins.SelectionRepresentation = "Surface"  # lines of triangles would show gaps in a zoom
    knows_noise = names.Q_VALUE in pipeline.basins.CellData.keys()  # noqa: SIM118
    if knows_noise:
        faint = roles.mark(simple.Show(pipeline.faint_basins, view), Role.FAINT_BASINS)
        styles.set_color(faint, styles.WHITE, Opacity=_VEIL, Pickable=0)
    outline = roles.mark(simple.Show(pipeline.outline, view), Role.OUTLINE)
    styles.set_color(outline, styles.BLACK, LineWidth=1.5)
    points = styles.stretchable("Critical Points", pipeline.critical_points)
    discs = styles.show_critical_points(points, view, legend=not bare)
    roles.mark(discs, Role.CRITICAL_POINTS)
    widths = "" if bare else fitting.title_of_widths(pipeline.profile)
    styles.show_axes(view, (widths, "", ""), (1.0, 1.0, 1.0))
    view.AxesGrid.AxesToLabel = 3  # only left and bottom
    view.AxesGrid.ShowGrid = 1
    steps = steps_of(pipeline.source)
    styles.show_text(heading or title(pipeline, metrics=not steps), view)
    if not bare:
        _show_network(pipeline, view)
        if knows_noise:
            styles.show_text("pale: noise?", view, position=(0.82, 0.745))
        place = (0.08, 0.885)
        styles.show_text(fitting.LOSS_TITLES[0], view, position=place, role=Role.LOSS_TITLE)
        if steps:
            _show_step(view)


def _show_network(pipeline: Pipeline, view: Any) -> None:
    """Show the given network in its profile."""
    place = styles.stretchable("Network", pipeline.network)
    roles.mark(styles.show_network(place, view), Role.NETWORK)


def show_tree(pipeline: Pipeline) -> Any:
    """Show the merge tree over its transparent profile, in a new layout.

    Args:
        pipeline: the pipeline to show.

    Returns:
        The layout.
    """
    shared = (
        fitting.shared_ranges_in(view, pipeline.profile)
        for view in simple.GetRenderViews()
        if interaction.shows(view, pipeline.profile)
    )
    ranges = next((each for each in shared if each is not None), None)
    view = styles.empty_view()
    layout = simple.CreateLayout("Merge tree")
    layout.AssignView(0, view)
    show_profile(pipeline, view, ranges)
    simple.Show(pipeline.basins, view).Opacity = 0.3
    simple.Hide(pipeline.outline, view)
    branches = roles.mark(simple.Show(pipeline.branches, view), Role.BRANCHES)
    styles.set_color(branches, styles.BLACK, LineWidth=2.0)
    fitting.fit_layout(layout, SIZE)
    interaction.attach(render=False)
    return layout


def show_persistence_diagram(pipeline: Pipeline) -> Any:
    """Show the birth and death of each branch as a chart, in a new layout.

    Args:
        pipeline: the pipeline to show.

    Returns:
        The layout.
    """
    view = simple.CreateView("XYChartView")
    layout = simple.CreateLayout("Persistence diagram")
    layout.AssignView(0, view)
    styles.title_chart(view, ("loss at birth", "loss at death"))
    shown = styles.show_columns(pipeline.diagram, view, names.BIRTH)
    shown.SeriesVisibility = [names.DEATH]
    shown.SeriesLabel = [names.DEATH, "branches"]
    shown.SeriesLineStyle = [names.DEATH, "0"]
    shown.SeriesMarkerStyle = [names.DEATH, "4"]
    shown.SeriesMarkerSize = [names.DEATH, "9"]
    shown.SeriesColor = [names.DEATH, *map(str, styles.RED)]
    view.ChartTitle, view.ChartTitleFontSize = title(pipeline), 18
    view.ShowLegend, view.LegendLocation, view.LegendFontSize = 1, "BottomRight", 14
    ranges = fitting.ranges_of(pipeline.profile)
    if ranges is not None:
        low, high = ranges.loss
        _show_diagonal(view, low, high)
        margin = 0.05 * (high - low)
        view.LeftAxisUseCustomRange = view.BottomAxisUseCustomRange = 1
        view.LeftAxisRangeMinimum = view.BottomAxisRangeMinimum = low - margin
        view.LeftAxisRangeMaximum = view.BottomAxisRangeMaximum = high + margin
    layout.SetSize(*SIZE)
    return layout


def _show_diagonal(view: Any, low: float, high: float) -> None:
    """Show where births are deaths, over the whole range of the losses."""
    ends = {"Point1": [low, low, 0.0], "Point2": [high, high, 0.0]}
    line = roles.mark_helper(simple.Line(registrationName="Diagonal", Resolution=1, **ends))
    shown = styles.show_columns(line, view, "Points_X", kind="Point Data")
    shown.SeriesVisibility = ["Points_Y"]
    shown.SeriesLabel = ["Points_Y", "diagonal"]
    shown.SeriesColor = ["Points_Y", *map(str, styles.BLACK)]


def show_native(pipeline: Pipeline, view: Any, span: tuple[float, float] | None = None) -> None:
    """Show the samples of a landscape in a view.

    A grid of two directions is shown as a surface, one of three directions as nested contour
    surfaces, and one of more directions as the contour surfaces of a slice. Other samples are shown
    as points.

    Args:
        pipeline: the pipeline of the samples.
        view: an empty render view.
        span: lowest and highest loss of the colours. Default: None, the range of the losses.
    """
    n = number_of_directions(pipeline.source)
    count = pipeline.source.GetDataInformation().GetNumberOfPoints()
    losses = pipeline.source.PointData[names.LOSS]
    span = span or (losses.GetRange(0) if losses is not None else (0.0, 1.0))
    part = _make_slice(pipeline) if n > 1 and _is_grid(pipeline.source) else None
    if part is None:
        _show_points(pipeline, view, span)
    elif n == 2:
        _show_surface(pipeline, part, view, span)
    else:
        _show_contours(part, view, span)
    heading = f"{count:,} samples in {n} direction{'s' if n > 1 else ''}"
    if _lacks_losses(pipeline.source):
        heading += ", some without a loss, drawn at the highest loss"
    view.AxesGrid.DataBoundsScaleFactor = _ROOM  # so labels of two axes do not meet at a corner
    styles.show_text(heading, view, role=Role.HEADING)
    if part is not None and n > 3:
        fitting.fit_slice(view, part)


def _fill_views(pipeline: Pipeline, native: Any, profile: Any, ranges: Ranges | None) -> None:
    show_native(pipeline, native, ranges.loss if ranges is not None else None)
    show_profile(pipeline, profile, ranges)
    for view, kind in ((native, _NATIVE), (profile, _PROFILE)):
        roles.set_content(view, f"{kind} {_content(pipeline)}")


def _content(pipeline: Pipeline) -> str:
    """Return a text of everything about a source for which a picture is built."""
    source = pipeline.source
    steps = steps_of(source)
    losses = source.PointData[names.LOSS]
    span = losses.GetRange(0) if losses is not None and not steps else None
    values = [source.GetPropertyValue(name) for name in _settings_of(source)]
    missing = ["missing"] if _lacks_losses(source) else []
    return json.dumps([values, steps, span, *missing], default=str)


def _lacks_losses(source: Any) -> bool:
    """Return whether samples of a source have no finite loss; always False for a series."""
    finite = source.PointData[names.IS_FINITE]
    return not steps_of(source) and finite is not None and finite.GetRange(0)[0] == 0


def _settings_of(source: Any) -> list[str]:
    """Return the names of the properties of a source that a user can set."""
    return [
        name
        for name in source.ListProperties()
        if not source.GetProperty(name).SMProperty.GetInformationOnly()
    ]


def _find_view(pipeline: Pipeline, kind: str) -> Any:
    """Return the view of :func:`show_landscape` of a kind; None if there is none."""
    views = [view for view in simple.GetRenderViews() if interaction.shows(view, pipeline.profile)]
    return next((v for v in views if (roles.content_of(v) or "").startswith(kind)), None)


def _clear(view: Any) -> None:
    """Remove what the suite shows in a view, and the filters that were made for this view only."""
    shown = [
        servermanager._getPyProxy(proxy)
        for proxy in roles.proxies_in(view)
        if roles.role_of(proxy) is not None
    ]
    for bar in list(roles.visible(view, Role.COLOR_BAR)):
        simple.Delete(bar)
    helpers: dict[str, Any] = {}
    for each in shown:
        proxy = getattr(each, "Input", None)
        while proxy is not None and roles.is_helper(proxy):
            helpers[proxy.GetGlobalIDAsString()] = proxy
            proxy = getattr(proxy, "Input", None)
    _delete(helpers)


def _delete_helpers_of_closed_views() -> None:
    """Delete the filters that were made for views that a user has closed since.

    Those stay that a view of any kind shows, or that are followed by a filter of the user.
    """
    every = simple.GetSources().values()
    ends = [shown for view in simple.GetViews() for shown in roles.proxies_in(view)]
    ends += [proxy.SMProxy for proxy in every if not roles.is_helper(proxy)]
    used = {proxy.GetGlobalIDAsString() for end in ends for proxy in upstream(end)}
    helpers = {proxy.GetGlobalIDAsString(): proxy for proxy in every if roles.is_helper(proxy)}
    _delete({key: proxy for key, proxy in helpers.items() if key not in used})


def _delete(helpers: dict[str, Any]) -> None:
    """Delete filters by their ids; nothing else may follow them."""
    while helpers:  # those at the end of the pipeline first
        last = next(
            key
            for key, proxy in helpers.items()
            if not any(comes_from(h, proxy) for k, h in helpers.items() if k != key)
        )
        simple.Delete(helpers.pop(last))


def ranges_of_all_steps(pipeline: Pipeline, steps: Sequence[float]) -> Ranges | None:
    """Evaluate steps, and return ranges that contain those of all; None if no step has a profile.

    Args:
        pipeline: the pipeline of a training.
        steps: the steps to evaluate.
    """
    parts = []
    for step in steps:
        pipeline.profile.UpdatePipeline(step)
        parts.append(fitting.ranges_of(pipeline.profile))
    return fitting.union_of(parts)


def go_to_first_profile(pipeline: Pipeline, steps: Sequence[float]) -> None:
    """Evaluate steps until one has a profile, and the descriptors of that step.

    Args:
        pipeline: the pipeline.
        steps: its steps; without any, it is evaluated once.

    Raises:
        RuntimeError: if none has a profile.
    """
    for step in steps or [0.0]:
        pipeline.profile.UpdatePipeline(step)
        if fitting.ranges_of(pipeline.profile) is not None:
            pipeline.descriptors.UpdatePipeline(step)
            return
    raise RuntimeError(
        "a pipeline must have a profile to be shown, got an empty one; correct the error that a "
        "filter reports, apply the change, and show the pipeline again"
    )


def _is_grid(source: Any) -> bool:
    return source.FieldData[names.SHAPE] is not None


def _make_slice(pipeline: Pipeline) -> Any:
    part = roles.mark_helper(
        simple.TLPLandscapeSlice(registrationName="Slice", Input=pipeline.samples)
    )
    part.UpdatePipeline()
    return part


def _show_surface(pipeline: Pipeline, part: Any, view: Any, span: tuple[float, float]) -> None:
    scale = _height(pipeline, span)
    surface = _warp_by_loss(simple.OutputPort(part, 0), "Surface", scale)
    points = _warp_by_loss(simple.OutputPort(part, 1), "Points on the Surface", scale)
    shown = simple.Show(surface, view)
    shown.SetRepresentationType("Surface")
    shown.Opacity = _SURFACE
    colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), span)
    roles.mark(shown, Role.LANDSCAPE)
    styles.show_color_bar(colors, "loss", view, span)
    radius = _RADIUS * _width(pipeline)
    discs = styles.show_critical_points(points, view, radius=radius)
    roles.mark(discs, Role.LANDSCAPE_POINTS)
    versions.move(discs, [0.0, 0.0, radius])
    network = _warp_by_loss(simple.OutputPort(part, 2), "Network on the Surface", scale)
    square = styles.show_network(network, view, radius)
    roles.mark(square, Role.LANDSCAPE_POINTS)
    versions.move(square, [0.0, 0.0, radius])
    styles.show_axes(view, ("direction 1", "direction 2", "loss"), (1, 1, scale))
    styles.label_axis(view.AxesGrid, "Z", span)
    # ParaView would label round numbers beside an axis of no length
    view.AxesGrid.ZAxisUseCustomLabels = int(span[0] == span[1])
    view.AxesGrid.ZAxisLabels = [span[0]]
    _look_from(view, (-1.0, -1.6, 1.1))


def _width(pipeline: Pipeline) -> float:
    """Return the full width of the direction with the largest distance."""
    return 2 * float(pipeline.source.FieldData[names.DISTANCE].GetRange(0)[1])


def _height(pipeline: Pipeline, span: tuple[float, float]) -> float:
    """Return the factor on the loss that makes a surface half as high as it is wide."""
    return _width(pipeline) * 0.5 / (span[1] - span[0]) if span[1] > span[0] else 1.0


def _warp_by_loss(samples: Any, name: str, scale: float) -> Any:
    """Return a filter that moves samples upward by the loss times a scale."""
    warped = roles.mark_helper(simple.WarpByScalar(registrationName=name, Input=samples))
    warped.Scalars = ["POINTS", names.LOSS]
    warped.ScaleFactor = scale
    return warped


def _show_contours(part: Any, view: Any, span: tuple[float, float]) -> None:
    samples = servermanager.Fetch(part, idx=0)
    levels = fitting.contour_levels(samples)
    if span[0] == span[1]:
        styles.show_text(f"all losses are {span[0]:.3g}", view, location="Lower Center")
    for i, level in enumerate(levels):
        contour = roles.mark_helper(
            simple.Contour(registrationName=f"Loss {level:.3g}", Input=simple.OutputPort(part, 0))
        )
        contour.ContourBy = ["POINTS", names.LOSS]
        contour.Isosurfaces = [float(level)]
        shown = simple.Show(contour, view)
        shown.SetRepresentationType("Surface")
        inner = span[0], float(levels[-1])
        colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), inner)
        roles.mark(shown, Role.LANDSCAPE)
        shown.Opacity = _OPACITIES[i]
        if i == 0:
            styles.show_color_bar(colors, "loss", view, inner)
    _show_selectable(simple.OutputPort(part, 0), view)
    bounds = samples.GetBounds()
    radius = _RADIUS * (bounds[1] - bounds[0])
    discs = styles.show_critical_points(simple.OutputPort(part, 1), view, radius=radius)
    roles.mark(discs, Role.LANDSCAPE_POINTS)
    square = styles.show_network(simple.OutputPort(part, 2), view, radius)
    roles.mark(square, Role.LANDSCAPE_POINTS)
    styles.show_axes(view, ("direction 1", "direction 2", "direction 3"), (1, 1, 1))
    _look_from(view, (-1.0, -1.6, 0.9))


def _show_selectable(samples: Any, view: Any) -> None:
    """Show samples fully transparent, so that only selected samples are visible."""
    shown = simple.Show(samples, view)
    roles.mark(shown, Role.SELECTABLE)
    shown.SetRepresentationType("Points")
    versions.clear_colors(shown)
    shown.Opacity = 0.0


def _show_points(pipeline: Pipeline, view: Any, span: tuple[float, float]) -> None:
    """Show the samples as points; samples of one direction are at the height of their loss."""
    curve = number_of_directions(pipeline.source) == 1
    scale = _height(pipeline, span) if curve else 1.0
    samples = _warp_by_loss(pipeline.samples, "Curve", scale) if curve else pipeline.samples
    radius = _RADIUS * _width(pipeline)
    shown = styles.show_discs(samples, view, _SMALL * radius)
    colors = styles.color_by_loss(shown, ("POINTS", names.LOSS), span)
    styles.disable_lighting(shown)
    roles.mark(shown, Role.LANDSCAPE)
    styles.show_color_bar(colors, "loss", view, span)
    network = pipeline.network_sample
    place = _warp_by_loss(network, "Network on the Curve", scale) if curve else network
    square = styles.show_network(place, view, radius)
    roles.mark(square, Role.LANDSCAPE_POINTS)
    third = "loss" if curve else "direction 3"
    styles.show_axes(view, ("direction 1", "direction 2", third), (1, 1, scale))
    if curve:
        styles.label_axis(view.AxesGrid, "Z", span)
    _look_from(view, (0.0, -1.0, 0.0) if curve else (-1.0, -1.6, 0.9))


def _show_step(view: Any) -> None:
    note = roles.mark_helper(simple.AnnotateTime(registrationName="Step"))
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
    """Place the camera of a view in a direction from the origin, and fit it to the view."""
    view.CameraViewUp = [0.0, 0.0, 1.0]
    view.CameraFocalPoint = [0.0, 0.0, 0.0]
    view.CameraPosition = list(direction)
    fitting.render(view)
    fitting.fit_camera(view)
