"""Experiments: transformers during training, namely grokking (Power et al. 2022) and a GPT.

The experiments test whether the topology of the landscape changes before or after the transition
of the training. The GPT is trained at three widths.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tlp_core.analysis.change_points import MINIMUM_POINTS, find_transitions
from tlp_core.experiments import Size
from tlp_core.experiments.claims import Claim, correlation, correlation_within, mean
from tlp_core.experiments.definition import (
    Curves,
    Experiment,
    Look,
    Network,
    Training,
)
from tlp_core.experiments.results import series_by
from tlp_core.experiments.rows import Row, grouped
from tlp_core.problem import Problem, matched
from tlp_core.problems.transformer import adam_steps, character_gpt, encoded, modular_addition
from tlp_core.progress import Progress

DESCRIPTORS = {
    "number_of_minima": ("fewer minima", False),
    "global_minimum_depth": ("a deeper basin", True),
    "width_at_half_depth": ("a wider basin", True),
    "top_eigenvalue": ("a flatter minimum", False),
}
"""Columns: the claim on a better network, and whether the column grows with the quality."""

_SIGNIFICANCE = 0.05
"""Largest p-value of a transition."""


def grokking_networks(size: Size) -> list[Network]:
    """Return the grokking networks of a size: one for each seed; ``full`` is Nanda et al. 2023."""
    seeds = {"quick": 1, "medium": 5, "full": 5}[size]
    return [_grokking_network(seed, size) for seed in range(seeds)]


def grokking_looks(size: Size) -> list[Look]:
    """Return the looks of a size: the whole network, its attention, its feed-forward layer."""
    resolution = {"quick": 11, "medium": 21, "full": 41}[size]
    parts = {"attention": "blocks.0.attention.*", "feed-forward": "blocks.0.feed.*"}
    return _looks(resolution, 0.2, {} if size == "quick" else parts)


def grokking_claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Test whether descriptors change before the test accuracy does, over the seeds.

    Args:
        rows: rows of the table of descriptors.
        _folder: folder of the experiment; not used.
    """
    return [
        claim
        for look_rows in grouped(rows, ["look"]).values()
        for claim in _lag_claims(look_rows, "test accuracy", "seed")
    ]


def scaling_networks(size: Size) -> list[Network]:
    """Return the networks of a size: a character GPT for each of three widths and each seed."""
    seeds = {"quick": 1, "medium": 3, "full": 5}[size]
    widths = (32, 64, 128) if size == "full" else (16, 32, 64)
    return [_gpt(width, seed, size) for width in widths for seed in range(seeds)]


def scaling_looks(size: Size) -> list[Look]:
    """Return the looks of a size: the whole network, and the first and last block at the end."""
    resolution = {"quick": 7, "medium": 15, "full": 41}[size]
    parts = {"block0": "blocks.0.*", "block3": "blocks.3.*"}
    return _looks(resolution, 0.05, {} if size == "quick" else parts, last_only=True)


def scaling_claims(rows: list[Row], _folder: Path) -> list[Claim]:
    """Test how descriptors depend on the loss during training, and on the width at its end.

    Args:
        rows: rows of the table of descriptors.
        _folder: folder of the experiment; not used.
    """
    results = []
    for (look,), look_rows in grouped(rows, ["look"]).items():
        last = [row for row in look_rows if row["step"] == max(r["step"] for r in look_rows)]
        results += [
            correlation(
                f"a larger network has {statement} ({look})", last, "width", column, positive=grows
            )
            for column, (statement, grows) in DESCRIPTORS.items()
        ]
        if len(look_rows) > len(last):
            results += [
                correlation_within(
                    f"as the validation loss falls, the landscape gets {statement} ({look})",
                    look_rows,
                    "validation loss",
                    column,
                    ("width", "seed"),
                    positive=not grows,
                )
                for column, (statement, grows) in DESCRIPTORS.items()
            ]
            results += _lag_claims(look_rows, "validation loss", "width", "seed", logarithmic=True)
    return results


def _looks(
    resolution: int, distance: float, parts: Mapping[str, str], *, last_only: bool = False
) -> list[Look]:
    """Return looks at the whole network and at parts of it, given by patterns of parameter names.

    The distances were found by trial. They are large enough that losses exceed those of the
    untrained network, and small enough that the neighbours of the centre are in its basin.
    """
    whole = Look("2D", 2, resolution, distance, normalization="layer")
    return [
        whole,
        *(
            replace(whole, name=name, parameters=pattern, last_only=last_only)
            for name, pattern in parts.items()
        ),
    ]


def _lag_claims(rows: list[Row], event: str, *names: str, logarithmic: bool = False) -> list[Claim]:
    """Test whether each descriptor changes before a column of the table does.

    Args:
        rows: rows of one look.
        event: column whose change is the transition.
        names: columns that identify a network.
        logarithmic: measure lags in orders of magnitude, for steps on a logarithmic scale.
            Default: False.
    """
    transitions = _change_steps(rows, event, *names)
    unit = "orders of magnitude in steps" if logarithmic else "steps"
    results = []
    for column in DESCRIPTORS:
        changes = _change_steps(rows, column, *names)
        pairs = np.array([(changes[network], step) for network, step in transitions.items()])
        both = np.isfinite(pairs).all(axis=1)
        scaled = np.log10(np.maximum(pairs, 1)) if logarithmic else pairs
        results.append(
            mean(
                f"{column} announces the transition ({rows[0]['look']})",
                f"{unit} from the change of the {event} to its own "
                f"({both.sum()} of {len(pairs)} networks have both)",
                scaled[:, 0] - scaled[:, 1],
                null_value=0.0,
                alternative="less",
            )
        )
    return results


def _change_steps(rows: list[Row], column: str, *names: str) -> dict[tuple[Any, ...], float]:
    """Return the step at which a column changes, for each network.

    The largest significant transition defines the levels before and after the change. The change is
    at the step, nearest to the transition, at which the series crosses the middle between the two
    levels. It is NaN if no transition is significant.
    """
    changes = {}
    for network, (steps, values) in series_by(rows, column, *names).items():
        finite = np.isfinite(values)
        steps, values = steps[finite], values[finite]
        too_few = len(values) < MINIMUM_POINTS
        found = () if too_few else find_transitions(values, steps, significance=_SIGNIFICANCE)
        changes[network] = np.nan
        if found:
            largest = max(found, key=lambda change: abs(change.after - change.before))
            middle = (largest.before + largest.after) / 2
            is_after = (values > middle) == (largest.after > largest.before)
            crossings = np.flatnonzero(is_after[1:] & ~is_after[:-1]) + 1
            changes[network] = steps[crossings[np.abs(crossings - largest.index).argmin()]]
    return changes


def _grokking_network(seed: int, size: Size) -> Network:
    small = {"p": 31, "width": 64, "train_share": 0.5}
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
    steps = adam_steps(problem, training.steps[-1], learning_rate=rate, weight_decay=1.0)
    return _save_checkpoints(problem, training, progress, steps)


def _gpt(width: int, seed: int, size: Size) -> Network:
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
    length = next(iter(problem.batches)).shape[1] - 1
    generator = torch.Generator().manual_seed(seed)

    def batch(_step: int) -> torch.Tensor:
        starts = torch.randint(len(codes) - length, (32,), generator=generator).tolist()
        sequences = torch.stack([codes[start : start + length + 1] for start in starts])
        return matched(sequences, problem.model)

    steps = adam_steps(
        problem, training.steps[-1], learning_rate=1e-3, weight_decay=0.1, batches=batch
    )
    return _save_checkpoints(problem, training, progress, steps)


def _save_checkpoints(
    problem: Problem, training: Training, progress: Progress, steps: Iterable[tuple[int, float]]
) -> Curves:
    """Run a training, save its checkpoints, and return its loss at each step."""
    losses = []
    for step, loss in steps:
        losses.append(loss)
        if step in training.steps:
            training.save(problem, step, {"training loss": loss})
        progress(step / training.steps[-1], f"loss {loss:.2g}")
    return {"training loss": losses}


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
SCALING = Experiment(
    "One GPT at three sizes",
    scaling_networks,
    scaling_looks,
    scaling_claims,
    rows="width",
    columns="step",
    figures=(("validation loss", "number_of_minima"), ("validation loss", "width_at_half_depth")),
    series=(
        "training loss",
        "validation loss",
        "number_of_minima",
        "global_minimum_depth",
        "width_at_half_depth",
        "top_eigenvalue",
    ),
)
