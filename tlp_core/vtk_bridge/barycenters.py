"""The outputs of TTK's clustering of merge trees, and barycentres as graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import (
    vtkDataSet,
    vtkFieldData,
    vtkMultiBlockDataSet,
    vtkPolyData,
    vtkTable,
    vtkUnstructuredGrid,
)

from tlp_core import array_names as names
from tlp_core.analysis.barycenters import Skeleton, barycenter_graph, mean_sizes
from tlp_core.topology.graphs import EdgeGraph
from tlp_core.vtk_bridge.arrays import add_array, make_points
from tlp_core.vtk_bridge.graphs import with_graph
from tlp_core.vtk_bridge.samples import step_of

_RULE = "barycenter"


@dataclass(frozen=True)
class Clusters:
    """What TTK's MergeTreeClustering returns.

    Attributes:
        trees: port 0, the trees.
        barycenters: port 1, the barycentre of each cluster.
        matchings: port 2, the matching of each tree with the barycentre of its cluster.
    """

    trees: vtkMultiBlockDataSet
    barycenters: vtkMultiBlockDataSet
    matchings: vtkMultiBlockDataSet

    def cluster_of_trees(self) -> list[int]:
        """Return the number of the cluster of each tree."""
        nodes = _blocks(self.trees, 0)
        return [int(_array(tree.GetFieldData(), names.CLUSTER)[0]) for tree in nodes]


def clusters_to_table(clusters: Clusters) -> vtkTable:
    """Return the cluster of each tree as a table.

    Args:
        clusters: a clustering.

    Returns:
        T rows with the columns ``treeID``, ``ClusterAssignment``, ``Distance``, that to the
        barycentre, and, of a training, ``Step``.
    """
    table = vtkTable()
    data = table.GetRowData()
    found = clusters.cluster_of_trees()
    add_array(data, names.TREE_ID, np.arange(len(found), dtype=np.int64))
    add_array(data, names.CLUSTER, np.array(found, dtype=np.int64))
    matchings = _children(clusters.matchings)
    distances = [_array(each.GetFieldData(), names.DISTANCE)[0] for each in matchings]
    add_array(data, names.DISTANCE, np.array(distances, dtype=np.float64))
    steps = [step_of(tree) for tree in _blocks(clusters.trees, 0)]
    if None not in steps:
        add_array(data, names.STEP, np.array(steps, dtype=np.float64))
    return table


def barycenter_to_graph(clusters: Clusters, cluster: int) -> vtkUnstructuredGrid:
    """Return the barycentre of a cluster as a graph, whose merge tree it is.

    Args:
        clusters: a clustering.
        cluster: number of the cluster, from 0.

    Returns:
        Samples with the point array ``Loss`` and lines between neighbours, see
        :func:`~tlp_core.analysis.barycenters.barycenter_graph`. They lie on a curve, because a
        barycentre has no place among the directions.

    Raises:
        ValueError: if there is no such cluster, or the ports are not those of a clustering.
    """
    nodes, arcs = (_blocks(clusters.barycenters, place) for place in (0, 1))
    if not 0 <= cluster < len(nodes):
        raise ValueError(
            f"Cluster must be from 0 to {len(nodes) - 1}, the number of clusters is {len(nodes)}, "
            f"got {cluster}"
        )
    members, matchings = [], []
    trees = zip(*(_blocks(clusters.trees, place) for place in (0, 1)))
    for number, tree, matching in zip(
        clusters.cluster_of_trees(), trees, _children(clusters.matchings)
    ):
        if number == cluster:
            members.append(_skeleton(*tree, has_samples=True))
            pairs = [_array(matching.GetCellData(), f"tree{k}NodeId").astype(int) for k in (1, 2)]
            matchings.append(dict(zip(*(each.tolist() for each in pairs))))
    levels, edges = barycenter_graph(
        _skeleton(nodes[cluster], arcs[cluster], has_samples=False),
        mean_sizes(members, matchings),
    )
    places = np.zeros((len(levels), 3))
    places[:, 0], places[:, 1] = np.arange(len(levels)), levels
    samples = vtkPolyData()
    samples.SetPoints(make_points(places))
    add_array(samples.GetPointData(), names.LOSS, levels)
    return with_graph(samples, EdgeGraph(len(levels), edges), _RULE)


def _skeleton(nodes: vtkDataSet, arcs: vtkDataSet, *, has_samples: bool) -> Skeleton:
    points, cells = nodes.GetPointData(), arcs.GetCellData()
    ids = _array(points, names.NODE_ID).astype(np.int64)
    if not np.array_equal(ids, np.arange(len(ids))):
        raise ValueError(
            "the nodes of a tree must be numbered from 0, and are not; turn Planar Layout of TTK "
            "MergeTreeClustering off"
        )
    parent = np.full(len(ids), -1, dtype=np.int64)
    lower, upper = (
        _array(cells, name).astype(np.int64) for name in (names.DOWN_NODE_ID, names.UP_NODE_ID)
    )
    parent[lower] = upper
    return Skeleton(
        _array(points, names.SCALAR).astype(np.float64),
        parent,
        _array(points, names.REGION_SIZE).astype(np.int64) if has_samples else None,
    )


def _array(data: vtkFieldData, name: str) -> npt.NDArray[Any]:
    """Return an array of field, point or cell data.

    Raises:
        ValueError: if there is no such array.
    """
    found = data.GetArray(name)
    if found is None:
        raise ValueError(
            f"the inputs must be ports 0, 1 and 2 of TTK MergeTreeClustering, with Compute "
            f"Barycenter on, and one has no array {name}"
        )
    values: npt.NDArray[Any] = vtk_to_numpy(found)
    return values


def _children(blocks: vtkMultiBlockDataSet) -> list[vtkDataSet]:
    return [blocks.GetBlock(i) for i in range(blocks.GetNumberOfBlocks())]


def _blocks(outputs: vtkMultiBlockDataSet, place: int) -> list[vtkDataSet]:
    """Return the blocks of a block of blocks.

    Raises:
        ValueError: if there is no such block.
    """
    inner = outputs.GetBlock(place) if outputs.GetNumberOfBlocks() > place else None
    if inner is None or not inner.IsA("vtkMultiBlockDataSet"):
        raise ValueError(
            "the inputs must be ports 0, 1 and 2 of TTK MergeTreeClustering, with Output Trees and "
            "Compute Barycenter on, and one has other blocks"
        )
    return _children(inner)
