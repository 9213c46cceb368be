"""Profiles as polygons, lines and points, and the numbers that summarise a tree as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from vtkmodules.vtkCommonDataModel import (
    vtkDataSet,
    vtkPolyData,
    vtkTable,
)

from tlp_core import array_names as names
from tlp_core import checks
from tlp_core.analysis.descriptors import Descriptors
from tlp_core.array_names import REGULAR
from tlp_core.profile import Profile
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.vtk_bridge.arrays import add_array, add_text, make_cells, make_points

_LIFT = 1e-2
"""Outline and points lie this share of the width above the basins, so that they are seen."""

_ASPECT = 0.7
"""Height of a profile over its width where the height scale is automatic."""


@dataclass(frozen=True)
class Drawing:
    """How high a loss lies in the drawing of a profile.

    Attributes:
        scale: factor on the loss, or on its decimal logarithm.
        logarithmic: whether the loss axis is.
        loss_range: lowest and highest loss of the axis.
    """

    scale: float
    logarithmic: bool
    loss_range: tuple[float, float]

    def height(self, loss: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return y of losses."""
        values = np.asarray(loss, dtype=np.float64)
        return np.asarray(self.scale * (np.log10(values) if self.logarithmic else values))


def drawing(
    profile: Profile,
    *,
    scale: float = 0.0,
    logarithmic: bool = False,
    loss_range: tuple[float, float] = (0.0, 0.0),
) -> Drawing:
    """Return how a profile is drawn.

    Args:
        profile: what to draw.
        scale: factor on the height; 0 makes the range of the loss axis 0.7 as high as the profile
            is wide.
        logarithmic: draw the decimal logarithm of the loss.
        loss_range: of the loss axis, such as one that several profiles share; two equal numbers
            take the profile's own.

    Raises:
        ValueError: if the range runs downward, or a logarithmic axis would need the logarithm of a
            loss that is not positive.
    """
    heights = profile.outline[:, 1]
    own = (float(heights.min()), float(heights.max()))
    for end in loss_range:
        checks.real(end, name="each end of the loss range")
    low, high = loss_range if loss_range[0] != loss_range[1] else own
    if low > high:
        raise ValueError(f"the loss range must run upward, got {low:g} to {high:g}")
    if logarithmic and min(low, own[0]) <= 0:
        raise ValueError(
            f"a logarithmic loss axis needs losses above 0, got {min(low, own[0]):g}; "
            "use a linear axis"
        )
    ends = np.log10([low, high]) if logarithmic else np.array([low, high])
    span = float(ends[1] - ends[0])
    automatic = _ASPECT * profile.total_width / span if span > 0 else 1.0
    return Drawing(scale or automatic, logarithmic, (low, high))


def profile_to_basins(profile: Profile, drawing: Drawing) -> vtkPolyData:
    """Return one triangle strip per basin, x in units of the width, y as ``drawing`` says."""
    basins = profile.basins
    center = np.repeat(basins.center, np.diff(basins.rung_start))
    points = np.zeros((len(center), 2, 3))
    points[:, 0, 0] = center - basins.rung_width / 2
    points[:, 1, 0] = center + basins.rung_width / 2
    points[:, :, 1] = drawing.height(basins.rung_height)[:, None]
    polydata = vtkPolyData()
    polydata.SetPoints(make_points(points.reshape(-1, 3)))
    polydata.SetStrips(make_cells(np.arange(2 * len(center)), 2 * basins.rung_start))
    add_array(polydata.GetPointData(), names.LOSS, np.repeat(basins.rung_height, 2))
    data = polydata.GetCellData()
    add_array(data, names.BASIN_ID, np.arange(len(basins), dtype=np.int64))
    add_array(data, names.PARENT_ID, basins.parent)
    add_array(data, names.MINIMUM_ID, basins.minimum)
    add_array(data, names.SADDLE_ID, basins.saddle)
    add_array(data, names.BIRTH, basins.birth)
    add_array(data, names.DEATH, basins.death)
    add_array(data, names.PERSISTENCE, basins.persistence)
    add_array(data, names.SIZE, basins.size)
    add_array(data, names.AVERAGE_LOSS, basins.average_loss)
    add_array(data, names.NESTING_DEPTH, basins.nesting_depth)
    data.SetActiveScalars(names.AVERAGE_LOSS)
    fields = polydata.GetFieldData()
    add_array(fields, names.HEIGHT_SCALE, np.array([drawing.scale]))
    add_array(fields, names.LOSS_RANGE, np.array(drawing.loss_range))
    add_array(fields, names.TOTAL_WIDTH, np.array([profile.total_width]))
    return polydata


def profile_to_critical_points(
    profile: Profile, drawing: Drawing, coordinates: npt.NDArray[np.float64]
) -> vtkPolyData:
    """Return minima and saddles as vertices; ``coordinates`` (N, n) tells where they lie."""
    found = profile.critical_points
    lift = np.full(len(found.x), 2 * _LIFT * profile.total_width)
    points = np.stack([found.x, drawing.height(found.height), lift], axis=1)
    polydata = vtkPolyData()
    polydata.SetPoints(make_points(points))
    polydata.SetVerts(make_cells(np.arange(len(points)), np.arange(len(points) + 1)))
    data = polydata.GetPointData()
    add_array(data, names.SAMPLE_ID, found.sample)
    add_array(data, names.CRITICAL_TYPE, found.type.astype(np.int32))
    add_array(data, names.LOSS, found.height)
    add_array(data, names.PERSISTENCE, found.persistence)
    add_array(data, names.BASIN_ID, found.basin)
    add_array(data, names.COORDINATES, coordinates[found.sample])
    data.SetActiveScalars(names.CRITICAL_TYPE)
    return polydata


def profile_to_samples(tree: MergeTree, segmentation: vtkDataSet) -> vtkDataSet:
    """Return the segmentation with each sample's basin, and its type or -1 for regular samples."""
    samples = segmentation.NewInstance()
    samples.ShallowCopy(segmentation)
    kinds = np.full(len(tree.values), REGULAR, dtype=np.int8)
    kinds[tree.node_vertex] = tree.node_type
    add_array(samples.GetPointData(), names.BASIN_ID, tree.vertex_arc)
    add_array(samples.GetPointData(), names.CRITICAL_TYPE, kinds)
    return samples


def profile_to_outline(profile: Profile, drawing: Drawing) -> vtkPolyData:
    """Return the outline as one polyline."""
    x, height = profile.outline.T
    lift = np.full(len(x), _LIFT * profile.total_width)
    points = np.stack([x, drawing.height(height), lift], axis=1)
    polydata = vtkPolyData()
    polydata.SetPoints(make_points(points))
    polydata.SetLines(make_cells(np.arange(len(x)), np.array([0, len(x)])))
    add_array(polydata.GetPointData(), names.LOSS, height)
    return polydata


def profile_to_tree(profile: Profile, drawing: Drawing) -> vtkPolyData:
    """Return the merge tree drawn over its profile: a line up each basin, then to its parent's."""
    basins = profile.basins
    above = np.where(basins.parent < 0, profile.total_width / 2, basins.center[basins.parent])
    x = np.stack([basins.center, basins.center, above], axis=1)
    loss = np.stack([basins.floor, basins.death, basins.death], axis=1)
    lift = np.full(x.shape, 3 * _LIFT * profile.total_width)
    polydata = vtkPolyData()
    polydata.SetPoints(
        make_points(np.stack([x, drawing.height(loss), lift], axis=-1).reshape(-1, 3))
    )
    polydata.SetLines(make_cells(np.arange(x.size), np.arange(len(basins) + 1) * 3))
    add_array(polydata.GetPointData(), names.LOSS, loss.ravel())
    add_array(polydata.GetCellData(), names.BASIN_ID, np.arange(len(basins), dtype=np.int64))
    add_array(polydata.GetCellData(), names.PERSISTENCE, basins.persistence)
    return polydata


def tree_to_diagram(tree: MergeTree) -> vtkTable:
    """Return the persistence diagram: a row for each branch, most persistent first."""
    found = tree.branches()
    table = vtkTable()
    data = table.GetRowData()
    add_array(data, names.BIRTH, found.birth)
    add_array(data, names.DEATH, found.death)
    add_array(data, names.PERSISTENCE, found.persistence)
    add_array(data, names.SIZE, found.size)
    add_array(data, names.MINIMUM_ID, found.minimum)
    add_array(data, names.SADDLE_ID, found.saddle)
    add_array(data, names.BASIN_ID, tree.vertex_arc[found.minimum])
    return table


def descriptors_to_table(descriptors: Descriptors, extra: Mapping[str, str | float]) -> vtkTable:
    """Return one row: ``extra`` columns first, then every descriptor, then why some are NaN."""
    table = vtkTable()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in descriptors.undefined.items())
    for name, value in {**extra, **descriptors.as_dict(), "undefined": reasons}.items():
        if isinstance(value, str):
            add_text(table.GetRowData(), name, value)
        else:
            add_array(table.GetRowData(), name, np.array([value]))
    return table
