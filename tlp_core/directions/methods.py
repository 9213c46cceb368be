"""Directions by the method that the settings name."""

from __future__ import annotations

from tlp_core.choices import HESSIAN_METHODS
from tlp_core.directions.base import Directions
from tlp_core.directions.checkpoints import spanning_directions
from tlp_core.directions.gradient import steepest_directions
from tlp_core.directions.hessian.eigenvectors import eigenvector_directions
from tlp_core.directions.random import draw_directions
from tlp_core.directions.settings import DirectionSettings
from tlp_core.directions.trajectory import principal_directions
from tlp_core.problem import Problem
from tlp_core.problems.weights import read_state_of
from tlp_core.progress import Progress, silent


def make_directions(
    problem: Problem, settings: DirectionSettings, progress: Progress = silent
) -> Directions:
    """Return the directions of a problem.

    Args:
        problem: model, loss and batches.
        settings: the method and its options, or the file of the directions.
        progress: called with the fraction done, 0 to 1, and a text.

    Raises:
        ValueError, TypeError, LossError, RuntimeError, OSError: as the functions of the methods.
    """
    if settings.file:
        return Directions.load(settings.file, problem.model)
    if settings.method in HESSIAN_METHODS:
        return eigenvector_directions(problem, settings, progress)
    if settings.method == "random":
        return draw_directions(problem, settings)
    if settings.method == "gradient":
        return steepest_directions(problem, settings)
    states = [read_state_of(problem, path) for path in settings.solutions]
    if settings.method == "trajectory":
        return principal_directions(problem, settings, states)
    return spanning_directions(problem, settings, states)
