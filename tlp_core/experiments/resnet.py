"""Experiment: ResNet-20 with and without skip connections (Xie et al. 2024).

The environment variable ``TLP_CIFAR10`` holds the path of the binary version of CIFAR-10. If it is
not set, the images are the digits of scikit-learn.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import TensorDataset

from tlp_core.choices import ExperimentSize
from tlp_core.directions.settings import DirectionSettings
from tlp_core.experiments.claims import Claim, correlation, mean
from tlp_core.experiments.definition import (
    Curves,
    Experiment,
    Look,
    Network,
    Training,
    shuffled_batches,
    train_epochs,
)
from tlp_core.experiments.rows import Row
from tlp_core.problem import Problem
from tlp_core.problems import resnet
from tlp_core.progress import Progress
from tlp_core.sampling.settings import EvaluationSettings, GridSettings

CIFAR10 = "TLP_CIFAR10"
"""Environment variable with the path of the binary version of CIFAR-10."""

SEEDS = (0, 123, 123456, 2023)

_QUALITIES = {
    "test accuracy": ("a better model", True),
    "top_eigenvalue": ("a flatter minimum", False),
    "hessian_trace": ("a flatter minimum", False),
}
"""Columns that measure the quality of a model: its name in claims, and whether larger is better."""

_TOPOLOGY = {
    "number_of_saddles": ("has fewer saddles", False),
    "average_persistence": ("has a higher average persistence", True),
}
"""Columns that are claimed to depend on the quality: the claim, and whether they grow with it."""


def networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: with and without skip connections, for each seed."""
    seeds = SEEDS[: {"quick": 1, "medium": 4, "full": 4}[size]]
    return [_network(skip, seed, size) for skip in ("yes", "no") for seed in seeds]


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


def claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Test the claims of Xie et al. 2024 on the number of saddles and the average persistence.

    Args:
        rows: rows of the table of descriptors.
        _folder: folder of the experiment; not used.
    """
    last = [row for row in rows if row["step"] == max(r["step"] for r in rows)]
    by_skip = {(row["skip"], row["seed"]): row for row in last}
    seeds = sorted({row["seed"] for row in last})
    pairs = [(by_skip["yes", seed], by_skip["no", seed]) for seed in seeds]
    return [
        mean(
            "skip connections make a network better",
            "test accuracy with minus without",
            [one["test accuracy"] - other["test accuracy"] for one, other in pairs],
            null_value=0.0,
        ),
        mean(
            "skip connections mean fewer saddles",
            "saddles with minus without",
            [one["number_of_saddles"] - other["number_of_saddles"] for one, other in pairs],
            null_value=0.0,
            alternative="less",
        ),
        mean(
            "skip connections mean a higher average persistence",
            "log10 of average persistence, with over without",
            [
                np.log10(one["average_persistence"] / other["average_persistence"])
                for one, other in pairs
            ],
            null_value=0.0,
        ),
        *(
            correlation(
                f"{model} {statement}",
                rows,
                quality,
                column,
                positive=larger_is_better == grows,
                by=("skip", "seed"),
            )
            for quality, (model, larger_is_better) in _QUALITIES.items()
            for column, (statement, grows) in _TOPOLOGY.items()
        ),
    ]


def _network(skip: str, seed: int, size: ExperimentSize) -> Network:
    small = {
        "quick": {"blocks": 1, "width": 4, "images": 64},
        "medium": {"blocks": 3, "width": 8, "images": 128},
        "full": {},
    }[size]
    epochs = {"quick": 4, "medium": 20, "full": 100}[size]

    def make() -> Problem:
        data = os.environ.get(CIFAR10, "")
        return resnet.make_problem(data=data, skip=skip == "yes", seed=seed, **small)

    steps = range(0, epochs + 1, max(1, epochs // 4))
    return Network({"skip": skip, "seed": seed}, make, partial(_train, seed=seed), steps)


def _train(problem: Problem, training: Training, progress: Progress, *, seed: int) -> Curves:
    """Train by SGD with momentum on the whole training set, not only on the images of the loss."""
    data = os.environ.get(CIFAR10, "")
    (inputs, labels), _ = resnet.cifar10(data) if data else resnet.digits()
    optimizer = torch.optim.SGD(problem.model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    return train_epochs(
        problem,
        training,
        progress,
        batches=shuffled_batches(TensorDataset(inputs, labels), 128, seed),
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
    figures=(("test accuracy", "number_of_saddles"), ("hessian_trace", "average_persistence")),
    data=CIFAR10,
    series=(
        "training loss",
        "test accuracy",
        "hessian_trace",
        "number_of_saddles",
        "average_persistence",
    ),
)
