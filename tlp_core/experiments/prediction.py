"""Prediction of the loss of networks by linear models that were fitted on other networks.

During every training, loss and descriptors change with the step, so they are correlated also where
neither tells anything about the other. A descriptor tells something if a model that knows step and
size of the network predicts better with the descriptor than without it, for networks that were not
fitted. More coefficients alone give no such gain: those that fit noise make the prediction of other
networks worse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.experiments.claims import spearman
from tlp_core.experiments.rows import Row, group_rows

Values = npt.NDArray[np.float64]

Column = Callable[[Row], float]
"""Function that returns a value of a row of the table; NaN if it has none."""

Features = Callable[[Row], Sequence[float]]
"""Function that returns the inputs of a linear model for a row of the table."""


def held_out_errors(
    rows: Sequence[Row], target: Column, features: Features, by: Sequence[str]
) -> dict[tuple[Any, ...], Values]:
    """Return the errors of predictions for each network by a model of all other networks.

    Args:
        rows: rows of the table, several for each network, with finite features and target.
        target: function that returns the predicted value of a row.
        features: inputs of the model; a constant is added.
        by: columns that identify a network. The networks that share them are left out together.

    Returns:
        Value minus prediction for the rows of each network (T,), by the values of ``by``. Empty for
        fewer than two networks.
    """
    groups = group_rows(rows, by)
    if len(groups) < 2:
        return {}
    inputs = {key: _matrix(group, features) for key, group in groups.items()}
    values = {key: _vector(group, target) for key, group in groups.items()}
    errors = {}
    for key in groups:
        others = [other for other in groups if other != key]
        errors[key] = _errors(
            np.concatenate([inputs[other] for other in others]),
            np.concatenate([values[other] for other in others]),
            inputs[key],
            values[key],
        )
    return errors


def prediction_errors(
    fitted: Sequence[Row], tested: Sequence[Row], target: Column, features: Features
) -> Values:
    """Return the errors of a linear model on rows that were not fitted.

    Args:
        fitted: rows to which the model is fitted by least squares.
        tested: rows that are predicted.
        target: function that returns the predicted value of a row.
        features: inputs of the model; a constant is added. An input that is constant in the fitted
            rows is left out: nothing can be known about it.

    Returns:
        Value minus prediction of each tested row, (T,).
    """
    return _errors(
        _matrix(fitted, features),
        _vector(fitted, target),
        _matrix(tested, features),
        _vector(tested, target),
    )


def _errors(inputs: Values, values: Values, others: Values, wanted: Values) -> Values:
    """Return the errors at other inputs of a model that is fitted to inputs and values."""
    center, scale = inputs.mean(axis=0), inputs.std(axis=0)
    varies = scale > 1e-9 * np.maximum(np.abs(center), 1e-300)

    def scaled(table: Values) -> Values:
        columns = (table[:, varies] - center[varies]) / scale[varies]
        return np.column_stack([np.ones(len(table)), columns])

    coefficients = np.linalg.lstsq(scaled(inputs), values, rcond=None)[0]
    return np.asarray(wanted - scaled(others) @ coefficients)


def held_out_gain(
    rows: Sequence[Row],
    target: Column,
    known: Features,
    column: Column,
    by: Sequence[str],
) -> dict[tuple[Any, ...], float]:
    """Return by how much a column improves the prediction of each network.

    Args:
        rows: rows of the table. Those with a non-finite target or column are omitted.
        target: function that returns the predicted value of a row.
        known: inputs of the model without the column.
        column: function that returns the value of the column.
        by: columns that identify a network.

    Returns:
        log2 of the root mean square error without the column over that with it, by network: 1 if
        the column halves the error, negative if the prediction is worse with it, as it is on
        average with a column that tells nothing. Empty if the column is constant.
    """
    kept = _finite_rows(rows, target, column)
    if _is_constant(kept, column):
        return {}
    without = held_out_errors(kept, target, known, by)
    with_it = held_out_errors(kept, target, lambda row: [*known(row), column(row)], by)
    return {key: float(np.log2(rms(without[key]) / rms(with_it[key]))) for key in without}


def partial_correlations(
    rows: Sequence[Row],
    target: Column,
    known: Features,
    column: Column,
    by: Sequence[str],
) -> list[float]:
    """Return the rank correlation of what is left of a target and of a column, for each network.

    Both are predicted by models of the other networks; the errors of these predictions are what is
    left.

    Args:
        rows: rows of the table. Those with a non-finite target or column are omitted.
        target: function that returns the first value of a row.
        known: inputs of both models.
        column: function that returns the second value.
        by: columns that identify a network.

    Returns:
        A correlation for each network. Empty if the column is constant.
    """
    kept = _finite_rows(rows, target, column)
    if _is_constant(kept, column):
        return []
    ones, others = (held_out_errors(kept, value, known, by) for value in (target, column))
    return [spearman(np.column_stack([ones[key], others[key]])) for key in ones]


def next_size_errors(
    rows: Sequence[Row],
    target: Column,
    predictors: Mapping[str, Features],
    *,
    size: str,
    by: Sequence[str],
) -> dict[str, dict[tuple[Any, ...], float]]:
    """Return the errors of predictions for the largest networks by models of the smaller ones.

    The errors of the networks of one size go together, because they share the model and the
    extrapolation: they show what a predictor is worth, and test nothing.

    Args:
        rows: rows of the table. All predictors are fitted to and tested on the rows in which the
            target and the inputs of all of them are finite.
        target: function that returns the predicted value of a row.
        predictors: inputs of the models by name. One that is finite in no row is left out.
        size: column of the size of a network.
        by: columns that identify a network of one size.

    Returns:
        Root mean square error over the rows of each network of the largest size, by predictor.
        Empty if there are fewer than two sizes below it, because one size tells nothing about the
        next.
    """
    finite = {
        name: np.isfinite(_matrix(rows, features)).all(axis=1)
        for name, features in predictors.items()
    }
    usable = [name for name in predictors if finite[name].any()]
    common = np.logical_and.reduce([finite[name] for name in usable], axis=0)
    kept = _finite_rows([row for row, has_all in zip(rows, common) if has_all], target)
    sizes = sorted({row[size] for row in kept})
    if len(sizes) < 3:
        return {}
    fitted = [row for row in kept if row[size] < sizes[-1]]
    tested = group_rows([row for row in kept if row[size] == sizes[-1]], by)
    return {
        name: {
            key: rms(prediction_errors(fitted, own, target, predictors[name]))
            for key, own in tested.items()
        }
        for name in usable
    }


def gains(errors: Mapping[Any, float], reference: Mapping[Any, float]) -> list[float]:
    """Return log2 of the reference's errors over others, for the networks that both have."""
    return [float(np.log2(reference[key] / errors[key])) for key in reference if key in errors]


def rms(errors: Values) -> float:
    """Return the root of the mean square of errors."""
    return float(np.sqrt(np.mean(np.square(errors))))


def _finite_rows(rows: Sequence[Row], *columns: Column) -> list[Row]:
    return [row for row in rows if all(np.isfinite(column(row)) for column in columns)]


def _is_constant(rows: Sequence[Row], column: Column) -> bool:
    return len({column(row) for row in rows}) < 2


def _vector(rows: Sequence[Row], target: Column) -> Values:
    return np.array([target(row) for row in rows], dtype=np.float64)


def _matrix(rows: Sequence[Row], features: Features) -> Values:
    return np.array([features(row) for row in rows], dtype=np.float64).reshape(len(rows), -1)
