"""Grokking of modular addition (Power et al. 2022): landscapes during training.

The experiment tests whether the topology of the landscape changes before or after the test accuracy
does. The test accuracy is that of pairs whose mirror was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from tlp_core.choices import ExperimentSize
from tlp_core.experiments.claims import Claim
from tlp_core.experiments.definition import Curves, Experiment, Look, Network, Training
from tlp_core.experiments.results import HALF_WIDTH, LOW_VOLUME
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.experiments.transitions import (
    change_dates,
    lag_claims,
    look_at_part,
    train_by_adam,
    transformer_look,
)
from tlp_core.problem import Problem
from tlp_core.problems.transformer import modular_addition
from tlp_core.progress import Progress

_SEEDS: dict[ExperimentSize, int] = {"quick": 1, "medium": 10, "full": 10}
_STEPS: dict[ExperimentSize, range] = {
    "quick": range(0, 3001, 150),
    "medium": range(0, 6001, 100),
    "full": range(0, 40_001, 500),
}
"""Steps of the checkpoints."""


def grokking_networks(size: ExperimentSize) -> list[Network]:
    """Return the grokking networks of a size: one for each seed; ``full`` is Nanda et al. 2023."""
    return [_grokking_network(seed, size) for seed in range(_SEEDS[size])]


def grokking_looks(size: ExperimentSize) -> list[Look]:
    """Return the looks of a size: the whole network; ``full`` adds its attention and its MLP."""
    resolution = {"quick": 11, "medium": 21, "full": 41}[size]
    whole = transformer_look(resolution)
    if size != "full":
        return [whole]
    return [
        whole,
        look_at_part(whole, "attention", "blocks.0.attention.*"),
        look_at_part(whole, "feed-forward", "blocks.0.feed.*"),
    ]


def grokking_claims(rows: Sequence[Row]) -> list[Claim]:
    """Test whether descriptors change with the test accuracy, over the seeds.

    Args:
        rows: rows of the table of descriptors.
    """
    return [
        claim
        for look_rows in group_rows(rows, ["look"]).values()
        for claim in lag_claims(look_rows, "test accuracy", ("seed",))
    ]


def _grokking_network(seed: int, size: ExperimentSize) -> Network:
    small = {"p": 31, "width": 64, "train_fraction": 0.5}
    arguments = {} if size == "full" else small
    rate = 1e-3 if size == "full" else 3e-3

    def make() -> Problem:
        return modular_addition(**arguments, seed=seed)  # type: ignore[arg-type]

    train = partial(_train_grokking, rate=rate)
    return Network({"seed": seed}, make, train, _STEPS[size])


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
    figures=(("test loss", HALF_WIDTH),),
    series=(
        "training loss",
        "test loss",
        "test accuracy",
        "mirrored test accuracy",
        "training accuracy",
        "number_of_minima",
        HALF_WIDTH,
        LOW_VOLUME,
        "top_eigenvalue",
    ),
    dates=partial(change_dates, event="test accuracy", names=("seed",)),
)
