"""Names of all arrays and all integer codes that filters of the pipeline exchange.

An array with the same meaning as in TTK has TTK's name, so that TTK's merge tree filter and the
built-in filter are interchangeable.
"""

from __future__ import annotations

from enum import IntEnum


class CriticalType(IntEnum):
    """Types of nodes of the merge tree, with TTK's codes."""

    MINIMUM = 0
    SADDLE = 1
    ROOT = 3
    DEGENERATE_SADDLE = 4


REGULAR = -1
"""Code of samples that are not nodes, in arrays of ``CriticalType``."""


# landscape, point data
LOSS = "Loss"
COORDINATES = "Coordinates"
SAMPLE_ID = "SampleId"
IS_FINITE = "IsFinite"
BATCH_LOSSES = "BatchLosses"
SAMPLE_VOLUME = "SampleVolume"

# landscape, field data
SHAPE = "Shape"
DISTANCE = "Distance"
EIGENVALUES = "Eigenvalues"
PROVENANCE = "Provenance"
GRAPH_RULE = "GraphRule"
NUMBER_OF_LINES = "NumberOfLines"
STEP = "Step"

# table of blocks
GROUP = "Group"

# merge tree
NODE_ID = "NodeId"
VERTEX_ID = "VertexId"
SCALAR = "Scalar"
CRITICAL_TYPE = "CriticalType"
REGION_SIZE = "RegionSize"
SEGMENTATION_ID = "SegmentationId"
UP_NODE_ID = "upNodeId"
DOWN_NODE_ID = "downNodeId"


def level_name(scalar: str) -> str:
    """Return the name of the point array of levels to which a simplification filled samples."""
    return f"{scalar}_Level"


# profile
BASIN_ID = "BasinId"
PARENT_ID = "ParentId"
MINIMUM_ID = "MinimumId"
SADDLE_ID = "SaddleId"
BIRTH = "Birth"
DEATH = "Death"
PERSISTENCE = "Persistence"
SIZE = "Size"
AVERAGE_LOSS = "AverageLoss"
NESTING_DEPTH = "NestingDepth"
Q_VALUE = "QValue"
HEIGHT_SCALE = "HeightScale"
LOSS_RANGE = "LossRange"
TOTAL_WIDTH = "TotalWidth"

POINT_ARRAYS = (
    LOSS,
    COORDINATES,
    SAMPLE_ID,
    IS_FINITE,
    BATCH_LOSSES,
    SAMPLE_VOLUME,
    CRITICAL_TYPE,
    REGION_SIZE,
    SEGMENTATION_ID,
    BASIN_ID,
)
"""Arrays of samples along the pipeline, whose names further losses cannot have."""

# ensemble of trees
TREE_ID = "treeID"
CLUSTER = "ClusterAssignment"
TREE_DISTANCE = "TreeDistance"
ROW = "Row"
COLUMN = "Column"
EMBEDDED_FRACTION = "EmbeddedFraction"
TRACK_ID = "TrackId"
SHARED_SAMPLES = "SharedSamples"
