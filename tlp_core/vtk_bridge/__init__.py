"""Conversion between the records of ``tlp_core`` and VTK data; only this package imports VTK."""

from tlp_core.vtk_bridge.arrays import add_array, add_text, make_cells, make_points
from tlp_core.vtk_bridge.drawing import (
    Drawing,
    descriptors_to_table,
    drawing,
    profile_to_basins,
    profile_to_critical_points,
    profile_to_outline,
    profile_to_samples,
    profile_to_tree,
    tree_to_diagram,
)
from tlp_core.vtk_bridge.graphs import dataset_graph, given_ranks, with_graph
from tlp_core.vtk_bridge.samples import (
    check_whole_grid,
    grid_to_landscape,
    landscape_shape,
    landscape_to_grid,
    landscape_to_image,
    point_values,
    provenance,
    sample_coordinates,
    step_of,
)
from tlp_core.vtk_bridge.slices import critical_points_in, grid_slice
from tlp_core.vtk_bridge.trees import (
    skeleton_to_tree,
    tree_to_arcs,
    tree_to_filled_segmentation,
    tree_to_nodes,
    tree_to_segmentation,
    without_noise,
)

__all__ = [
    "Drawing",
    "add_array",
    "add_text",
    "check_whole_grid",
    "critical_points_in",
    "dataset_graph",
    "descriptors_to_table",
    "drawing",
    "given_ranks",
    "grid_slice",
    "grid_to_landscape",
    "landscape_shape",
    "landscape_to_grid",
    "landscape_to_image",
    "make_cells",
    "make_points",
    "point_values",
    "profile_to_basins",
    "profile_to_critical_points",
    "profile_to_outline",
    "profile_to_samples",
    "profile_to_tree",
    "provenance",
    "sample_coordinates",
    "skeleton_to_tree",
    "step_of",
    "tree_to_arcs",
    "tree_to_diagram",
    "tree_to_filled_segmentation",
    "tree_to_nodes",
    "tree_to_segmentation",
    "with_graph",
    "without_noise",
]
