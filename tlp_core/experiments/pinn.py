"""Experiment: PINNs for convection (Krishnapriyan et al. 2021; Geniesse et al. 2024, section 4.1).

The loss is the published loss with 1,000 collocation points. With the 100 points of the published
code, a network can fit these points and be far from the solution everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.analysis.descriptors import describe
from tlp_core.analysis.distances import landscape_distances
from tlp_core.choices import GRID_RULES, ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, correlation, evaluate_claim, mean
from tlp_core.experiments.definition import (
    LAST,
    Curves,
    Experiment,
    Look,
    Network,
    Training,
)
from tlp_core.experiments.results import tree_of, trees_by
from tlp_core.experiments.rows import Row
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
    """Return the looks of a size: landscapes of three and of four directions."""
    three, four = RESOLUTIONS[size]
    return [
        Look(
            name,
            DirectionSettings(n=n, method="lanczos"),
            GridSettings(resolution, distance=0.25),
            steps=LAST,
        )
        for name, n, resolution in (("3D", 3, three), ("4D", 4, four))
    ]


def claims(rows: list[Row], folder: Path) -> list[Claim]:
    """Test the claims of Geniesse et al. 2024, section 4.1, and of Xie et al. 2024 on β.

    Args:
        rows: rows of the table of descriptors.
        folder: folder of the experiment, with the landscapes.

    Raises:
        ValueError: if the 4D points are not a regular subset of the 3D points.
    """
    results = []
    for name in ("3D", "4D"):
        look_rows = [row for row in rows if row["look"] == name]
        for column, positive in (
            ("number_of_minima", True),
            ("number_of_saddles", True),
            ("width_at_half_depth", False),
        ):
            text = f"a better model has a simpler landscape ({name})"
            results.append(correlation(text, look_rows, ERROR, column, positive=positive))
        for column in ("number_of_saddles", "average_persistence"):
            text = f"{column} grows with β ({name})"
            results.append(correlation(text, look_rows, "beta", column))
    results.append(_compare_seeds(rows, folder))
    results += _compare_4d_with_3d(rows, folder)
    results.append(_compare_graph_rules(rows, folder))
    return results


def _compare_seeds(rows: list[Row], folder: Path) -> Claim:
    """Compare the distances between seeds for β at the transition and for other β."""
    look_rows = [row for row in rows if row["look"] == "3D"]
    blocks, means = [], []
    for (beta, rate), trees in trees_by(look_rows, folder, "beta", "rate").items():
        matrix = landscape_distances(trees, relative=True)
        pairs = [(matrix[i, j], beta) for i, j in combinations(range(len(trees)), 2)]
        if pairs:
            blocks.append(np.array(pairs, dtype=np.float64))
            means.append(f"β {beta:g}, rate {rate:g}: {blocks[-1][:, 0].mean():.2g}")

    def difference(part: npt.NDArray[np.float64]) -> float:
        inside = (_TRANSITION[0] <= part[:, 1]) & (part[:, 1] <= _TRANSITION[1])
        near, far = part[inside, 0], part[~inside, 0]
        return float(near.mean() - far.mean()) if len(near) and len(far) else np.nan

    return evaluate_claim(
        "seeds differ most near the transition",
        "mean bottleneck distance between seeds as a share of the range, β from 10 to 30 minus "
        f"the others ({'; '.join(means)})",
        blocks,
        difference,
        null_value=0.0,
        alternative="greater",
    )


def _compare_4d_with_3d(rows: list[Row], folder: Path) -> list[Claim]:
    """Compare the 4D landscape of each network with its 3D landscape, the slice at α₄ = 0."""
    stores: dict[str, dict[tuple[Any, ...], Path]] = {"3D": {}, "4D": {}}
    for row in rows:
        network = row["beta"], row["seed"], row["rate"]
        stores[row["look"]][network] = folder / row["landscape"]
    ratios, fractions = [], []
    for network, store in stores["4D"].items():
        landscape_4d, landscape_3d = Landscape.open(store), Landscape.open(stores["3D"][network])
        tree_4d = tree_of(landscape_4d)
        tree_3d = tree_of(_subsample(landscape_3d, landscape_4d.shape[0]))
        ratios.append(np.log2(_critical_points(tree_4d) / _critical_points(tree_3d)))
        fractions.append(_fraction_of_basins_in_slice(tree_4d, landscape_4d.shape))
    return [
        mean(
            "4D has more critical points than 3D",
            "log2 of their ratio, 4D over 3D, 3D thinned to the points a side of 4D",
            ratios,
            null_value=0.0,
        ),
        mean(
            "the basins of 4D map into those of 3D",
            "share of 4D basins, but the lowest, that reach into the 3D slice",
            fractions,
            null_value=None,
        ),
    ]


def _subsample(landscape: Landscape, resolution: int) -> Landscape:
    """Return every k-th point along each direction, so that the resolution becomes as given."""
    step, rest = divmod(landscape.shape[0] - 1, resolution - 1)
    if rest:
        raise ValueError(
            f"resolution of 3D minus 1 must be a multiple of resolution of 4D minus 1, got "
            f"{landscape.shape[0]} and {resolution}; use for example 41 and 21"
        )
    index = (slice(None, None, step),) * len(landscape.shape)
    return replace(landscape, loss=landscape.loss[index], evaluated=landscape.evaluated[index])


def _critical_points(tree: MergeTree) -> int:
    descriptors = describe(tree)
    return descriptors.number_of_minima + descriptors.number_of_saddles


def _fraction_of_basins_in_slice(tree: MergeTree, shape: tuple[int, ...]) -> float:
    """Return the fraction of leaf basins, without the lowest, with a sample at last α = 0."""
    basin = tree.vertex_arc.reshape(shape)
    leaves = tree.branches().minimum_node[1:]
    if not len(leaves):
        return np.nan
    return float(np.isin(leaves, basin[..., shape[-1] // 2]).mean())


def _compare_graph_rules(rows: list[Row], folder: Path) -> Claim:
    """Count the minima of the 3D landscapes for all rules of the neighbour graph."""
    landscapes = [Landscape.open(folder / r["landscape"]) for r in rows if r["look"] == "3D"]
    counts = {
        rule: np.array([len(tree_of(landscape, rule).branches()) for landscape in landscapes])
        for rule in GRID_RULES
    }
    averages = ", ".join(f"{rule} {count.mean():.3g}" for rule, count in counts.items())
    return mean(
        "the rule for neighbours changes the counts",
        f"minima by axis over minima by moore (3D; mean minima: {averages})",
        counts["axis"] / counts["moore"],
        null_value=None,
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
    figures=((ERROR, "number_of_minima"), (ERROR, "width_at_half_depth")),
)
