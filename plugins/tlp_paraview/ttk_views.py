"""Views that need TTK's plugin: distances and clusters of merge trees, key steps, tracks."""

from __future__ import annotations

import math
from typing import Any

from paraview import servermanager, simple
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkCompositeDataSet

from tlp_core import array_names as names
from tlp_core.vtk_bridge import step_of
from tlp_paraview import ensemble_views, fitting, multiples, pipeline, styles, versions, views
from tlp_paraview.pipeline import Pipeline, number_of_directions

_HEIGHT, _WEIGHT = 1.0, 1.0
"""Height of TTK's tracks divided by their width, and the weight of coordinates in its matching."""

_TRACK = "ConnectedComponentId"
"""TTK's point array of the number of a track."""

_SIDE = [-0.5, -0.85, 0.4]
"""Direction from which TTK's tracks are seen."""

_FEWEST = 4
"""Smallest number of trees that TTK's temporal reduction takes."""

_LISTED = 6
"""Largest number of trees that the heading of a cluster lists."""


def show_clusters(
    ensemble: Any,
    clusters: int = 2,
    *,
    threshold: float = 0.0,
    logarithmic: bool = False,
    size: tuple[int, int] = fitting.SIZE,
) -> Any:
    """Cluster the trees of an ensemble by TTK, and show the barycentres as profiles side by side.

    A barycentre is the mean of the merge trees of a cluster. The basin of each minimum has, at the
    saddle where it ends, as many samples as those of the trees on average; below, its width grows
    evenly with the height, see *TLP Tree Barycenter*.

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
        RuntimeError: if TTK's plugin is not found.
        ValueError: if there are fewer trees than clusters, a landscape is constant, a threshold is
            out of range, or a logarithmic axis has a level that is not positive.
    """
    _require_ttk("TTKMergeTreeClustering", "cluster merge trees")
    _check_fraction("threshold", threshold)
    count = len(_levels_of_trees(ensemble))
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
        barycenter.UpdatePipeline()
        lowest = barycenter.PointData[names.LOSS].GetRange(0)[0]
        if logarithmic and lowest <= 0:
            heading = _heading(*_members(barycenter))
            raise ValueError(
                f"a logarithmic axis needs levels above 0, and the {heading} has {lowest:.3g}"
            )
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


def show_distances(ensemble: Any, *, size: tuple[int, int] = fitting.SIZE) -> Any:
    """Show TTK's distances between the trees of an ensemble as a map beside its embedding.

    They are Wasserstein distances between merge trees (Pont et al. 2022, arXiv 2107.07789), with
    the defaults of TTK. Those of *TLP Tree Ensemble* compare persistence diagrams.

    Args:
        ensemble: a TLP Tree Ensemble of at least two trees.
        size: width and height of both views together, in pixels. Default: 1600 x 900.

    Returns:
        The layout.

    Raises:
        RuntimeError: if TTK's plugin is not found.
        ValueError: if there are fewer than two trees, or a landscape is constant.
    """
    _require_ttk("TTKMergeTreeDistanceMatrix", "compare merge trees")
    count = len(_levels_of_trees(ensemble))
    if count < 2:
        raise ValueError(f"an ensemble must have at least two trees to be compared, got {count}")
    blocks = simple.OutputPort(ensemble, 0)
    matrix = simple.TTKMergeTreeDistanceMatrix(
        registrationName="Distances of Trees", Input=blocks, DebugLevel=0
    )
    pictures = simple.TLPDistanceMap(
        registrationName="Distance Map", Distances=matrix, Ensemble=blocks
    )
    pictures.UpdatePipeline()
    heading = "distances between the merge trees, by TTK"
    return ensemble_views.show_distances(pictures, 0, "tree distance", heading, size=size)


def show_tracks(
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
        ValueError: for a single step, another number of directions, samples without an image, a
            threshold out of range, or a pipeline with TTK's merge tree filter: TTK then looks up
            grids that are gone, and ends the process.
    """
    _require_ttk("TTKTrackingFromPersistenceDiagrams", "track the minima of a training")
    _check_fraction("threshold", threshold)
    steps = pipeline.steps_of(built.source)
    has_image = built.source.GetDataInformation(1).GetNumberOfPoints() > 0
    if not steps or number_of_directions(built.source) != 2 or not has_image:
        raise ValueError(
            "the minima of a training on an even grid in two directions are tracked, got others"
        )
    if built.tree.SMProxy.GetXMLLabel() != pipeline.BUILT_IN:
        raise ValueError("the pipeline must be built with use_ttk=False, got TTK's merge tree")
    tracking = simple.TTKTrackingFromPersistenceDiagrams(
        registrationName="TTK Tracking",
        Input=_diagrams(built.source),
        Persistencethreshold=100 * threshold,
        Xweight=_WEIGHT,
        Yweight=_WEIGHT,
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
    tracks.Scale = [1.0, 1.0, _HEIGHT * width / max(bounds[5] - bounds[4], 1.0)]
    span = tracking.PointData[_TRACK].GetRange(0)
    colors = styles.color_by_loss(tracks, ("POINTS", _TRACK), span)
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


def key_steps(ensemble: Any, *, removed: float = 0.5) -> list[float]:
    """Return the steps that TTK's temporal reduction of the trees keeps.

    Between two of them, the trees are close to the geodesic from one to the other (Pont et al.
    2022, arXiv 2107.07789).

    Args:
        ensemble: a TLP Tree Ensemble of the steps of a training.
        removed: largest fraction of the trees that is left out, above 0 to 1; the first and the
            last step and one between them always stay. Default: 0.5.

    Returns:
        The steps, ascending; all of them if fewer than four, or if none is left out.

    Raises:
        RuntimeError: if TTK's plugin is not found.
        ValueError: if the trees have no steps, a landscape is constant, or the fraction is out of
            range.
    """
    _require_ttk("TTKMergeTreeTemporalReduction", "reduce a series of merge trees")
    if not 0 < removed <= 1:
        raise ValueError(f"removed must be a fraction, above 0 to 1, got {removed:g}")
    count = len(_levels_of_trees(ensemble))
    samples = servermanager.Fetch(ensemble, idx=0).GetBlock(2)
    steps = [step_of(samples.GetBlock(i)) for i in range(count)]
    if None in steps:
        raise ValueError("key steps are those of a training with several steps, got other trees")
    if count < _FEWEST or count * removed < 1:  # TTK ends the process
        return steps
    reduction = simple.TTKMergeTreeTemporalReduction(
        registrationName="Key Steps",
        Input=simple.OutputPort(ensemble, 0),
        RemovalPercentage=100 * removed,
        DebugLevel=0,
    )
    kept = servermanager.Fetch(reduction, idx=0).GetBlock(2)
    simple.Delete(reduction)
    return [step_of(kept.GetBlock(i)) for i in range(kept.GetNumberOfBlocks())]


def show_key_steps(
    built: Pipeline,
    *,
    removed: float = 0.5,
    threshold: float = 0.0,
    logarithmic: bool = False,
    size: tuple[int, int] | None = None,
) -> Any:
    """Show the profiles of the steps that TTK's temporal reduction keeps, in a new layout.

    All profiles have one loss axis and one range of colours.

    Args:
        built: the pipeline of a training.
        removed: as in :func:`key_steps`.
        threshold: smallest persistence of the basins that are shown, as a fraction, 0 to 1, of the
            range of the losses of each step. Default: 0, all basins.
        logarithmic: draw the decimal logarithm of the loss. Default: False.
        size: as in :func:`~tlp_paraview.multiples.show_multiples`.

    Returns:
        The layout.

    Raises:
        RuntimeError: if TTK's plugin is not found.
        ValueError: as :func:`key_steps`, or if the threshold is out of range.
    """
    _check_fraction("threshold", threshold)
    ensemble = ensemble_views.tree_ensemble([built])
    ensemble.DiagramDistance = "none"
    try:
        steps = key_steps(ensemble, removed=removed)
    finally:
        simple.Delete(ensemble)
    fixed = [
        simple.ForceTime(registrationName=f"Step {step:g}", Input=built.graph, ForcedTime=step)
        for step in steps
    ]
    pipelines = [pipeline.build_from_graph(each, threshold=threshold) for each in fixed]
    across = math.ceil(math.sqrt(len(steps)))
    cells: list[tuple[str, Pipeline | None] | None] = [
        (f"step {step:g}", each) for step, each in zip(steps, pipelines)
    ]
    cells += [None] * (-len(cells) % across)
    rows = [cells[start : start + across] for start in range(0, len(cells), across)]
    return multiples.show_grid("Key steps", rows, logarithmic=logarithmic, size=size)


def _require_ttk(name: str, purpose: str) -> None:
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


def _diagrams(source: Any) -> list[Any]:
    """Return TTK's persistence diagrams of the minima, one for each step.

    All steps are gathered first: VTK gives wrong steps to a filter whose inputs are several steps
    of one source.
    """
    images = simple.GroupTimeSteps(registrationName="All Steps", Input=simple.OutputPort(source, 1))
    diagrams = simple.TTKPersistenceDiagram(
        registrationName="Diagrams",
        Input=images,
        ScalarField=["POINTS", names.LOSS],
        Dimensions="Selected Dimensions (no infinite pairs)",
        Saddlemaximumdiagramdimensiond1=0,
        DebugLevel=0,
    )
    diagrams.UpdatePipeline()
    hierarchy = diagrams.GetDataInformation().GetHierarchy()
    found = []
    for node in hierarchy.GetChildNodes(0, False):
        path = hierarchy.GetNodePath(node)
        block = simple.ExtractBlock(Input=diagrams, Assembly="Hierarchy", Selectors=[path])
        name = f"Diagram {len(found)}"
        found.append(simple.MergeBlocks(registrationName=name, Input=block))
    return found


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


def _levels_of_trees(ensemble: Any) -> list[tuple[float, float]]:
    """Return the lowest and the highest level of each tree of an ensemble.

    Raises:
        ValueError: if those of a tree are equal; TTK ends the process then.
    """
    nodes = servermanager.Fetch(ensemble, idx=0).GetBlock(0)
    count = nodes.GetNumberOfBlocks() if nodes is not None else 0
    levels = [
        nodes.GetBlock(i).GetPointData().GetArray(names.SCALAR).GetRange() for i in range(count)
    ]
    constant = [i for i, (low, high) in enumerate(levels) if low == high]
    if constant:
        place = constant[0]
        label = nodes.GetMetaData(place).Get(vtkCompositeDataSet.NAME()) or place
        raise ValueError(
            f"the losses of a landscape must differ, and those of tree {label} are all "
            f"{levels[place][0]:.3g}; leave it out"
        )
    return levels


def _check_fraction(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a fraction, from 0 to 1, got {value:g}")
