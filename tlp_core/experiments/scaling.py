"""One character GPT at three widths: landscapes during training.

The experiment tests how the topology of the landscape depends on the loss and on the width.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from tlp_core.choices import ExperimentSize
from tlp_core.experiments.claims import Claim, correlation, correlation_within
from tlp_core.experiments.definition import LAST, Curves, Experiment, Look, Network, Training
from tlp_core.experiments.results import HALF_WIDTH, LOW_VOLUME
from tlp_core.experiments.rows import Row, group_rows
from tlp_core.experiments.transitions import (
    DESCRIPTORS,
    RandomSequences,
    change_dates,
    lag_claims,
    train_by_adam,
    transformer_looks,
)
from tlp_core.problem import Problem
from tlp_core.problems.transformer import character_gpt, encoded
from tlp_core.progress import Progress


def scaling_networks(size: ExperimentSize) -> list[Network]:
    """Return the networks of a size: a character GPT for each of three widths and each seed."""
    seeds = {"quick": 1, "medium": 3, "full": 5}[size]
    widths = (32, 64, 128) if size == "full" else (16, 32, 64)
    return [_gpt(width, seed, size) for width in widths for seed in range(seeds)]


def scaling_looks(size: ExperimentSize) -> list[Look]:
    """Return the looks of a size: the whole network, and the first and last block at the end."""
    resolution = {"quick": 7, "medium": 15, "full": 41}[size]
    parts = {"block0": "blocks.0.*", "block3": "blocks.3.*"}
    return transformer_looks(resolution, {} if size == "quick" else parts, steps=LAST)


def scaling_claims(rows: Sequence[Row]) -> list[Claim]:
    """Test how descriptors depend on the loss during training, and on the width at its end.

    Args:
        rows: rows of the table of descriptors.
    """
    results = []
    for (look,), look_rows in group_rows(rows, ["look"]).items():
        last = [row for row in look_rows if row["step"] == max(r["step"] for r in look_rows)]
        results += [
            correlation(
                f"a larger network has {statement} ({look})", last, "width", column, claimed=sign
            )
            for column, (statement, sign) in DESCRIPTORS.items()
        ]
        if len(look_rows) > len(last):
            results += [
                correlation_within(
                    f"as the validation loss falls, the landscape gets {statement} ({look})",
                    look_rows,
                    "validation loss",
                    column,
                    ("width", "seed"),
                    claimed="negative" if sign == "positive" else "positive",
                )
                for column, (statement, sign) in DESCRIPTORS.items()
            ]
            results += lag_claims(look_rows, "validation loss", ("width", "seed"), logarithmic=True)
    return results


def _gpt(width: int, seed: int, size: ExperimentSize) -> Network:
    last = {"quick": 120, "medium": 1000, "full": 10_000}[size]
    sequences = {"quick": 16, "medium": 32, "full": 256}[size]
    checkpoints = {"quick": 8, "medium": 12, "full": 24}[size]

    def make() -> Problem:
        return character_gpt(width=width, sequences=sequences, seed=seed)

    steps = [0, *np.geomspace(last / 100, last, checkpoints).round().astype(int).tolist()]
    return Network({"width": width, "seed": seed}, make, partial(_train_gpt, seed=seed), steps)


def _train_gpt(problem: Problem, training: Training, progress: Progress, *, seed: int) -> Curves:
    """Train on random sequences from the first nine tenths of the text."""
    codes, _ = encoded("")
    codes = codes[: len(codes) * 9 // 10]
    sequences = RandomSequences(
        codes, next(iter(problem.batches)).shape[1], 32, seed, problem.model
    )
    return train_by_adam(
        problem, training, progress, learning_rate=1e-3, weight_decay=0.1, sequences=sequences
    )


SCALING = Experiment(
    "One GPT at three sizes",
    scaling_networks,
    scaling_looks,
    scaling_claims,
    rows="width",
    columns="step",
    figures=(("validation loss", "number_of_minima"), ("validation loss", HALF_WIDTH)),
    series=(
        "training loss",
        "validation loss",
        "number_of_minima",
        HALF_WIDTH,
        LOW_VOLUME,
        "top_eigenvalue",
    ),
    dates=partial(change_dates, event="validation loss", names=("width", "seed")),
)
