"""Experiment: ResNet-20 with and without skip connections (Xie et al. 2024).

Labels of the training set are wrong in part, so that better and worse networks differ: without such
labels, networks of both kinds reach the same accuracy on easy images.

The environment variable ``TLP_CIFAR10`` holds the path of the binary version of CIFAR-10. If it is
not set, the images are the digits of scikit-learn.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial

import torch
from torch.utils.data import TensorDataset

from tlp_core.choices import ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, Sign, correlation, mean
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
from tlp_core.problems import resnet
from tlp_core.progress import Progress
from tlp_core.sampling.settings import EvaluationSettings, GridSettings

CIFAR10 = "TLP_CIFAR10"
"""Environment variable with the path of the binary version of CIFAR-10."""

SEEDS = (0, 123, 123456, 2023)

_NOISE: dict[ExperimentSize, tuple[float, ...]] = {
    "quick": (0.0,),
    "medium": (0.0, 0.1, 0.2, 0.4, 0.6),
    "full": (0.0, 0.1, 0.2, 0.4, 0.6),
}
"""Fractions of wrong labels. The k-th, from 0, has the seeds above plus k."""

_SETTING = ("skip", "noise")
"""Columns of a setting, which networks of several seeds share."""

_SADDLE_CLAIMS: tuple[tuple[str, str, Sign], ...] = (
    ("a better model has", "test accuracy", "negative"),
    ("a smaller top eigenvalue means", "top_eigenvalue", "positive"),
    ("a smaller trace of the Hessian means", "hessian_trace", "positive"),
)
"""Claims on the number of saddles: text, column, and claimed sign of the correlation."""


def networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: with and without skips, for each label noise and seed."""
    seeds = SEEDS[: {"quick": 1, "medium": 2, "full": 4}[size]]
    return [
        _network(skip, noise, seed + number, size)  # networks of one seed are not independent
        for skip in ("yes", "no")
        for number, noise in enumerate(_NOISE[size])
        for seed in seeds
    ]


def looks(size: ExperimentSize) -> list[Look]:
    """Return the look of a size: the landscape along the top two eigenvectors."""
    resolution = {"quick": 7, "medium": 21, "full": 41}[size]
    return [
        Look(
            "2D",
            DirectionSettings(n=2, method="lanczos", normalization="filter"),
            GridSettings(resolution, distance=0.5),
            EvaluationSettings(batch_norm="reestimated"),
            trace_vectors=20 if size == "quick" else 200,
        )
    ]


def claims(rows: Sequence[Row]) -> list[Claim]:
    """Test the claims of Xie et al. 2024 on the number of saddles and the average persistence.

    Networks that differ in their skip connections only are compared in pairs. In correlations, the
    mean over the seeds of a setting is one case.

    Args:
        rows: rows of the table of descriptors.
    """
    end = max(row["step"] for row in rows)
    last = [row for row in rows if row["step"] == end]

    pairs = [
        {row["skip"]: row for row in group}
        for group in group_rows(last, ("noise", "seed")).values()
    ]

    def compare(text: str, column: str, claimed: Sign = "positive") -> Claim:
        differences = [
            pair["yes"].get(column, math.nan) - pair["no"].get(column, math.nan)
            for pair in pairs
            if len(pair) == 2
        ]
        return mean(
            f"skip connections {text}",
            f"{column}, with minus without, networks of one seed and noise",
            differences,
            claimed=claimed,
        )

    return [
        compare("make a network better", "test accuracy"),
        compare("mean fewer saddles", "number_of_saddles", "negative"),
        compare("mean a higher average persistence", "average_finite_persistence"),
        *(
            correlation(
                f"{text} fewer saddles",
                last,
                quality,
                "number_of_saddles",
                by=_SETTING,
                claimed=sign,
            )
            for text, quality, sign in _SADDLE_CLAIMS
        ),
        correlation(
            "a better model has a higher average persistence",
            last,
            "test accuracy",
            "average_finite_persistence",
            by=_SETTING,
        ),
    ]


def _network(skip: str, noise: float, seed: int, size: ExperimentSize) -> Network:
    small = {
        "quick": {"blocks": 1, "width": 4, "images": 64},
        "medium": {"blocks": 3, "width": 8, "images": 128},
        "full": {},
    }[size]
    epochs = {"quick": 4, "medium": 20, "full": 100}[size]

    def make() -> Problem:
        data = os.environ.get(CIFAR10, "")
        return resnet.make_problem(data=data, skip=skip == "yes", noise=noise, seed=seed, **small)

    steps = range(0, epochs + 1, max(1, epochs // 4))
    train = partial(_train, noise=noise, seed=seed)
    return Network({"skip": skip, "noise": noise, "seed": seed}, make, train, steps)


def _train(
    problem: Problem, training: Training, progress: Progress, *, noise: float, seed: int
) -> Curves:
    """Train by SGD with momentum on the whole training set, not only on the images of the loss."""
    data = os.environ.get(CIFAR10, "")
    (inputs, labels), _ = resnet.cifar10(data) if data else resnet.digits()
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return train_epochs(
        problem,
        training,
        progress,
        batches=shuffled_batches(
            TensorDataset(inputs, resnet.noisy_labels(labels, noise)), 128, seed
        ),
        optimizer=optimizer,
        schedule=torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.steps[-1]),
    )


RESNET = Experiment(
    "ResNet-20",
    networks,
    looks,
    claims,
    rows="skip",
    columns="seed",
    figures=(("test accuracy", "number_of_saddles"), ("hessian_trace", "number_of_saddles")),
    data=CIFAR10,
    series=(
        "training loss",
        "test accuracy",
        "hessian_trace",
        "number_of_saddles",
    ),
)
