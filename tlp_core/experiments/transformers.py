"""Transformers along their training: grokking (Power et al. 2022), and one GPT at three sizes.

The question: does the topology of the landscape announce the transition, follow it, or neither?
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tlp_core.experiments.claims import Claim, Row, correlation, mean
from tlp_core.experiments.experiment import (
    Curves,
    Experiment,
    Look,
    Network,
    Size,
    Training,
    series_by,
)
from tlp_core.problem import Problem
from tlp_core.problems.transformer import adam_steps, character_gpt, encoded, modular_addition
from tlp_core.progress import Progress
from tlp_core.transitions import find_transitions

DESCRIPTORS = ("number_of_minima", "average_persistence", "global_minimum_depth", "top_eigenvalue")

_SIGNIFICANCE = 0.05


def grokking_networks(size: Size) -> list[Network]:
    """Return the same network for several seeds; in full size that of Nanda et al. 2023."""
    seeds = {"quick": 1, "medium": 5, "full": 5}[size]
    return [_grokking_network(seed, size) for seed in range(seeds)]


def grokking_looks(size: Size) -> list[Look]:
    """Return landscapes of the whole network, of its attention and of its feed-forward layer."""
    resolution = {"quick": 11, "medium": 21, "full": 41}[size]
    parts = {"attention": "blocks.0.attention.*", "feed-forward": "blocks.0.feed.*"}
    return _looks(resolution, {} if size == "quick" else parts)


def grokking_claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Answer when descriptors jump, beside the jump of the test accuracy, over the seeds."""
    answers = []
    for look in dict.fromkeys(row["look"] for row in rows):
        seen = [row for row in rows if row["look"] == look]
        jumps = _jumps(seen, "test accuracy")
        for column in DESCRIPTORS:
            nearest = _jumps(seen, column)
            lags = [
                min((step - at for step in nearest[seed]), key=abs, default=np.nan)
                for seed, dates in jumps.items()
                for at in dates[:1]
            ]
            answers.append(
                mean(
                    f"{column} announces the transition ({look})",
                    f"steps from the jump of the test accuracy to its nearest jump "
                    f"({np.isfinite(lags).sum()} of {len(jumps)} seeds have both)",
                    lags,
                    nothing=0.0,
                    above=False,
                )
            )
    return answers


def scaling_networks(size: Size) -> list[Network]:
    """Return one character GPT at three widths."""
    seeds = {"quick": 1, "medium": 3, "full": 5}[size]
    return [_gpt(width, seed, size) for width in (32, 64, 128) for seed in range(seeds)]


def scaling_looks(size: Size) -> list[Look]:
    """Return landscapes of the whole network, and of its first and last block."""
    resolution = {"quick": 7, "medium": 15, "full": 41}[size]
    parts = {"block0": "blocks.0.*", "block3": "blocks.3.*"}
    return _looks(resolution, {} if size == "quick" else parts)


def scaling_claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Answer how descriptors go with the loss along training, and with the size at its end."""
    answers = []
    for look in dict.fromkeys(row["look"] for row in rows):
        seen = [row for row in rows if row["look"] == look]
        last = [row for row in seen if row["step"] == max(r["step"] for r in seen)]
        for column in DESCRIPTORS:
            answers.append(
                correlation(
                    f"a lower validation loss has a simpler landscape ({look})",
                    seen,
                    "validation loss",
                    column,
                )
            )
            answers.append(
                correlation(
                    f"a larger network has a simpler landscape ({look})",
                    last,
                    "width",
                    column,
                    positive=False,
                )
            )
    return answers


def _looks(resolution: int, parts: Mapping[str, str]) -> list[Look]:
    """Return landscapes of a whole network, and of parts by patterns of their names."""
    return [
        Look(name, 2, resolution, 0.5, normalization="layer", parameters=pattern)
        for name, pattern in (("2D", None), *parts.items())
    ]


def _jumps(rows: list[Row], column: str) -> dict[float | str, list[float]]:
    """Return the steps at which a column jumps, for each seed."""
    found = {}
    for (seed,), (steps, values) in series_by(rows, column, "seed").items():
        few = np.isfinite(values).sum() < 6
        changes = () if few else find_transitions(values, steps, significance=_SIGNIFICANCE)
        found[seed] = [change.step for change in changes]
    return found


def _grokking_network(seed: int, size: Size) -> Network:
    small = {"p": 31, "width": 64, "train_share": 0.5}
    arguments = {} if size == "full" else small
    steps = 40_000 if size == "full" else 3000
    rate = 1e-3 if size == "full" else 3e-3

    def make() -> Problem:
        return modular_addition(**arguments, seed=seed)  # type: ignore[arg-type]

    return Network({"seed": seed}, make, partial(_train_grokking, steps=steps, rate=rate))


def _train_grokking(
    problem: Problem, training: Training, progress: Progress, *, steps: int, rate: float
) -> Curves:
    curves: dict[str, list[float]] = {"step": [], "training loss": [], "test accuracy": []}
    between = steps // 20
    for step, loss in adam_steps(problem, steps, learning_rate=rate, weight_decay=1.0):
        if step % between == 0:
            metrics = dict(problem.metrics(problem.model))
            training.save(problem, step, training_loss=loss)
            for name, value in zip(curves, (step, loss, metrics["test accuracy"])):
                curves[name].append(value)
            progress(step / steps, f"loss {loss:.2g}, accuracy {metrics['test accuracy']:.2f}")
    return curves


def _gpt(width: int, seed: int, size: Size) -> Network:
    steps = {"quick": 120, "medium": 600, "full": 5000}[size]
    sequences = {"quick": 16, "medium": 64, "full": 256}[size]

    def make() -> Problem:
        return character_gpt(width=width, sequences=sequences, seed=seed)

    train = partial(_train_gpt, steps=steps, seed=seed)
    return Network({"width": width, "seed": seed}, make, train)


def _train_gpt(
    problem: Problem, training: Training, progress: Progress, *, steps: int, seed: int
) -> Curves:
    """Train on sequences from anywhere in the first nine tenths of the text."""
    codes, _ = encoded("")
    codes = codes[: len(codes) * 9 // 10]
    length = next(iter(problem.batches)).shape[1] - 1
    generator = torch.Generator().manual_seed(seed)

    def batch(_step: int) -> torch.Tensor:
        starts = torch.randint(len(codes) - length, (32,), generator=generator).tolist()
        return torch.stack([codes[start : start + length + 1] for start in starts])

    curves: dict[str, list[float]] = {"step": [], "training loss": []}
    between = steps // 6
    for step, loss in adam_steps(
        problem, steps, learning_rate=1e-3, weight_decay=0.1, batches=batch
    ):
        curves["step"].append(step)
        curves["training loss"].append(loss)
        if step % between == 0:
            training.save(problem, step, training_loss=loss)
        progress(step / steps, f"loss {loss:.2f}")
    return curves


GROKKING = Experiment(
    "Grokking modular addition",
    grokking_networks,
    grokking_looks,
    grokking_claims,
    rows="seed",
    columns="step",
    figures=(("step", "test accuracy"), ("step", "global_minimum_depth")),
)
SCALING = Experiment(
    "One GPT at three sizes",
    scaling_networks,
    scaling_looks,
    scaling_claims,
    rows="width",
    columns="step",
    figures=(("step", "validation loss"), ("validation loss", "number_of_minima")),
)
