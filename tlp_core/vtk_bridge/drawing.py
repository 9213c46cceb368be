"""Profiles as VTK polygons, lines and points; persistence diagrams and descriptors as tables."""

from __future__ import annotations

import warnings
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
from tlp_core.analysis.noise import check_rate
from tlp_core.array_names import REGULAR
from tlp_core.profile import Basins, Profile
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.vtk_bridge.arrays import (
    add_array,
    add_text,
    make_cells,
    make_points,
    make_vertices,
)
from tlp_core.vtk_bridge.samples import network_sample

_LIFT = 1e-2
"""z distance, as a fraction of the width, between basins, outline, critical points and tree.

Without it, the basins would hide what is drawn in the same plane.
"""

_ASPECT = 0.7
"""Height of a profile divided by its width, if the height scale is automatic."""

_LEAST_SPAN = 1e-5
"""Smallest range of the loss axis, divided by its largest absolute value, that can be drawn in
single precision, whose relative error is 6e-8."""


@dataclass(frozen=True)
class Drawing:
    """The vertical axis of a drawn profile: it maps losses to heights y.

    Attributes:
        scale: factor by which the loss, or its decimal logarithm, is multiplied.
        logarithmic: True if the loss axis is logarithmic.
        loss_range: lowest and highest loss of the axis.
    """

    scale: float
    logarithmic: bool
    loss_range: tuple[float, float]

    def height(self, loss: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the y coordinates of losses, float64 of the same shape."""
        values = np.asarray(loss, dtype=np.float64)
        return np.asarray(self.scale * (np.log10(values) if self.logarithmic else values))


def drawing(
    profile: Profile,
    *,
    scale: float | None = None,
    logarithmic: bool = False,
    loss_range: tuple[float, float] | None = None,
) -> Drawing:
    """Return the vertical axis for the drawing of a profile.

    Args:
        profile: the profile.
        scale: factor by which the loss, or its decimal logarithm, is multiplied, above 0. Default:
            the range of the loss axis becomes 0.7 times as high as the profile is wide.
        logarithmic: draw the decimal logarithm of the loss. Default: False.
        loss_range: lowest and highest loss of the axis, for example a range that several profiles
            share. Default: the range of the profile.

    Returns:
        The axis, with its scale and its range.

    Warns:
        UserWarning: if the axis is so short against its values that ParaView cannot draw it.

    Raises:
        ValueError: if the scale is not above 0, an end of the range is not finite, the lowest loss
            is above the highest, or a logarithmic axis has a loss that is not positive.
        TypeError: if the scale or an end of the range is not a number.
    """
    heights = profile.outline[:, 1]
    own = (float(heights.min()), float(heights.max()))
    if scale is not None:
        scale = checks.real(scale, name="the height scale")
        if scale <= 0:
            raise ValueError(f"the height scale must be above 0, got {scale:g}")
    low, high = loss_range or own
    for end in (low, high):
        checks.real(end, name="each end of the loss range")
    if low > high:
        raise ValueError(f"the loss range must run upward, got {low:g} to {high:g}")
    if logarithmic and min(low, own[0]) <= 0:
        raise ValueError(
            f"a logarithmic loss axis needs losses above 0, got {min(low, own[0]):g}; "
            "use a linear axis"
        )
    ends = np.log10([low, high]) if logarithmic else np.array([low, high])
    span = float(ends[1] - ends[0])
    if 0 < span < _LEAST_SPAN * np.abs(ends).max():
        warnings.warn(
            f"the loss axis from {low:.10g} to {high:.10g} spans less than {_LEAST_SPAN:g} of its "
            "values, and ParaView draws points and labels in single precision, so they are in "
            "wrong places; subtract a constant from the losses before the neighbour graph, with "
            "ParaView's Calculator",
            stacklevel=2,
        )
    automatic = _ASPECT * profile.total_width / span if span > 0 else 1.0
    return Drawing(scale if scale is not None else automatic, logarithmic, (low, high))


def profile_to_basins(
    profile: Profile, drawing: Drawing, q_values: npt.NDArray[np.float64] | None = None
) -> vtkPolyData:
    """Return the basins as polygons, one triangle strip per basin.

    Args:
        profile: the profile.
        drawing: the vertical axis.
        q_values: (A,) q-value of each basin, see :func:`~tlp_core.analysis.noise.basin_noise`.
            Default: None, no array of them.

    Returns:
        Polygons in the plane z = 0: x from 0 to the total width, y from ``drawing``. Cell data are
        the arrays of the basins; point data is the loss; field data are the height scale, the range
        of the axis and the total width.
    """
    basins = profile.basins
    polydata = _strips(basins, drawing, np.ones(len(basins), dtype=bool), lift=0.0)
    add_array(polydata.GetPointData(), names.LOSS, np.repeat(basins.step_height, 2))
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
    if q_values is not None:
        add_array(data, names.Q_VALUE, q_values)
    data.SetActiveScalars(names.AVERAGE_LOSS)
    fields = polydata.GetFieldData()
    add_array(fields, names.HEIGHT_SCALE, np.array([drawing.scale]))
    add_array(fields, names.LOSS_RANGE, np.array(drawing.loss_range))
    add_array(fields, names.TOTAL_WIDTH, np.array([profile.total_width]))
    return polydata


def profile_to_faint_basins(
    profile: Profile, drawing: Drawing, q_values: npt.NDArray[np.float64] | None, *, rate: float
) -> vtkPolyData:
    """Return the basins that may be noise once more, in front of the others.

    Drawn white and transparent, they make those basins faint.

    Args:
        profile: the profile.
        drawing: the vertical axis.
        q_values: (A,) q-value of each basin; None if it is not known.
        rate: q-value above which a basin may be noise.

    Returns:
        Polygons with the cell data ``BasinId``; empty if no basin may be noise.

    Raises:
        ValueError: if the rate does not lie between 0 and 1.
        TypeError: if the rate is not a number.
    """
    check_rate(rate)
    is_faint = np.zeros(len(profile.basins), bool) if q_values is None else q_values > rate
    faint = _strips(profile.basins, drawing, is_faint, lift=_LIFT / 2 * profile.total_width)
    add_array(faint.GetCellData(), names.BASIN_ID, np.flatnonzero(is_faint))
    return faint


def _strips(
    basins: Basins, drawing: Drawing, is_chosen: npt.NDArray[np.bool_], *, lift: float
) -> vtkPolyData:
    """Return some basins as triangle strips at a height above the plane."""
    counts = np.diff(basins.step_start)
    steps = np.repeat(is_chosen, counts)
    center, width = np.repeat(basins.center, counts)[steps], basins.step_width[steps]
    points = np.zeros((len(center), 2, 3))
    points[:, 0, 0] = center - width / 2
    points[:, 1, 0] = center + width / 2
    points[:, :, 1] = drawing.height(basins.step_height[steps])[:, None]
    points[:, :, 2] = lift
    starts = np.concatenate([[0], np.cumsum(counts[is_chosen])])
    polydata = vtkPolyData()
    polydata.SetPoints(make_points(points.reshape(-1, 3)))
    polydata.SetStrips(make_cells(np.arange(2 * len(center)), 2 * starts))
    return polydata


def profile_to_critical_points(
    profile: Profile, drawing: Drawing, coordinates: npt.NDArray[np.float64]
) -> vtkPolyData:
    """Return the critical points of a profile as vertices.

    Args:
        profile: the profile.
        drawing: the vertical axis.
        coordinates: (N, n) float64, coordinates α of all samples.

    Returns:
        One vertex per critical point, with its arrays and its coordinates as point data.
    """
    critical = profile.critical_points
    lift = np.full(len(critical.x), 2 * _LIFT * profile.total_width)
    points = np.stack([critical.x, drawing.height(critical.height), lift], axis=1)
    polydata = make_vertices(points)
    data = polydata.GetPointData()
    add_array(data, names.SAMPLE_ID, critical.sample)
    add_array(data, names.CRITICAL_TYPE, critical.type.astype(np.int32))
    add_array(data, names.LOSS, critical.height)
    add_array(data, names.PERSISTENCE, critical.persistence)
    add_array(data, names.BASIN_ID, critical.basin)
    add_array(data, names.COORDINATES, coordinates[critical.sample])
    data.SetActiveScalars(names.CRITICAL_TYPE)
    return polydata


def profile_to_network(
    profile: Profile, drawing: Drawing, tree: MergeTree, coordinates: npt.NDArray[np.float64]
) -> vtkPolyData:
    """Return the place of the given network in a profile, in the middle of its basin.

    Args:
        profile: the profile.
        drawing: the vertical axis.
        tree: the merge tree of the profile.
        coordinates: (N, n) float64, coordinates α of all samples.

    Returns:
        A vertex at the height of the network's loss, with the point data ``SampleId``, ``Loss`` and
        ``BasinId``; empty if no sample is at α = 0.
    """
    sample = network_sample(coordinates)
    basin, level = tree.vertex_arc[sample], tree.levels[sample]
    lift = np.full(len(sample), 3 * _LIFT * profile.total_width)
    points = np.stack([profile.basins.center[basin], drawing.height(level), lift], axis=1)
    polydata = make_vertices(points)
    data = polydata.GetPointData()
    add_array(data, names.SAMPLE_ID, sample)
    add_array(data, names.LOSS, tree.values[sample])
    add_array(data, names.BASIN_ID, basin)
    return polydata


def profile_to_samples(tree: MergeTree, segmentation: vtkDataSet) -> vtkDataSet:
    """Return the segmentation with the basin and the critical type of each sample.

    Args:
        tree: the merge tree of the profile.
        segmentation: the N samples.

    Returns:
        A shallow copy with the point data ``BasinId`` and ``CriticalType``, which is -1 at samples
        that are not nodes.
    """
    samples = segmentation.NewInstance()
    samples.ShallowCopy(segmentation)
    types = np.full(len(tree.values), REGULAR, dtype=np.int8)
    types[tree.node_vertex] = tree.node_type
    add_array(samples.GetPointData(), names.BASIN_ID, tree.vertex_arc)
    add_array(samples.GetPointData(), names.CRITICAL_TYPE, types)
    return samples


def profile_to_outline(profile: Profile, drawing: Drawing) -> vtkPolyData:
    """Return the outline of a profile as one polyline, with the loss as point data.

    Args:
        profile: the profile.
        drawing: the vertical axis.
    """
    x, height = profile.outline.T
    lift = np.full(len(x), _LIFT * profile.total_width)
    points = np.stack([x, drawing.height(height), lift], axis=1)
    polydata = vtkPolyData()
    polydata.SetPoints(make_points(points))
    polydata.SetLines(make_cells(np.arange(len(x)), np.array([0, len(x)])))
    add_array(polydata.GetPointData(), names.LOSS, height)
    return polydata


def profile_to_tree(profile: Profile, drawing: Drawing) -> vtkPolyData:
    """Return the merge tree, drawn over its profile.

    Each arc is a polyline: vertical in the middle of its basin, then horizontal to the middle of
    the basin that contains it.

    Args:
        profile: the profile.
        drawing: the vertical axis.

    Returns:
        One polyline per basin, with the loss as point data, basin and persistence as cell data.
    """
    basins = profile.basins
    outer = np.where(basins.parent < 0, profile.total_width / 2, basins.center[basins.parent])
    x = np.stack([basins.center, basins.center, outer], axis=1)
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
    """Return the persistence diagram of a merge tree.

    Args:
        tree: the merge tree, simplified or not.

    Returns:
        One row per branch, the branch of the global minimum first, then by falling persistence.
    """
    pairs = tree.branches()
    table = vtkTable()
    data = table.GetRowData()
    add_array(data, names.BIRTH, pairs.birth)
    add_array(data, names.DEATH, pairs.death)
    add_array(data, names.PERSISTENCE, pairs.persistence)
    add_array(data, names.SIZE, pairs.size)
    add_array(data, names.MINIMUM_ID, pairs.minimum)
    add_array(data, names.SADDLE_ID, pairs.saddle)
    add_array(data, names.BASIN_ID, tree.vertex_arc[pairs.minimum])
    return table


def descriptors_to_table(descriptors: Descriptors, extra: Mapping[str, str | float]) -> vtkTable:
    """Return descriptors as a table with one row.

    Args:
        descriptors: the descriptors of one landscape.
        extra: values of further columns, by name; they come first.

    Returns:
        The further columns, one column per descriptor, and the column ``undefined`` with the reason
        for each descriptor that is NaN.
    """
    table = vtkTable()
    reasons = "; ".join(f"{name}: {reason}" for name, reason in descriptors.undefined.items())
    for name, value in {**extra, **descriptors.as_dict(), "undefined": reasons}.items():
        if isinstance(value, str):
            add_text(table.GetRowData(), name, value)
        else:
            add_array(table.GetRowData(), name, np.array([value]))
    return table
