"""Experiment: PINNs for convection (Krishnapriyan et al. 2021; Geniesse et al. 2024, section 4.1).

The loss is the published loss with 1,000 collocation points. With the 100 points of the published
code, a network can fit these points and be far from the solution everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from tlp_core.analysis.descriptors import describe
from tlp_core.analysis.distances import diagram_distances
from tlp_core.choices import GRID_RULES, ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, correlation, difference, mean
from tlp_core.experiments.definition import (
    FIRST,
    LAST,
    Curves,
    Experiment,
    Look,
    Network,
    Training,
)
from tlp_core.experiments.results import (
    HALF_WIDTH,
    LOW_VOLUME,
    diagram_of,
    diagram_text,
    shape_of_basin,
    tree_of,
)
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.landscape.landscape import Landscape
from tlp_core.problem import Problem, evaluate_metrics
from tlp_core.problems import pinn_convection
from tlp_core.progress import Progress
from tlp_core.sampling.settings import GridSettings
from tlp_core.topology.merge_tree import MergeTree

BETAS: dict[ExperimentSize, tuple[int, ...]] = {
    "quick": (1, 10, 30),
    "medium": (1, 5, 10, 20, 30, 50),
    "full": (1, 5, 10, 15, 20, 30, 50, 70),
}
RATES: dict[ExperimentSize, tuple[float, ...]] = {
    "quick": (1.0,),
    "medium": (1.0,),
    "full": (0.0001, 0.001, 0.01, 0.1, 1.0),
}
ITERATIONS: dict[ExperimentSize, tuple[int, int]] = {
    "quick": (200, 1000),
    "medium": (1000, pinn_convection.ITERATIONS),
    "full": (1000, pinn_convection.ITERATIONS),
}
"""Iterations of the two checkpoints: an early one, and the end, if L-BFGS converges no earlier."""

SEEDS: dict[ExperimentSize, int] = {"quick": 2, "medium": 5, "full": 5}
RESOLUTIONS: dict[ExperimentSize, tuple[int, int]] = {
    "quick": (13, 7),
    "medium": (21, 11),
    "full": (41, 21),
}
"""Resolutions of the 3D and of the 4D landscape. The 4D points are every second 3D point."""

ERROR = "relative error"

CRITICAL_POINTS = "critical points"
CRITICAL_POINTS_OF_SLICE = "critical points of the slice"
BASINS_IN_SLICE = "basins in the slice"
"""Columns of the 4D landscape and of its slice at α₄ = 0."""

_BY_RISE = "3D-rise"
"""Name of the look at a box whose half-widths a rise of the loss decides."""

_TRANSITION = (10, 30)
"""Range of β in which networks begin to fail (Geniesse et al.)."""


def networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: one for each learning rate, β and seed."""
    return [
        _network(beta, seed, rate, size)
        for rate in RATES[size]
        for beta in BETAS[size]
        for seed in range(SEEDS[size])
    ]


def looks(size: ExperimentSize) -> list[Look]:
    """Return the looks of a size: boxes of one half-width as published, and boxes of one rise.

    In a box of half-width 0.25, losses reach 100 around a network that was trained well and 50,000
    around one that was not, so that their landscapes are compared at different heights. The other
    box ends where the loss has risen by 1, twice the loss of a network that is zero everywhere.
    """
    three, four = RESOLUTIONS[size]
    fixed, by_rise = {"distance": 0.25}, {"rise": 1.0}
    return [
        _look("3D", 3, GridSettings(three, **fixed), LAST, _measure_3d),
        _look("3D-early", 3, GridSettings(four, **fixed), FIRST, lambda _landscape, _tree: {}),
        _look(_BY_RISE, 3, GridSettings(four, **by_rise), LAST, shape_of_basin),
        _look("4D", 4, GridSettings(four, **fixed), LAST, _measure_4d),
    ]


def _look(
    name: str,
    n: int,
    samples: GridSettings,
    steps: tuple[int, ...],
    measure: Callable[[Landscape, MergeTree], Row],
) -> Look:
    directions = DirectionSettings(n=n, method="lanczos")
    return Look(name, directions, samples, steps=steps, measure=measure)


def _measure_3d(landscape: Landscape, tree: MergeTree) -> Row:
    """Return the persistence diagram, and the number of minima for each rule of the graph."""
    counts = {f"minima {rule}": len(tree_of(landscape, rule).branches()) for rule in GRID_RULES}
    return {**diagram_text(tree), **counts}


def _measure_4d(landscape: Landscape, tree: MergeTree) -> Row:
    """Compare a 4D landscape with its slice at α₄ = 0, the 3D landscape at as many points."""
    middle = landscape.shape[-1] // 2
    in_slice = replace(
        landscape,
        loss=landscape.loss[..., middle],
        evaluated=landscape.evaluated[..., middle],
        distance=landscape.distance[:-1],
    )
    leaves = tree.branches().minimum_node[1:]
    reached = np.isin(leaves, tree.vertex_arc.reshape(landscape.shape)[..., middle])
    return {
        CRITICAL_POINTS: _critical_points(tree),
        CRITICAL_POINTS_OF_SLICE: _critical_points(tree_of(in_slice)),
        BASINS_IN_SLICE: float(reached.mean()) if len(leaves) else np.nan,
    }


def _critical_points(tree: MergeTree) -> int:
    descriptors = describe(tree)
    return descriptors.number_of_minima + descriptors.number_of_saddles


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Test the claims of Geniesse et al. 2024, section 4.1, and of Xie et al. 2024 on β.

    Args:
        rows: rows of the table of descriptors. In correlations, the mean over the seeds of a β is
            one case.
    """
    by_look: dict[str, list[Row]] = {name: [] for name in ("3D", "3D-early", _BY_RISE, "4D")}
    for row in rows:
        by_look[row["look"]].append(row)
    in_one_box, by_rise = by_look["3D"], by_look[_BY_RISE]
    across = partial(correlation, by=("beta", "rate"))
    return [
        *(
            across(f"a worse model has more minima ({name})", own, ERROR, "number_of_minima")
            for name, own in by_look.items()
            if name != "3D-early"
        ),
        across(
            "a worse model has a narrower basin (half-width of a rise of 1)",
            by_rise,
            ERROR,
            HALF_WIDTH,
            claimed="negative",
        ),
        across(
            "a worse model has a flatter bottom (in boxes of one rise)", by_rise, ERROR, LOW_VOLUME
        ),
        across("saddles grow in number with β (3D)", in_one_box, "beta", "number_of_saddles"),
        across(
            "average persistence grows with β (3D)",
            in_one_box,
            "beta",
            "average_finite_persistence",
        ),
        _compare_seeds(in_one_box),
        *_compare_4d_with_3d(by_look["4D"]),
        _compare_graph_rules(in_one_box),
        _compare_with_early(in_one_box, by_look["3D-early"]),
    ]


def _compare_seeds(rows: Sequence[Row]) -> Claim:
    """Compare the distances between seeds for β at the transition and for other β."""
    near: list[float] = []
    far: list[float] = []
    for (beta, _rate), group in group_rows(rows, ("beta", "rate")).items():
        matrix = diagram_distances([diagram_of(row) for row in group])
        if len(group) > 1:
            inside = _TRANSITION[0] <= beta <= _TRANSITION[1]
            (near if inside else far).append(matrix[np.triu_indices(len(group), 1)].mean())
    return difference(
        "seeds differ most near the transition",
        "mean bottleneck distance between the seeds of a β, as a share of the range of the losses, "
        "β from 10 to 30 minus the others",
        near,
        far,
    )


def _compare_4d_with_3d(rows: Sequence[Row]) -> list[Claim]:
    """Compare the 4D landscape of each network with its slice at α₄ = 0."""
    return [
        mean(
            "4D has more critical points than 3D",
            "log2 of their ratio, 4D over its slice at α₄ = 0",
            [np.log2(row[CRITICAL_POINTS] / row[CRITICAL_POINTS_OF_SLICE]) for row in rows],
        ),
        mean(
            "the basins of 4D map into those of 3D",
            "fraction of 4D basins, without the lowest, that reach into the slice at α₄ = 0",
            [row[BASINS_IN_SLICE] for row in rows],
            claimed=None,
        ),
    ]


def _compare_graph_rules(rows: Sequence[Row]) -> Claim:
    """Count the minima of the 3D landscapes for all rules of the neighbour graph."""
    counts = {rule: np.array([row[f"minima {rule}"] for row in rows]) for rule in GRID_RULES}
    averages = ", ".join(f"{rule} {count.mean():.3g}" for rule, count in counts.items() if rows)
    return mean(
        "the rule for neighbours changes the counts",
        f"minima by axis over minima by moore (3D; mean minima: {averages})",
        counts["axis"] / counts["moore"],
        claimed=None,
    )


def _compare_with_early(last: Sequence[Row], early: Sequence[Row]) -> Claim:
    """Compare the error at convergence with that early in training."""
    first = {(row["beta"], row["seed"], row["rate"]): row[ERROR] for row in early}
    pairs = [
        (row[ERROR], first[network])
        for row in last
        if (network := (row["beta"], row["seed"], row["rate"])) in first
    ]
    return mean(
        "training to convergence lowers the error",
        "log10 of the relative error at convergence over that after 1,000 iterations",
        [np.log10(at_end / before) for at_end, before in pairs],
        claimed="negative",
    )


def _network(beta: float, seed: int, rate: float, size: ExperimentSize) -> Network:
    def make() -> Problem:
        return pinn_convection.make_problem(beta=beta, seed=seed)

    parameters = {"beta": beta, "seed": seed, "rate": rate}
    return Network(parameters, make, partial(_train, rate=rate), steps=ITERATIONS[size])


def _train(problem: Problem, training: Training, progress: Progress, *, rate: float) -> Curves:
    """Train to convergence, with a checkpoint on the way: of the last if it converges earlier."""
    early, most = training.steps

    def save(step: int, iterations: int) -> None:
        (batch,) = problem.batches
        loss = problem.loss(problem.model, batch).item()
        numbers = {"training loss": loss, "iterations": iterations, **evaluate_metrics(problem)}
        training.save(problem, step, numbers)

    def keep(iterations: int, parts: Mapping[str, Any]) -> None:
        if iterations == early:
            save(early, iterations)
        training.keep(iterations, [], parts)

    numbers = pinn_convection.train(
        problem,
        iterations=most,
        learning_rate=rate,
        progress=progress,
        resume=training.resume,
        keep=keep,
    )
    iterations = int(numbers["iterations"])
    if iterations <= early:
        save(early, iterations)
    save(most, iterations)
    return {}


PINN = Experiment(
    "PINN convection",
    networks,
    looks,
    claims,
    rows="beta",
    columns="seed",
    figures=((ERROR, "number_of_minima"), ("beta", ERROR), ("training loss", ERROR)),
)
