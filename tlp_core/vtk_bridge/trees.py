"""Conversion of merge trees to and from the three outputs of TTK's merge tree filter."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkDataArray
from vtkmodules.vtkCommonDataModel import (
    VTK_LINE,
    VTK_VERTEX,
    vtkDataSet,
    vtkFieldData,
    vtkUnstructuredGrid,
)

from tlp_core import array_names as names
from tlp_core.analysis.noise import (
    MINIMUM_BATCHES,
    BasinNoise,
    basin_noise,
    significant_tree,
)
from tlp_core.landscape.store import BATCH_SIZES
from tlp_core.topology.merge_tree import MergeTree, checked_ranks, node_types, shown_levels
from tlp_core.topology.sweep import sweep_order
from tlp_core.vtk_bridge.arrays import add_array, make_cells, make_points
from tlp_core.vtk_bridge.graphs import dataset_graph, filled_levels, given_ranks
from tlp_core.vtk_bridge.samples import batch_losses, point_values, provenance

Integers = npt.NDArray[np.int64]


def tree_to_nodes(tree: MergeTree, dataset: vtkDataSet) -> vtkUnstructuredGrid:
    """Return the nodes of a merge tree as points (port 0 of TTK's filter).

    Args:
        tree: the merge tree, of M nodes.
        dataset: the samples.

    Returns:
        M points with the arrays of TTK's filter as point data, and a vertex cell each, which TTK's
        filter lacks, so that ParaView's Threshold and the like keep what they select.
    """
    count = len(tree.node_vertex)
    nodes = vtkUnstructuredGrid()
    nodes.SetPoints(make_points(_positions(dataset, tree.node_vertex)))
    nodes.SetCells(VTK_VERTEX, make_cells(np.arange(count), np.arange(count + 1)))
    data = nodes.GetPointData()
    regular = np.append(_region_sizes(tree), 0)
    regular[-1] = regular[tree.vertex_arc[tree.node_vertex[-1]]]
    add_array(data, names.NODE_ID, np.arange(count, dtype=np.int32))
    add_array(data, names.SCALAR, tree.node_level)
    add_array(data, names.VERTEX_ID, tree.node_vertex)
    add_array(data, names.CRITICAL_TYPE, tree.node_type.astype(np.int32))
    add_array(data, names.REGION_SIZE, regular)
    return nodes


def tree_to_arcs(tree: MergeTree, dataset: vtkDataSet) -> vtkUnstructuredGrid:
    """Return the arcs of a merge tree as lines (port 1 of TTK's filter).

    Args:
        tree: the merge tree, of A arcs.
        dataset: the samples.

    Returns:
        A lines from the lower to the upper node, with the arrays of TTK's filter as cell data.
    """
    lower = np.arange(tree.number_of_arcs, dtype=np.int32)
    upper = tree.parent[:-1]
    arcs = vtkUnstructuredGrid()
    arcs.SetPoints(make_points(_positions(dataset, tree.node_vertex)))
    add_array(arcs.GetPointData(), names.SCALAR, tree.node_level)
    ends = np.stack([lower, upper], axis=1).ravel()
    arcs.SetCells(VTK_LINE, make_cells(ends, np.arange(len(lower) + 1) * 2))
    data = arcs.GetCellData()
    add_array(data, names.SEGMENTATION_ID, lower)
    add_array(data, names.UP_NODE_ID, upper.astype(np.int32))
    add_array(data, names.DOWN_NODE_ID, lower)
    add_array(data, names.REGION_SIZE, _region_sizes(tree))
    return arcs


def tree_to_segmentation(tree: MergeTree, dataset: vtkDataSet) -> vtkDataSet:
    """Return the samples with the arc of each sample (port 2 of TTK's filter).

    Args:
        tree: the merge tree.
        dataset: the N samples.

    Returns:
        A shallow copy with the point data ``SegmentationId`` and ``RegionSize``.
    """
    segmentation = dataset.NewInstance()
    segmentation.ShallowCopy(dataset)
    data = segmentation.GetPointData()
    add_array(data, names.SEGMENTATION_ID, tree.vertex_arc.astype(np.int32))
    add_array(data, names.REGION_SIZE, _region_sizes(tree)[tree.vertex_arc])
    return segmentation


def tree_to_filled_segmentation(tree: MergeTree, dataset: vtkDataSet, name: str) -> vtkDataSet:
    """Return the samples with the arc of each sample in a simplified tree, and its level.

    Args:
        tree: the simplified merge tree.
        dataset: the N samples.
        name: name of the point array of the losses.

    Returns:
        As :func:`tree_to_segmentation`, with the point data ``NAME_Level``: the loss, or the level
        of the saddle to which the basin of the sample was filled.
    """
    segmentation = tree_to_segmentation(tree, dataset)
    add_array(segmentation.GetPointData(), names.level_name(name), tree.levels)
    return segmentation


def without_noise(tree: MergeTree, dataset: vtkDataSet, name: str, *, rate: float) -> MergeTree:
    """Return the tree without the basins that may be noise of the batches.

    Args:
        tree: the merge tree, simplified or not.
        dataset: the N samples with their graph.
        name: name of the point array of the losses.
        rate: largest expected share of noise among the basins that stay, between 0 and 1.

    Raises:
        ValueError: if the losses are not those of the batches, the samples have no losses of at
            least 8 batches, or the rate is out of range.
    """
    if name != names.LOSS:
        raise ValueError(f"noise of the batches must be that of {names.LOSS!r}, got {name!r}")
    return significant_tree(tree, _noise_of(tree, dataset), rate=rate)


def basin_q_values(
    tree: MergeTree, dataset: vtkDataSet, name: str
) -> npt.NDArray[np.float64] | None:
    """Return the q-value of the basin of each arc, (A,) float64, 0 to 1.

    Args:
        tree: the merge tree, simplified or not.
        dataset: the N samples with their graph.
        name: name of the point array of the losses.

    Returns:
        The q-values, see :class:`~tlp_core.analysis.noise.BasinNoise`; None if the samples have no
        losses of at least 8 batches, or another array is the loss of the tree.
    """
    array = dataset.GetPointData().GetArray(names.BATCH_LOSSES)
    if name != names.LOSS or array is None or array.GetNumberOfComponents() < MINIMUM_BATCHES:
        return None
    return _noise_of(tree, dataset).of_basins(tree)


def _noise_of(tree: MergeTree, dataset: vtkDataSet) -> BasinNoise:
    sizes = provenance(dataset).get(BATCH_SIZES)
    return basin_noise(tree, dataset_graph(dataset), batch_losses(dataset), batch_sizes=sizes)


def skeleton_to_tree(
    nodes: vtkDataSet, arcs: vtkDataSet, segmentation: vtkDataSet, name: str
) -> MergeTree:
    """Return the merge tree that the outputs of TTK's filter or of the built-in filter describe.

    The nodes are renumbered in the order of the sweep. TTK stores node scalars as float32, so the
    losses are read from the segmentation. If the root is a saddle, TTK writes an arc from this node
    to itself; this arc is dropped. A simplified tree has the levels of its samples in the
    segmentation, see :func:`tree_to_filled_segmentation`.

    Args:
        nodes: output of port 0.
        arcs: output of port 1.
        segmentation: output of port 2.
        name: name of the point array of the losses in the segmentation.

    Returns:
        The merge tree.

    Raises:
        ValueError: if an array is missing, or the outputs belong to different trees.
    """
    values = point_values(segmentation, name)
    vertex = _integers(nodes.GetPointData(), names.VERTEX_ID, "nodes")
    node_id = _integers(nodes.GetPointData(), names.NODE_ID, "nodes")
    up = _integers(arcs.GetCellData(), names.UP_NODE_ID, "arcs")
    down = _integers(arcs.GetCellData(), names.DOWN_NODE_ID, "arcs")
    arc_id = _integers(arcs.GetCellData(), names.SEGMENTATION_ID, "arcs")
    segment = _integers(segmentation.GetPointData(), names.SEGMENTATION_ID, "segmentation")

    _require_same_tree(vertex.min() >= 0 and vertex.max() < len(values), "a node is not a sample")
    rank = _sweep_ranks(values, given_ranks(segmentation, name))
    order = np.argsort(rank[vertex])
    number = _inverse(node_id[order])
    proper = up != down
    lower, upper = (_look_up(number, ends[proper], "node") for ends in (down, up))
    count = len(vertex)
    _require_same_tree(len(lower) == count - 1, f"{len(lower)} arcs for {count} nodes")
    _require_same_tree(
        bool((np.sort(lower) == np.arange(count - 1)).all()), "a node has no arc above it"
    )
    _require_same_tree(bool((lower < upper).all()), "an arc runs downward")

    parent = np.full(count, -1, dtype=np.int64)
    parent[lower] = upper
    arc = _look_up(_inverse(arc_id), segment, "arc")
    vertex_arc = _look_up(number, down[arc], "node")
    vertex_arc[vertex_arc == count - 1] = np.flatnonzero(parent == count - 1)[-1]
    _require_same_tree(
        bool((vertex_arc[vertex[order[:-1]]] == np.arange(count - 1)).all()),
        "a node is on the arc of another node",
    )
    levels = _levels(segmentation, name, values, vertex)
    volumes = segmentation.GetPointData().GetArray(names.SAMPLE_VOLUME)
    tree = MergeTree(
        values=values,
        levels=levels,
        node_vertex=vertex[order],
        parent=parent,
        node_type=node_types(np.bincount(parent[:-1], minlength=count)),
        vertex_arc=vertex_arc,
        volumes=None if volumes is None else np.array(vtk_to_numpy(volumes), dtype=np.float64),
    )
    is_filled = filled_levels(segmentation, name) is not None
    # non-finite samples are swept in an order of their own, which the neighbour graph decides
    is_exact = not is_filled and bool(np.isfinite(values).all())
    _require_samples_on_their_arcs(tree, rank if is_exact else levels)
    return tree


def _levels(
    segmentation: vtkDataSet, name: str, values: npt.NDArray[np.float64], nodes: Integers
) -> npt.NDArray[np.float64]:
    """Return the level of each sample (N,): that of its loss, or to which it was filled."""
    own, filled = shown_levels(values), filled_levels(segmentation, name)
    if filled is None:
        return own
    is_same = bool((filled >= own).all() and (filled[nodes] == own[nodes]).all())
    _require_same_tree(is_same, f"the levels {names.level_name(name)} are those of another tree")
    return filled


def _require_samples_on_their_arcs(tree: MergeTree, height: npt.NDArray[Any]) -> None:
    """Check that the height of each sample is that of its arc's lower node, or above it."""
    low = height[tree.node_vertex[tree.vertex_arc]]
    high = height[tree.node_vertex[tree.parent[tree.vertex_arc]]]
    is_inside = (low <= height) & (height <= high)
    _require_same_tree(bool(is_inside.all()), "a sample is outside its arc")


def _positions(dataset: vtkDataSet, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    if dataset.IsA("vtkPointSet"):
        return np.asarray(vtk_to_numpy(dataset.GetPoints().GetData())[ids], dtype=np.float64)
    return np.array([dataset.GetPoint(int(i)) for i in ids]).reshape(-1, 3)


def _region_sizes(tree: MergeTree) -> npt.NDArray[np.int64]:
    """Return the number of samples on each arc (A,), without nodes, as TTK counts."""
    counts = np.bincount(tree.vertex_arc, minlength=tree.number_of_arcs)
    at_nodes = np.bincount(tree.vertex_arc[tree.node_vertex], minlength=tree.number_of_arcs)
    return np.asarray(counts - at_nodes, dtype=np.int64)


def _integers(data: vtkFieldData, name: str, port: str) -> npt.NDArray[np.int64]:
    array: vtkDataArray | None = data.GetArray(name)
    if array is None or not array.GetNumberOfTuples():
        raise ValueError(
            f"the {port} of a merge tree must have an array {name!r}, got none; "
            "connect ports 0, 1 and 2 of one merge tree filter"
        )
    return np.asarray(vtk_to_numpy(array), dtype=np.int64)


def _sweep_ranks(
    values: npt.NDArray[np.float64], given: npt.NDArray[np.int64] | None
) -> npt.NDArray[np.int64]:
    """Return the rank of each sample in the order of the sweep (N,)."""
    heights = values if given is None else checked_ranks(values, given)
    rank = np.empty(len(values), dtype=np.int64)
    rank[sweep_order(heights)] = np.arange(len(values))
    return rank


def _inverse(ids: npt.NDArray[np.int64]) -> dict[int, int]:
    return {int(value): place for place, value in enumerate(ids)}


def _look_up(
    places: dict[int, int], ids: npt.NDArray[np.int64], what: str
) -> npt.NDArray[np.int64]:
    unique, inverse = np.unique(ids, return_inverse=True)
    unknown = [int(value) for value in unique if int(value) not in places]
    _require_same_tree(not unknown, f"{what} {unknown[:1]} is unknown")
    return np.array([places[int(value)] for value in unique], dtype=np.int64)[inverse]


def _require_same_tree(condition: bool, difference: str) -> None:
    if not condition:
        raise ValueError(
            f"nodes, arcs and segmentation must come from one merge tree: {difference}; "
            "connect ports 0, 1 and 2 of one merge tree filter"
        )
