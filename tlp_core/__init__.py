"""Topological landscape profiles of neural networks: the numbers, without ParaView.

The stages, in order: directions, sampling, neighbour graph, merge tree, profile. What needs torch
is imported when it is first used, so that graph, tree and profile work where torch is missing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tlp_core.branches import Branches
from tlp_core.compare import landscape_distances, persistence_diagram
from tlp_core.descriptors import Descriptors, describe
from tlp_core.landscape import Landscape
from tlp_core.merge_tree import MergeTree, merge_tree
from tlp_core.neighbors import EdgeGraph, GridGraph, grid_graph, knn_graph
from tlp_core.profile import Profile, landscape_profile

if TYPE_CHECKING:
    from tlp_core.directions import Directions
    from tlp_core.hessian import hessian_directions, hessian_trace
    from tlp_core.problem import Problem
    from tlp_core.problems import load_problem
    from tlp_core.sampling import sample_grid, sample_scattered
    from tlp_core.solutions import (
        checkpoint_directions,
        gradient_directions,
        random_directions,
        trajectory_directions,
    )

__version__ = "0.1.0"

_NEEDS_TORCH = {
    "Directions": "directions",
    "Problem": "problem",
    "checkpoint_directions": "solutions",
    "gradient_directions": "solutions",
    "hessian_directions": "hessian",
    "hessian_trace": "hessian",
    "load_problem": "problems",
    "random_directions": "solutions",
    "trajectory_directions": "solutions",
    "sample_grid": "sampling",
    "sample_scattered": "sampling",
}

__all__ = [
    "Branches",
    "Descriptors",
    "Directions",
    "EdgeGraph",
    "GridGraph",
    "Landscape",
    "MergeTree",
    "Problem",
    "Profile",
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
    "sample_grid",
    "sample_scattered",
    "trajectory_directions",
]


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module 'tlp_core' has no attribute {name!r}")
    return getattr(import_module(f"tlp_core.{_NEEDS_TORCH[name]}"), name)
