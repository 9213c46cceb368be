"""Topological landscape profiles of neural networks: the numbers, without ParaView.

The stages, in order: directions, sampling, neighbour graph, merge tree, profile. What needs torch
is imported when it is first used, so that graph, tree and profile work where torch is missing.
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

if TYPE_CHECKING:
    from tlp_core.directions.base import Directions
    from tlp_core.directions.hessian.eigenvectors import hessian_directions, hessian_trace
    from tlp_core.directions.random import (
        checkpoint_directions,
        gradient_directions,
        random_directions,
        trajectory_directions,
    )
    from tlp_core.problem import Problem
    from tlp_core.problems.loading import load_problem
    from tlp_core.sampling.grid import sample_grid, sample_scattered

__version__ = "0.1.0"

_NEEDS_TORCH = {
    "Directions": "directions.base",
    "Problem": "problem",
    "checkpoint_directions": "directions.random",
    "gradient_directions": "directions.random",
    "hessian_directions": "directions.hessian.eigenvectors",
    "hessian_trace": "directions.hessian.eigenvectors",
    "load_problem": "problems.loading",
    "random_directions": "directions.random",
    "trajectory_directions": "directions.random",
    "sample_grid": "sampling.grid",
    "sample_scattered": "sampling.grid",
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
