"""The views of an ensemble of trees: the map of their distances, their embedding, their basins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paraview import simple

from tlp_core import array_names as names
from tlp_core.vtk_bridge.tracking import MARGIN
from tlp_paraview import fitting, pipeline, roles, styles, versions, views
from tlp_paraview.pipeline import Pipeline

_MAP = 2
"""First of the three ports of TLP Tree Ensemble with map, labels and embedding."""

_EVENTS = 2
"""Port of TLP Basin Tracking."""

_TABLE = 0.3
"""Height of the table of events, as a fraction of that of the graph and the table."""

_DISTANCE_TITLES = ("bottleneck distance", "Wasserstein distance")

_POINT_SIZE = 0.02
"""Radius of the points of an embedding, as a fraction of its width."""

_SHIFT = 0.12
"""Distance by which the camera moves right, in half-heights, so that the colour bar is free."""

_FRAME = 0.58
"""Half-width of the frame of an embedding, as a fraction of the width of the embedding."""

_ROOM = 1.75
"""Half-height that the view of an embedding shows, in half-widths of its frame."""

_MARGIN = 1.2
"""Factor on the height that a view shows, so that colour bars are beside the picture."""


def tree_ensemble(pipelines: Sequence[Pipeline]) -> Any:
    """Return a TLP Tree Ensemble behind pipelines, not yet run.

    Args:
        pipelines: one, whose time steps the ensemble gathers, or several.

    Raises:
        ValueError: if there is no pipeline.
    """
    if not pipelines:
        raise ValueError("an ensemble must have at least one pipeline, got none")
    last = [each.simplification or each.tree for each in pipelines]
    return simple.TLPTreeEnsemble(
        registrationName="Tree Ensemble",
        Nodes=[simple.OutputPort(tree, 0) for tree in last],
        Arcs=[simple.OutputPort(tree, 1) for tree in last],
        Segmentation=[simple.OutputPort(tree, 2) for tree in last],
        ScalarField=["POINTS", names.LOSS],
    )


def show_ensemble(ensemble: Any, *, size: tuple[int, int] = fitting.SIZE) -> Any:
    """Show the distances of an ensemble as a map beside its embedding, in a new layout.

    Args:
        ensemble: a TLP Tree Ensemble that computes distances.
        size: width and height of both views together, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        RuntimeError: if the ensemble has no distances.
    """
    ensemble.UpdatePipeline()
    if not ensemble.GetDataInformation(_MAP).GetNumberOfCells():
        raise RuntimeError(
            "an ensemble must have distances to be shown, got none; choose a Diagram Distance, and "
            "correct the errors that the filters report"
        )
    title = _DISTANCE_TITLES[ensemble.DiagramDistance == "wasserstein"]
    heading = "distances between the persistence diagrams, by GUDHI"
    return show_distances(ensemble, _MAP, title, heading, size=size)


def show_distances(
    source: Any, first: int, title: str, heading: str, *, size: tuple[int, int] = fitting.SIZE
) -> Any:
    """Show a map of distances beside its embedding, in a new layout.

    Args:
        source: the filter with a map, its labels and an embedding at three ports, not empty.
        first: the first of these ports.
        title: what a distance is.
        heading: text above the map.
        size: as in :func:`show_ensemble`.

    Returns:
        The layout.
    """
    cells, labels, embedding = (simple.OutputPort(source, first + i) for i in range(3))
    left, right = styles.empty_view(), styles.empty_view()
    layout = versions.row_layout("Tree ensemble", [left, right])
    fitting.set_size(layout, size)
    _show_map(cells, labels, left, title, heading)
    _show_embedding(embedding, right)
    fitting.fit_layout(layout, size)
    return layout


def show_tracking(
    ensemble: Any,
    *,
    overlap: float = 0.25,
    beside: Pipeline | None = None,
    size: tuple[int, int] = fitting.SIZE,
) -> tuple[Any, Any]:
    """Show the basins of an ensemble through its steps as a graph, in a new layout.

    Args:
        ensemble: a TLP Tree Ensemble.
        overlap: smallest number of samples that related basins share, as a fraction, above 0 to 1,
            of the smaller one. Default: 0.25.
        beside: the pipeline of the training, whose profile at the current time is shown at the left
            of the graph, with the table of events below the graph. All its steps are evaluated, and
            its profile gets one loss axis for all of them. Default: the graph alone.
        size: width and height of all views together, in pixels. Default: 1600 x 900.

    Returns:
        The layout, and the TLP Basin Tracking, whose port 2 is the table of events.

    Raises:
        RuntimeError: if there are no basins, or ``beside`` has no profile.
    """
    tracking = simple.TLPBasinTracking(
        registrationName="Basin Tracking", Input=simple.OutputPort(ensemble, 0), Overlap=overlap
    )
    tracking.UpdatePipeline()
    basins, lines, labels = (simple.OutputPort(tracking, port) for port in (0, 1, 3))
    if not basins.GetDataInformation().GetNumberOfPoints():
        raise RuntimeError(
            "an ensemble must have basins to be tracked, got none; correct the errors that the "
            "filters report"
        )
    view = styles.empty_view()
    if beside is None:
        layout = versions.row_layout("Basin tracking", [view])
    else:
        profile, events = styles.empty_view(), simple.CreateView("SpreadSheetView")
        layout = versions.table_layout("Basin tracking", profile, view, events, _TABLE)
        steps = pipeline.steps_of(beside.source)
        ranges = views.ranges_of_all_steps(beside, steps)
        views.go_to_first_profile(beside, steps)
        views.show_profile(beside, profile, ranges)
        simple.Show(simple.OutputPort(tracking, _EVENTS), events)
    fitting.set_size(layout, size)
    line = simple.Show(lines, view)
    line.SetRepresentationType("Wireframe")
    styles.set_color(line, styles.GREY, LineWidth=3.0)
    bounds = basins.GetDataInformation().GetBounds()
    width = max(bounds[1] - bounds[0], 1.0)
    shown = styles.show_discs(basins, view, _POINT_SIZE * width / 2)
    span = basins.PointData[names.PERSISTENCE].GetRange(0)
    colors = styles.color_by_loss(shown, ("POINTS", names.PERSISTENCE), span)
    styles.show_color_bar(colors, "persistence", view, span, position=(0.9, 0.2))
    styles.set_color(simple.Show(labels, view), styles.BLACK)
    styles.show_text("basins at each step, related by the samples that they share", view)
    scale = basins.FieldData[names.HEIGHT_SCALE].GetRange(0)[0]
    styles.show_axes(view, ("", "", ""), (1.0, scale, 1.0))
    styles.show_text("loss of the minimum", view, position=(0.04, 0.9))
    grid = view.AxesGrid
    grid.AxesToLabel = 1  # only left
    styles.label_axis(grid, "Y", (bounds[2] / scale, bounds[3] / scale))
    grid.UseCustomBounds = 1
    margin = MARGIN * width
    grid.CustomBounds = [
        bounds[0] - margin,
        bounds[1] + margin,
        bounds[2] - margin,
        bounds[3] + margin,
        0.0,
        0.0,
    ]
    across, down = size if beside is None else (size[0] / 2, size[1] * (1 - _TABLE))
    half = max(bounds[3] - bounds[2], width * down / across) / 2
    _look_down(view, 0.8 * (half + margin))
    fitting.fit_layout(layout, size)
    return layout, tracking


def _show_map(squares: Any, labels: Any, view: Any, title: str, heading: str) -> None:
    cells = simple.Show(squares, view)
    cells.SetRepresentationType("Surface")
    span = squares.CellData[names.TREE_DISTANCE].GetRange(0)
    colors = styles.color_by_loss(cells, ("CELLS", names.TREE_DISTANCE), span)
    styles.disable_lighting(cells)
    styles.show_color_bar(colors, title, view, span)
    styles.set_color(simple.Show(labels, view), styles.BLACK)
    styles.show_text(heading, view)
    _look_down(view)


def _show_embedding(port: Any, view: Any) -> None:
    order = port.PointData[names.STEP]
    array, title = (names.TREE_ID, "tree") if order is None else (names.STEP, "step")
    bounds = port.GetDataInformation().GetBounds()
    extent = max(bounds[1] - bounds[0], bounds[3] - bounds[2])
    width = extent or 1.0
    if order is not None:
        line = simple.Show(port, view)
        line.SetRepresentationType("Wireframe")
        styles.set_color(line, styles.GREY, LineWidth=2.0)
    # a second representation of one output needs a filter of its own
    points = roles.mark_helper(simple.MaskPoints(registrationName="Embedded Trees", Input=port))
    points.OnRatio, points.MaximumNumberofPoints, points.GenerateVertices = 1, 10**6, 1
    shown = styles.show_discs(points, view, _POINT_SIZE * width)
    span = port.PointData[array].GetRange(0)
    colors = styles.color_by_loss(shown, ("POINTS", array), span)
    styles.show_color_bar(colors, title, view, span)
    held = port.FieldData[names.EMBEDDED_FRACTION].GetRange(0)[0]
    holds = f", which holds {held:.0%} of the variance" if extent > 0 else ": all are equal"
    styles.show_text(f"embedding in the plane{holds}", view)
    styles.show_axes(view, ("", "", ""), (1.0, 1.0, 1.0))
    grid = view.AxesGrid
    grid.AxesToLabel = 3  # only left and bottom
    grid.UseCustomBounds = 1
    middle = [(bounds[0] + bounds[1]) / 2, (bounds[2] + bounds[3]) / 2]
    half = _FRAME * width
    ends = [place + side * half for place in middle for side in (-1, 1)]
    grid.CustomBounds = [*ends, 0.0, 0.0]
    _look_down(view, half)


def _look_down(view: Any, half: float | None = None) -> None:
    """Fit a 2D camera to what a view shows, or to a square of a given half-width."""
    view.InteractionMode = "2D"
    view.CameraParallelProjection = 1
    simple.ResetCamera(view)
    view.CameraParallelScale = view.CameraParallelScale * _MARGIN if half is None else _ROOM * half
    if half is None:
        shift = _SHIFT * view.CameraParallelScale
        view.CameraFocalPoint[0] += shift
        view.CameraPosition[0] += shift
    roles.set_fitted_camera(view, fitting.camera_state(view))
