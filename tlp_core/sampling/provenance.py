"""Everything that makes two landscapes comparable."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tlp_core.choices import BatchNorm
from tlp_core.directions.base import Directions
from tlp_core.model_state import hash_state, parameter_norm, trainable_parameters
from tlp_core.problem import Problem, evaluate_metrics, hash_batches
from tlp_core.version import __version__


def landscape_provenance(
    problem: Problem, directions: Directions, batch_norm: BatchNorm = "stored"
) -> dict[str, Any]:
    """Return the provenance of a landscape, as JSON values.

    Args:
        problem: model, loss and batches.
        directions: n directions.
        batch_norm: the statistics that batch norm uses.

    Raises:
        RuntimeError: if the problem's metrics fail.
    """
    parameter = next(iter(trainable_parameters(problem.model).values()))
    return {
        "problem": problem.name,
        **({"problem_file": problem.file} if problem.file else {}),
        "metrics": evaluate_metrics(problem),
        "method": directions.method,
        "normalization": directions.normalization,
        "seed": directions.seed,
        "eigenvalues": _or_none(directions.eigenvalues),
        "residuals": _or_none(directions.residuals),
        **directions.provenance,
        "parameter_norm": parameter_norm(problem.model),
        "checkpoint_hash": hash_state(problem.model),
        "batch_hash": hash_batches(problem),
        **({"other_losses": list(problem.other_batches)} if problem.other_batches else {}),
        "directions_hash": directions.digest(),
        "dtype": str(parameter.dtype).removeprefix("torch."),
        **({"autocast": problem.autocast} if problem.autocast else {}),
        "device": parameter.device.type,
        "batch_norm": batch_norm,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tlp_core": __version__,
        },
    }


def _or_none(values: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]
