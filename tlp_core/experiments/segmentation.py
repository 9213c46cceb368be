"""Experiment: UNet with CRF-RNN over learning rates and epochs (Geniesse et al. 2024, section 4.2).

The environment variable ``TLP_PETS`` holds the path of Oxford-IIIT Pet. If it is not set, the
pictures are generated shapes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from tlp_core.choices import ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, correlation, correlation_within, mean
from tlp_core.experiments.definition import (
    Curves,
    Experiment,
    Look,
    Network,
    Training,
    shuffled_batches,
    train_epochs,
)
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.problem import Problem
from tlp_core.problems import unet_crf
from tlp_core.progress import Progress
from tlp_core.sampling.settings import EvaluationSettings, GridSettings

PETS = "TLP_PETS"
"""Environment variable with the path of Oxford-IIIT Pet."""

RATES: dict[ExperimentSize, tuple[float, ...]] = {
    "quick": (1e-4, 1e-3, 1e-2),
    "medium": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 30.0),
    "full": (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2),
}
"""Learning rates. Those of the medium size include rates at which the training is slow or fails."""

SEEDS = (243, 3376, 5370, 7026, 8049)
_STEPS: dict[ExperimentSize, range] = {
    "quick": range(0, 7, 2),
    "medium": range(0, 31, 10),
    "full": range(0, 31, 5),
}
"""Epochs of the checkpoints."""

_DEPTH = "depth over lowest loss"
_ACCURACY = "pixel accuracy"


def networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: one for each learning rate and seed."""
    seeds = SEEDS[: {"quick": 1, "medium": 3, "full": 5}[size]]
    return [_network(rate, seed, size) for rate in RATES[size] for seed in seeds]


def looks(size: ExperimentSize) -> list[Look]:
    """Return the look of a size, with the published settings.

    The distance of the published code is the full width, so the half-width here is half of it.
    """
    resolution = {"quick": 7, "medium": 15, "full": 41}[size]
    directions = DirectionSettings(n=2, method="lanczos", normalization="layer")
    evaluation = EvaluationSettings(batch_norm="reestimated")
    return [Look("2D", directions, GridSettings(resolution, distance=0.005), evaluation)]


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Test the claims of Geniesse et al. 2024, section 4.2, on depth and learning rate.

    The depth is the range of the losses in a box of fixed size, relative to the lowest loss,
    because all losses decrease during training. The networks of one learning rate are one case:
    their seeds are not independent.

    Args:
        rows: rows of the table of descriptors.
    """
    rows = [row for row in rows if "maximum_loss" in row]  # without trainings that diverged
    edges = correlation_within(
        "the basin's edges come down later",
        [row for row in rows if row["step"] > 0],
        "step",
        "maximum_loss",
        ("rate",),
        claimed="negative",
    )
    extended = [
        {**row, _DEPTH: (row["maximum_loss"] - row["minimum_loss"]) / row["minimum_loss"]}
        for row in rows
    ]
    last = max(row["step"] for row in rows)
    first = {(row["rate"], row["seed"]): row[_DEPTH] for row in extended if row["step"] == 0}
    last_rows = [row for row in extended if row["step"] == last]
    deepens = [
        np.mean([np.log10(row[_DEPTH] / first[rate, row["seed"]]) for row in group])
        for (rate,), group in group_rows(last_rows, ["rate"]).items()
    ]
    best = np.log10(_best_rate(last_rows))
    distance = "orders of magnitude from the rate of the best accuracy"
    return [
        edges,
        mean(
            "early in training the landscape is shallow, later the basin deepens",
            f"log10 of the {_DEPTH} after training over before",
            deepens,
        ),
        correlation(
            "basins are deeper at too small and too large learning rates",
            [{**row, distance: abs(np.log10(row["rate"]) - best)} for row in last_rows],
            distance,
            _DEPTH,
            by=("rate",),
        ),
        correlation(
            "a better model has a deeper basin", last_rows, _ACCURACY, _DEPTH, by=("rate",)
        ),
    ]


def _best_rate(rows: Sequence[Row]) -> float:
    """Return the learning rate of the highest accuracy, the mean over the seeds."""
    by_rate = group_rows(rows, ["rate"])
    means = {rate: np.mean([row[_ACCURACY] for row in group]) for (rate,), group in by_rate.items()}
    means = {rate: accuracy for rate, accuracy in means.items() if np.isfinite(accuracy)}
    return float(max(means, key=means.__getitem__))


def _network(rate: float, seed: int, size: ExperimentSize) -> Network:
    small = {
        "quick": {"size": 16, "images": 8, "depth": 2, "width": 4, "radius": 2},
        "medium": {"size": 32, "images": 16, "depth": 3, "width": 8, "radius": 3},
        "full": {},
    }[size]
    data = os.environ.get(PETS, "")

    def make() -> Problem:
        return unet_crf.make_problem(data=data, seed=seed, **small)

    train = partial(_train, data=data, rate=rate, seed=seed)
    return Network({"rate": rate, "seed": seed}, make, train, _STEPS[size])


def _train(
    problem: Problem, training: Training, progress: Progress, *, data: str, rate: float, seed: int
) -> Curves:
    """Train by AdamW on the whole training set; the rate is divided by 10 every 20 epochs."""
    ((pictures, _),) = problem.batches
    examples = unet_crf.segmentation_set(data, "trainval", pictures.shape[-1])
    optimizer = torch.optim.AdamW(problem.model.parameters(), lr=rate)
    return train_epochs(
        problem,
        training,
        progress,
        batches=shuffled_batches(examples, len(pictures), seed),
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.StepLR(optimizer, 20),
    )


SEGMENTATION = Experiment(
    "UNet with CRF-RNN",
    networks,
    looks,
    claims,
    rows="rate",
    columns="step",
    figures=(("rate", "maximum_loss"), (_ACCURACY, "maximum_loss")),
    data=PETS,
    series=("training loss", "test loss", _ACCURACY, "minimum_loss", "maximum_loss"),
)
