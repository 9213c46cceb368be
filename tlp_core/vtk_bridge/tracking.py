"""The tracking graph of the basins of a training, as polydata and as a table of events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from vtkmodules.vtkCommonDataModel import vtkMultiBlockDataSet, vtkPolyData, vtkTable

from tlp_core import array_names as names
from tlp_core.analysis.tracking import Tracking
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.vtk_bridge.arrays import (
    add_array,
    add_texts,
    make_cells,
    make_points,
    make_vertices,
)
from tlp_core.vtk_bridge.ensembles import blocks_of
from tlp_core.vtk_bridge.samples import step_of
from tlp_core.vtk_bridge.trees import skeleton_to_tree

MARGIN = 0.03
"""Distance of a frame from the drawn graph, as a fraction of its width."""

_ASPECT = 0.5
"""Height of the drawn graph divided by its width."""


def ensemble_trees(
    ensemble: vtkMultiBlockDataSet, name: str
) -> tuple[list[MergeTree], list[float]]:
    """Return the merge trees of an ensemble, and the step of each; its number if it has no step.

    Args:
        ensemble: three blocks, see :func:`~tlp_core.vtk_bridge.ensembles.members_to_blocks`.
        name: name of the point array of the losses.

    Raises:
        ValueError: if the blocks are not those of an ensemble, or a tree is not whole.
    """
    parts = blocks_of(ensemble)
    trees, steps = [], []
    for i in range(parts[0].GetNumberOfBlocks()):
        nodes, arcs, segmentation = (part.GetBlock(i) for part in parts)
        trees.append(skeleton_to_tree(nodes, arcs, segmentation, name))
        step = step_of(segmentation)
        steps.append(float(i) if step is None else step)
    return trees, steps


def tracking_to_graph(
    tracking: Tracking, steps: Sequence[float]
) -> tuple[vtkPolyData, vtkPolyData]:
    """Return the tracking graph: a point for each basin, and lines between related basins.

    x is the number of the step, from 0, and y the loss of the minimum times the height scale, which
    makes the graph half as high as wide.

    Args:
        tracking: the graph.
        steps: training step of each of its T places.

    Returns:
        Vertices with the point arrays of the basins; and lines with the point array ``TrackId`` and
        the cell array ``SharedSamples``. Both have the height scale as field data.
    """
    span = float(np.ptp(tracking.birth))
    scale = _ASPECT * max(len(steps) - 1, 1) / span if span > 0 else 1.0
    places = np.zeros((len(tracking.place), 3))
    places[:, 0], places[:, 1] = tracking.place, scale * tracking.birth
    basins, lines = make_vertices(places), vtkPolyData()
    lines.SetPoints(make_points(places - [0.0, 0.0, MARGIN]))  # behind the points
    for data in (basins, lines):
        add_array(data.GetFieldData(), names.HEIGHT_SCALE, np.array([scale]))
        add_array(data.GetPointData(), names.TRACK_ID, tracking.track)
    for name, values in (
        (names.STEP, np.asarray(steps, dtype=np.float64)[tracking.place]),
        (names.BASIN_ID, tracking.arc),
        (names.MINIMUM_ID, tracking.minimum),
        (names.LOSS, tracking.birth),
        (names.PERSISTENCE, tracking.persistence),
        (names.SIZE, tracking.size),
    ):
        add_array(basins.GetPointData(), name, values)
    ends = np.arange(len(tracking.edges) + 1) * 2
    lines.SetLines(make_cells(tracking.edges.ravel(), ends))
    add_array(lines.GetCellData(), names.SHARED_SAMPLES, tracking.shared)
    return basins, lines


def tracking_to_events(tracking: Tracking, steps: Sequence[float]) -> vtkTable:
    """Return the events of a tracking graph as a table.

    Args:
        tracking: the graph.
        steps: training step of each of its T places.

    Returns:
        A row for each event, by step: ``Step``, ``Event``, ``TrackId``, ``MinimumId``, and the
        minima that merge into it or into which it splits, as the text ``Others``.
    """
    events = tracking.events
    basins = np.array([event.basin for event in events], dtype=np.int64)
    places = np.array([event.place for event in events], dtype=np.int64)
    table = vtkTable()
    data = table.GetRowData()
    add_array(data, names.STEP, np.asarray(steps, dtype=np.float64)[places])
    add_texts(data, "Event", [event.kind for event in events])
    add_array(data, names.TRACK_ID, tracking.track[basins])
    add_array(data, names.MINIMUM_ID, tracking.minimum[basins])
    others = [" ".join(str(tracking.minimum[i]) for i in event.others) for event in events]
    add_texts(data, "Others", others)
    return table
