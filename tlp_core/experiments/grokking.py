"""Grokking of modular addition (Power et al. 2022): landscapes during training.

The experiment tests whether the topology of the landscape changes before or after the test accuracy
does.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from tlp_core.choices import ExperimentSize
from tlp_core.experiments.claims import Claim
from tlp_core.experiments.definition import Curves, Experiment, Look, Network, Training
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.experiments.transitions import lag_claims, train_by_adam, transformer_looks
from tlp_core.problem import Problem
from tlp_core.problems.transformer import modular_addition
from tlp_core.progress import Progress


def grokking_networks(size: ExperimentSize) -> list[Network]:
    """Return the grokking networks of a size: one for each seed; ``full`` is Nanda et al. 2023."""
    seeds = {"quick": 1, "medium": 5, "full": 5}[size]
    return [_grokking_network(seed, size) for seed in range(seeds)]


def grokking_looks(size: ExperimentSize) -> list[Look]:
    """Return the looks of a size: the whole network, its attention, its feed-forward layer."""
    resolution = {"quick": 11, "medium": 21, "full": 41}[size]
    parts = {"attention": "blocks.0.attention.*", "feed-forward": "blocks.0.feed.*"}
    return transformer_looks(resolution, 0.2, {} if size == "quick" else parts)


def grokking_claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Test whether descriptors change before the test accuracy does, over the seeds.

    Args:
        rows: rows of the table of descriptors.
        _folder: folder of the experiment; not used.
    """
    return [
        claim
        for look_rows in group_rows(rows, ["look"]).values()
        for claim in lag_claims(look_rows, "test accuracy", "seed")
    ]


def _grokking_network(seed: int, size: ExperimentSize) -> Network:
    small = {"p": 31, "width": 64, "train_fraction": 0.5}
    arguments = {} if size == "full" else small
    last = 40_000 if size == "full" else 3000
    rate = 1e-3 if size == "full" else 3e-3

    def make() -> Problem:
        return modular_addition(**arguments, seed=seed)  # type: ignore[arg-type]

    steps = range(0, last + 1, last // 20)
    return Network({"seed": seed}, make, partial(_train_grokking, rate=rate), steps)


def _train_grokking(
    problem: Problem, training: Training, progress: Progress, *, rate: float
) -> Curves:
    """Train on the batch of all training pairs."""
    return train_by_adam(problem, training, progress, learning_rate=rate, weight_decay=1.0)


GROKKING = Experiment(
    "Grokking modular addition",
    grokking_networks,
    grokking_looks,
    grokking_claims,
    rows="seed",
    columns="step",
    figures=(("test loss", "global_minimum_depth"),),
    series=(
        "training loss",
        "test loss",
        "test accuracy",
        "global_minimum_depth",
        "width_at_half_depth",
        "top_eigenvalue",
    ),
)
