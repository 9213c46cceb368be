"""Topological landscape profiles of neural networks: the numbers, without ParaView.

The folders and modules below are the stages of the method, in order. A stage uses earlier ones
only.

- ``problem``, ``problems``: what a user supplies, a model with its loss and its batches
- ``kept_outputs``: outputs of modules that do not depend on what moves, computed once
- ``directions``: vectors in parameter space, such as the top eigenvectors of the Hessian
- ``landscape``: the record of the losses, and its file
- ``sampling``: the losses at points in the span of the directions
- ``topology``: the neighbour graph of the samples, and the merge tree of the sublevel sets
- ``profile``: the basins of the merge tree, drawn in the plane
- ``analysis``: descriptors of a merge tree, distances, change points of a series
- ``pictures``: profiles, landscapes and diagrams drawn by matplotlib
- ``vtk_bridge``: records to and from VTK data and files
- ``pipeline``: from settings to a landscape, for ParaView's source and the command
- ``recorder``: landscapes of a network while it trains
- ``report``: one page for one training, for a browser
- ``experiments``: the papers' experiments
- ``cli``: the command ``tlp``

Modules that need torch are imported at their first use, so that graph, tree and profile work
without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tlp_core.analysis.descriptors import Descriptors, describe
from tlp_core.analysis.distances import landscape_distances, persistence_diagram
from tlp_core.landscape.landscape import Landscape
from tlp_core.profile import Profile, landscape_profile
from tlp_core.topology.branches import Branches
from tlp_core.topology.graphs import EdgeGraph, GridGraph, grid_graph, knn_graph
from tlp_core.topology.merge_tree import MergeTree, merge_tree
from tlp_core.version import __version__

if TYPE_CHECKING:
    from tlp_core.directions.base import Directions
    from tlp_core.directions.checkpoints import checkpoint_directions
    from tlp_core.directions.gradient import gradient_directions
    from tlp_core.directions.hessian.eigenvectors import hessian_directions
    from tlp_core.directions.hessian.trace import hessian_trace
    from tlp_core.directions.random import random_directions
    from tlp_core.directions.trajectory import trajectory_directions
    from tlp_core.problem import Problem
    from tlp_core.problems.loading import load_problem
    from tlp_core.recorder import LandscapeRecorder
    from tlp_core.sampling.grid import sample_grid
    from tlp_core.sampling.rise import rise_distances
    from tlp_core.sampling.scattered import sample_scattered

_NEEDS_TORCH = {
    "Directions": "directions.base",
    "LandscapeRecorder": "recorder",
    "Problem": "problem",
    "checkpoint_directions": "directions.checkpoints",
    "gradient_directions": "directions.gradient",
    "hessian_directions": "directions.hessian.eigenvectors",
    "hessian_trace": "directions.hessian.trace",
    "load_problem": "problems.loading",
    "random_directions": "directions.random",
    "rise_distances": "sampling.rise",
    "sample_grid": "sampling.grid",
    "sample_scattered": "sampling.scattered",
    "trajectory_directions": "directions.trajectory",
}

__all__ = [
    "Branches",
    "Descriptors",
    "Directions",
    "EdgeGraph",
    "GridGraph",
    "Landscape",
    "LandscapeRecorder",
    "MergeTree",
    "Problem",
    "Profile",
    "__version__",
    "checkpoint_directions",
    "describe",
    "gradient_directions",
    "grid_graph",
    "hessian_directions",
    "hessian_trace",
    "knn_graph",
    "landscape_distances",
    "landscape_profile",
    "load_problem",
    "merge_tree",
    "persistence_diagram",
    "random_directions",
    "rise_distances",
    "sample_grid",
    "sample_scattered",
    "trajectory_directions",
]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module 'tlp_core' has no attribute {name!r}")
    return getattr(import_module(f"tlp_core.{_NEEDS_TORCH[name]}"), name)
