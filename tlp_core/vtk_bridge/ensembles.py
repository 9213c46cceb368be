"""Several merge trees as one dataset, as TTK's ensemble filters take them, and their distances."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import (
    vtkCompositeDataSet,
    vtkDataSet,
    vtkMultiBlockDataSet,
    vtkPolyData,
    vtkTable,
)

from tlp_core import array_names as names
from tlp_core.analysis.distances import embed_distances
from tlp_core.vtk_bridge.arrays import add_array, make_cells, make_points
from tlp_core.vtk_bridge.heat_map import MAX_LABELS, cell_grid, grid_labels
from tlp_core.vtk_bridge.samples import step_of

_BLOCKS = ("Nodes", "Arcs", "Segmentations")

_TREE = re.compile(r"Tree(\d+)")
"""Names of the columns of a table of distances."""

_LETTER = 0.55
"""Width of a letter of a label with its gap, for labels of the height 1."""


@dataclass(frozen=True)
class Member:
    """One tree of an ensemble.

    Attributes:
        label: short name, such as the step of a training.
        step: training step; None if the tree is not one of a training.
        nodes: output of port 0 of the merge tree filter.
        arcs: output of port 1.
        segmentation: output of port 2.
    """

    label: str
    step: float | None
    nodes: vtkDataSet
    arcs: vtkDataSet
    segmentation: vtkDataSet

    @classmethod
    def copied(cls, label: str, step: float | None, outputs: Sequence[vtkDataSet]) -> Member:
        """Return a member with shallow copies of outputs, which the next step will replace.

        Empty arrays of the field data, such as the eigenvalues of random directions, are left out:
        TTK's distance filter reads the first value of each, and crashes.
        """
        copies = [data.NewInstance() for data in outputs]
        for copy, data in zip(copies, outputs):
            copy.ShallowCopy(data)
            fields = copy.GetFieldData()
            for name in [fields.GetArrayName(i) for i in range(fields.GetNumberOfArrays())]:
                if not fields.GetAbstractArray(name).GetNumberOfTuples():
                    fields.RemoveArray(name)
        return cls(label, step, *copies)


def members_to_blocks(members: Sequence[Member]) -> vtkMultiBlockDataSet:
    """Return the input of TTK's ensemble filters.

    Args:
        members: T trees.

    Returns:
        Three blocks, of all nodes, all arcs and all segmentations. Each has T blocks, tree i at
        place i, with its label as the name.
    """
    ensemble = vtkMultiBlockDataSet()
    for place, (name, attribute) in enumerate(zip(_BLOCKS, ("nodes", "arcs", "segmentation"))):
        block = vtkMultiBlockDataSet()
        for i, member in enumerate(members):
            block.SetBlock(i, getattr(member, attribute))
            block.GetMetaData(i).Set(vtkCompositeDataSet.NAME(), member.label)
        ensemble.SetBlock(place, block)
        ensemble.GetMetaData(place).Set(vtkCompositeDataSet.NAME(), name)
    return ensemble


def blocks_of(ensemble: vtkMultiBlockDataSet) -> list[vtkMultiBlockDataSet]:
    """Return the blocks of all nodes, of all arcs and of all segmentations of an ensemble.

    Args:
        ensemble: as :func:`members_to_blocks` returns it.

    Raises:
        ValueError: if it has other blocks, or no tree.
    """
    parts = [ensemble.GetBlock(k) for k in range(ensemble.GetNumberOfBlocks())]
    counts = [part.GetNumberOfBlocks() if hasattr(part, "GetBlock") else -1 for part in parts]
    if len(counts) != len(_BLOCKS) or len(set(counts)) != 1 or counts[0] < 1:
        raise ValueError(
            "the input must be an ensemble of merge trees, of three blocks with a block for each "
            "tree; connect port Ensemble of TLP Tree Ensemble"
        )
    return parts


def distances_to_table(
    distances: npt.NDArray[np.float64], steps: Sequence[float] | None = None
) -> vtkTable:
    """Return a matrix of distances as a table, with the columns of TTK's distance filter.

    Args:
        distances: (T, T) float64.
        steps: training step of each tree. Default: None, no column ``Step``.

    Returns:
        T rows with the columns ``Tree0``, ``Tree1``, …, ``treeID`` and ``Step``.
    """
    table = vtkTable()
    data = table.GetRowData()
    for i, column in enumerate(distances.T):
        add_array(data, f"Tree{i}", np.ascontiguousarray(column))
    add_array(data, names.TREE_ID, np.arange(len(distances), dtype=np.int64))
    if steps is not None:
        add_array(data, names.STEP, np.asarray(steps, dtype=np.float64))
    return table


def table_to_distances(table: vtkTable) -> npt.NDArray[np.float64]:
    """Return the matrix of distances in a table, (T, T) float64.

    Args:
        table: T rows with the columns ``Tree0``, ``Tree1``, …, as :func:`distances_to_table` or
            TTK's distance filter returns them.

    Raises:
        ValueError: if there are not as many such columns as rows.
    """
    data, found = table.GetRowData(), {}
    for i in range(data.GetNumberOfArrays()):
        if number := _TREE.fullmatch(data.GetArrayName(i) or ""):
            found[int(number[1])] = vtk_to_numpy(data.GetArray(i)).astype(np.float64)
    if len(found) != table.GetNumberOfRows():
        raise ValueError(
            "a table of distances must have a column Tree0, Tree1, … for each row, got "
            f"{len(found)} of them and {table.GetNumberOfRows()} rows"
        )
    return np.stack([found[number] for number in sorted(found)], axis=1)


def labels_and_steps(
    ensemble: vtkMultiBlockDataSet,
) -> tuple[list[str], list[float] | None]:
    """Return the labels of the trees of an ensemble, and their steps if they have some.

    Args:
        ensemble: as :func:`members_to_blocks` returns it.

    Raises:
        ValueError: as :func:`blocks_of`.
    """
    nodes, _, samples = blocks_of(ensemble)
    count = samples.GetNumberOfBlocks()
    labels = [nodes.GetMetaData(i).Get(vtkCompositeDataSet.NAME()) or str(i) for i in range(count)]
    found = [step_of(samples.GetBlock(i)) for i in range(count)]
    steps = [step for step in found if step is not None]
    return labels, steps if len(steps) == count else None


def distances_to_pictures(
    distances: npt.NDArray[np.float64], labels: Sequence[str], steps: Sequence[float] | None
) -> tuple[vtkPolyData, vtkPolyData, vtkPolyData]:
    """Return a matrix of distances as a heat map, the labels beside it, and the embedding.

    Args:
        distances: (T, T) float64.
        labels: label of each tree.
        steps: training step of each tree; None if they have none.
    """
    points, held = embed_distances(distances)
    return (
        distances_to_map(distances),
        map_labels(labels),
        embedding_to_points(points, held, steps),
    )


def distances_to_map(distances: npt.NDArray[np.float64]) -> vtkPolyData:
    """Return a matrix of distances as a heat map.

    Args:
        distances: (T, T) float64.

    Returns:
        T x T squares of size 1, the first row at the top, with the cell arrays ``TreeDistance``,
        ``Row`` and ``Column``.
    """
    cells, row, column = cell_grid(*distances.shape, width=1.0)
    data = cells.GetCellData()
    add_array(data, names.TREE_DISTANCE, np.ascontiguousarray(distances.ravel()))
    add_array(data, names.ROW, row.astype(np.int64))
    add_array(data, names.COLUMN, column.astype(np.int64))
    return cells


def map_labels(labels: Sequence[str]) -> vtkPolyData:
    """Return the labels of the trees beside a map of distances, as polygons; some, if many."""
    longest = max(len(label) for label in labels)
    height = max(0.55, len(labels) / (1.5 * MAX_LABELS))
    every = math.ceil(max(len(labels) / MAX_LABELS, _LETTER * longest * height))
    shown = [label if i % every == 0 else "" for i, label in enumerate(labels)]
    return grid_labels(shown, shown, width=1.0, height=height)


def embedding_to_points(
    points: npt.NDArray[np.float64], held: float, steps: Sequence[float] | None = None
) -> vtkPolyData:
    """Return the embedding of an ensemble.

    Args:
        points: (T, 2) float64, see :func:`~tlp_core.analysis.distances.embed_distances`.
        held: fraction of the distances that the points hold, from the same function.
        steps: training step of each tree. Default: None, the trees have no order.

    Returns:
        T vertices with the point arrays ``treeID`` and ``Step``; with steps, a polyline joins them
        in their order. The field data ``EmbeddedFraction`` is the fraction that they hold.
    """
    padded = np.zeros((len(points), 3))
    padded[:, :2] = points
    ids = np.arange(len(points))
    embedding = vtkPolyData()
    embedding.SetPoints(make_points(padded))
    embedding.SetVerts(make_cells(ids, np.arange(len(points) + 1)))
    add_array(embedding.GetPointData(), names.TREE_ID, ids.astype(np.int64))
    add_array(embedding.GetFieldData(), names.EMBEDDED_FRACTION, np.array([held]))
    if steps is not None:
        embedding.SetLines(make_cells(ids, np.array([0, len(points)])))
        add_array(embedding.GetPointData(), names.STEP, np.asarray(steps, dtype=np.float64))
    return embedding
