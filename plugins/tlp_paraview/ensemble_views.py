"""The views of an ensemble of trees: the map of their distances, their embedding, their basins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paraview import servermanager, simple
from vtkmodules.util.numpy_support import vtk_to_numpy

from tlp_core import array_names as names
from tlp_core.vtk_bridge import step_of
from tlp_core.vtk_bridge.tracking import MARGIN
from tlp_paraview import fitting, pipeline, roles, styles, versions, views
from tlp_paraview.pipeline import Pipeline, number_of_directions

_MAP, _LABELS, _EMBEDDING = 2, 3, 4
"""Ports of TLP Tree Ensemble."""

_DISTANCE_TITLES = ("bottleneck distance", "Wasserstein distance")

_POINT_SIZE = 0.02
"""Radius of the points of an embedding, as a fraction of its width."""

_SHIFT = 0.12
"""Distance by which the camera moves right, in half-heights, so that the colour bar is free."""

_FRAME = 0.58
"""Half-width of the frame of an embedding, as a fraction of the width of the embedding."""

_ROOM = 1.75
"""Half-height that the view of an embedding shows, in half-widths of its frame."""

_TTK_HEIGHT, _TTK_WEIGHT = 1.0, 1.0
"""Height of TTK's tracks divided by their width, and the weight of coordinates in its matching."""

_TTK_TRACK = "ConnectedComponentId"
"""TTK's point array of the number of a track."""

_SIDE = [-0.5, -0.85, 0.4]
"""Direction from which TTK's tracks are seen."""

_LISTED = 6
"""Largest number of trees that the heading of a cluster lists."""

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
    left, right = styles.empty_view(), styles.empty_view()
    layout = simple.CreateLayout("Tree ensemble")
    layout.AssignView(0, left)
    versions.split_right(layout, left, right)
    fitting.set_size(layout, size)
    _show_map(ensemble, left)
    _show_embedding(ensemble, right)
    fitting.fit_layout(layout, size)
    return layout


def show_tracking(ensemble: Any, *, overlap: float = 0.25) -> tuple[Any, Any]:
    """Show the basins of an ensemble through its steps as a graph, in a new layout.

    Args:
        ensemble: a TLP Tree Ensemble.
        overlap: smallest number of samples that related basins share, as a fraction, above 0 to 1,
            of the smaller one. Default: 0.25.

    Returns:
        The layout, and the TLP Basin Tracking, whose port 2 is the table of events.

    Raises:
        RuntimeError: if there are no basins.
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
    layout = simple.CreateLayout("Basin tracking")
    layout.AssignView(0, view)
    fitting.set_size(layout, fitting.SIZE)
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
    half = max(bounds[3] - bounds[2], width * fitting.SIZE[1] / fitting.SIZE[0]) / 2
    _look_down(view, 0.8 * (half + margin))
    fitting.fit_layout(layout)
    return layout, tracking


def show_clusters(
    ensemble: Any,
    clusters: int = 2,
    *,
    threshold: float = 0.0,
    logarithmic: bool = False,
    size: tuple[int, int] = fitting.SIZE,
) -> Any:
    """Cluster the trees of an ensemble by TTK, and show the barycentres as profiles side by side.

    A barycentre is the mean of the merge trees of a cluster. Its basins are as wide as those of the
    trees on average, and their widths grow evenly with the height, see *TLP Tree Barycenter*.

    Args:
        ensemble: a TLP Tree Ensemble.
        clusters: number of clusters, from 1 to the number of trees. Default: 2.
        threshold: smallest persistence of the basins that stay, as a fraction, 0 to 1, of the range
            of the levels of each barycentre. Default: 0, all basins.
        logarithmic: draw the decimal logarithm of the loss. Default: False.
        size: width and height of all profiles together, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        RuntimeError: if TTK's plugin is not found, or there are no trees.
        ValueError: if there are fewer trees than clusters.
    """
    require_ttk("TTKMergeTreeClustering", "cluster merge trees")
    ensemble.UpdatePipeline()
    count = _number_of_trees(ensemble)
    if not 1 <= clusters <= count:
        raise ValueError(f"clusters must be from 1 to the number of trees, {count}, got {clusters}")
    clustering = simple.TTKMergeTreeClustering(
        registrationName="Clusters of Trees",
        Input=simple.OutputPort(ensemble, 0),
        ComputeBarycenter=1,
        NumberOfClusters=clusters,
        Deterministic=1,
        PlanarLayout=0,
        DebugLevel=0,
    )
    barycenters = [_barycenter(clustering, cluster) for cluster in range(clusters)]
    built = []
    for barycenter in sorted(barycenters, key=lambda each: _members(each)[1]):
        built.append(pipeline.build_from_graph(barycenter, threshold=threshold))
        built[-1].profile.LogarithmicLoss = int(logarithmic)
        built[-1].profile.UpdatePipeline()
    places = [styles.empty_view() for _ in built]
    layout = versions.row_layout("Clusters of trees", places)
    ranges = views.shared_ranges(built)
    for each, view in zip(built, places):
        views.show_profile(each, view, ranges, heading=_heading(*_members(each.source)))
    fitting.fit_layout(layout, size)
    return layout


def show_ttk_tracking(
    built: Pipeline, *, threshold: float = 0.0, size: tuple[int, int] = fitting.SIZE
) -> Any:
    """Show the minima of a training as TTK tracks them, in a new layout.

    TTK matches the persistence diagrams of consecutive steps (Soler et al. 2018, "Lifted
    Wasserstein matcher"), where *TLP Basin Tracking* relates basins by the samples that they share.
    The diagrams are those of the images of the landscapes, whose neighbours are those of the rule
    ``freudenthal``.

    Args:
        built: the pipeline of a training in two directions, built with ``use_ttk=False``.
        threshold: smallest persistence that TTK tracks, as a fraction, 0 to 1, of the largest of a
            step. Default: 0, all.
        size: width and height of the view, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        RuntimeError: if TTK's plugin is not found.
        ValueError: for a single step, another number of directions, or a pipeline with TTK's merge
            tree filter: TTK then looks up grids that are gone, and ends the process.
    """
    require_ttk("TTKTrackingFromPersistenceDiagrams", "track the minima of a training")
    steps = pipeline.steps_of(built.source)
    if not steps or number_of_directions(built.source) != 2:
        raise ValueError("the minima of a training in two directions are tracked here, got others")
    if built.tree.SMProxy.GetXMLLabel() != pipeline.BUILT_IN:
        raise ValueError("the pipeline must be built with use_ttk=False, got TTK's merge tree")
    diagrams = [_diagram(built.source, step) for step in steps]
    tracking = simple.TTKTrackingFromPersistenceDiagrams(
        registrationName="TTK Tracking",
        Input=diagrams,
        Persistencethreshold=100 * threshold,
        Xweight=_TTK_WEIGHT,
        Yweight=_TTK_WEIGHT,
        ForceZtranslation=1,
        DebugLevel=0,
    )
    view = styles.empty_view()
    layout = versions.row_layout("TTK tracking", [view])
    fitting.set_size(layout, size)
    tracks = simple.Show(tracking, view)
    tracks.SetRepresentationType("Wireframe")
    tracks.LineWidth = 4.0
    bounds = tracking.GetDataInformation().GetBounds()
    width = bounds[1] - bounds[0]
    tracks.Scale = [1.0, 1.0, _TTK_HEIGHT * width / max(bounds[5] - bounds[4], 1.0)]
    span = tracking.PointData[_TTK_TRACK].GetRange(0)
    colors = styles.color_by_loss(tracks, ("POINTS", _TTK_TRACK), span)
    styles.show_color_bar(colors, "track", view, span)
    styles.disable_lighting(tracks)
    styles.show_text("minima of the steps, from the first step up, as TTK tracks them", view)
    titles = ("direction 1", "direction 2", "number of the step")
    styles.show_axes(view, titles, tuple(tracks.Scale))
    view.CameraFocalPoint, view.CameraPosition = [0.0, 0.0, 0.0], _SIDE
    view.CameraViewUp = [0.0, 0.0, 1.0]
    fitting.fit_camera(view, size)
    fitting.fit_layout(layout, size)
    return layout


def _diagram(source: Any, step: float) -> Any:
    """Return TTK's persistence diagram of the minima at a step."""
    image = simple.ForceTime(
        registrationName=f"Step {step:g}", Input=simple.OutputPort(source, 1), ForcedTime=step
    )
    image.UpdatePipeline()
    return simple.TTKPersistenceDiagram(
        registrationName=f"Diagram of Step {step:g}",
        Input=image,
        ScalarField=["POINTS", names.LOSS],
        Dimensions="Selected Dimensions (no infinite pairs)",
        Saddlemaximumdiagramdimensiond1=0,
        DebugLevel=0,
    )


def key_steps(ensemble: Any, *, removed: float = 0.5) -> list[float]:
    """Return the steps that TTK's temporal reduction of the trees keeps.

    Between two of them, the trees are close to the geodesic from one to the other (Pont et al.
    2022, arXiv 2107.07789).

    Args:
        ensemble: a TLP Tree Ensemble of the steps of a training.
        removed: fraction, 0 to 1, of the trees that are left out. Default: 0.5.

    Returns:
        The steps, ascending.

    Raises:
        RuntimeError: if TTK's plugin is not found.
        ValueError: if the trees have no steps.
    """
    require_ttk("TTKMergeTreeTemporalReduction", "reduce a series of merge trees")
    reduction = simple.TTKMergeTreeTemporalReduction(
        registrationName="Key Steps",
        Input=simple.OutputPort(ensemble, 0),
        RemovalPercentage=100 * removed,
        DebugLevel=0,
    )
    kept = servermanager.Fetch(reduction, idx=0)
    simple.Delete(reduction)
    samples = kept.GetBlock(2) if kept.GetNumberOfBlocks() > 2 else None
    count = samples.GetNumberOfBlocks() if samples is not None else 0
    steps = [step_of(samples.GetBlock(i)) for i in range(count)]
    if not steps or None in steps:
        raise ValueError("key steps need the trees of a training with several steps, got others")
    return steps


def _barycenter(clustering: Any, cluster: int) -> Any:
    """Return the barycentre of a cluster, as a graph."""
    ports = {
        name: simple.OutputPort(clustering, port)
        for port, name in enumerate(("Trees", "Barycenters", "Matchings"))
    }
    return simple.TLPTreeBarycenter(
        registrationName=f"Barycentre {cluster}", Cluster=cluster, **ports
    )


def _members(barycenter: Any) -> tuple[str, list[float]]:
    """Return what the trees of the cluster of a barycentre are, and their steps or numbers."""
    row = servermanager.Fetch(barycenter, idx=1).GetRowData()
    word, column = ("step", names.STEP) if row.HasArray(names.STEP) else ("tree", names.TREE_ID)
    found = vtk_to_numpy(row.GetArray(names.CLUSTER)) == barycenter.Cluster
    return word, vtk_to_numpy(row.GetArray(column))[found].tolist()


def _heading(word: str, members: list[float]) -> str:
    """Return the heading of the barycentre of some trees."""
    labels = [f"{label:g}" for label in members]
    listed = ", ".join(labels if len(labels) <= _LISTED else [*labels[:2], "…", labels[-1]])
    return f"barycentre of {word}{'s' if len(labels) > 1 else ''} {listed}"


def _number_of_trees(ensemble: Any) -> int:
    nodes = servermanager.Fetch(ensemble, idx=0).GetBlock(0)
    return nodes.GetNumberOfBlocks() if nodes is not None else 0


def require_ttk(name: str, purpose: str) -> None:
    """Load TTK's plugin.

    Args:
        name: name of a filter that is used.
        purpose: what it is used for.

    Raises:
        RuntimeError: if the plugin is not found, or has no such filter.
        FileNotFoundError: as :func:`~tlp_paraview.pipeline.find_ttk_plugin`.
    """
    pipeline.ttk_filter()
    if not hasattr(simple, name):
        raise RuntimeError(
            f"TTK's plugin with its filter {name} must be found to {purpose}; set "
            f"{pipeline.TTK_VARIABLE} to its file"
        )


def _show_map(ensemble: Any, view: Any) -> None:
    cells = simple.Show(simple.OutputPort(ensemble, _MAP), view)
    cells.SetRepresentationType("Surface")
    span = simple.OutputPort(ensemble, _MAP).CellData[names.TREE_DISTANCE].GetRange(0)
    colors = styles.color_by_loss(cells, ("CELLS", names.TREE_DISTANCE), span)
    styles.disable_lighting(cells)
    styles.show_color_bar(
        colors, _DISTANCE_TITLES[ensemble.DiagramDistance == "wasserstein"], view, span
    )
    labels = simple.Show(simple.OutputPort(ensemble, _LABELS), view)
    styles.set_color(labels, styles.BLACK)
    styles.show_text("distances between the persistence diagrams", view)
    _look_down(view)


def _show_embedding(ensemble: Any, view: Any) -> None:
    port = simple.OutputPort(ensemble, _EMBEDDING)
    order = port.PointData[names.STEP]
    array, title = (names.TREE_ID, "tree") if order is None else (names.STEP, "step")
    bounds = port.GetDataInformation().GetBounds()
    width = max(bounds[1] - bounds[0], bounds[3] - bounds[2]) or 1.0
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
    styles.show_text(f"embedding in the plane, which holds {held:.0%} of the variance", view)
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
