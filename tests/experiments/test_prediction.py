"""Predictions of networks that were not fitted: gains of known size, and none for noise."""

import numpy as np
import pytest

from tlp_core.experiments.claims import correct_claims
from tlp_core.experiments.prediction import (
    gains,
    held_out_errors,
    held_out_gain,
    next_size_errors,
    partial_correlations,
    prediction_errors,
)
from tlp_core.experiments.scaling import scaling_claims, scaling_networks

WIDTHS, RATES, STEPS = (16, 32, 64), (1, 2, 3, 4, 5, 6, 7, 8), range(0, 1000, 20)


def target(row):
    return row["y"]


def known(row):
    return [row["step"], row["width"]]


def networks(seed, descriptor):
    """Rows of 24 networks: the target falls with the step, and differs between the networks."""
    rng, rows = np.random.default_rng(seed), []
    for width in WIDTHS:
        for rate in RATES:
            own, walk = rng.normal(), np.cumsum(rng.normal(size=len(STEPS)))
            for step, place in zip(STEPS, walk):
                y = 5 - step / 200 - width / 50 + own + 0.1 * rng.normal()
                row = {"width": width, "rate": rate, "seed": 0, "step": step, "y": y}
                rows.append({**row, "d": descriptor(rng, own, step, place)})
    return rows


def gain(rows):
    found = held_out_gain(rows, target, known, lambda row: row["d"], ("width", "rate"))
    return np.array(list(found.values()))


def test_a_descriptor_that_tells_a_network_apart_improves_the_prediction():
    rows = networks(0, lambda rng, own, step, walk: own - step / 100)
    found = gain(rows)
    assert len(found) == 24
    assert np.median(found) > 2  # the error falls from 1 to the noise of 0.1


@pytest.mark.parametrize(
    "descriptor",
    [
        lambda rng, own, step, walk: step + 10 * rng.normal(),
        lambda rng, own, step, walk: rng.normal(),
        lambda rng, own, step, walk: walk,
    ],
)
def test_a_descriptor_that_only_follows_the_step_gains_nothing(descriptor):
    """Along each training, the first one's rank correlation with the target is -1."""
    assert np.median(gain(networks(1, descriptor))) < 0.05


def test_the_rows_of_a_network_do_not_predict_it():
    """With them, the target of each network is known from its own mean."""
    rows = networks(2, lambda rng, own, step, walk: 0.0)
    names = {
        (width, rate): i for i, (width, rate) in enumerate((w, r) for w in WIDTHS for r in RATES)
    }

    def one_hot(row):
        mine = np.zeros(len(names))
        mine[names[row["width"], row["rate"]]] = 1
        return [*known(row), *mine]

    own = prediction_errors(rows, rows, target, one_hot)
    others = held_out_errors(rows, target, one_hot, ("width", "rate"))
    assert np.std(own) < 0.15
    assert np.std(np.concatenate(list(others.values()))) > 0.5


def test_partial_correlations_leave_out_what_step_and_width_explain():
    hidden = networks(3, lambda rng, own, step, walk: step / 50 + walk)
    for row in hidden:
        row["y"] += row["d"] - row["step"] / 50  # the walk is in both
    columns = (target, known, lambda row: row["d"], ("width", "rate"))
    assert np.mean(partial_correlations(hidden, *columns)) > 0.9
    only_trend = networks(4, lambda rng, own, step, walk: step + rng.normal())
    assert abs(np.mean(partial_correlations(only_trend, *columns))) < 0.15


def test_the_next_size_is_predicted_from_the_smaller_ones():
    rows = networks(5, lambda rng, own, step, walk: own)
    options = {"size": "width", "by": ("rate",)}
    law = next_size_errors(rows, target, known, **options)
    best = next_size_errors(rows, target, lambda row: [*known(row), row["d"]], **options)
    assert sorted(law) == [(rate,) for rate in RATES]
    assert max(best.values()) < 0.15
    assert np.median(gains(best, law)) > 1
    largest = [row for row in rows if row["width"] > 16]
    assert next_size_errors(largest, target, known, **options) == {}  # one size to fit


def test_undefined_and_constant_columns_gain_nothing():
    rows = networks(6, lambda rng, own, step, walk: own)
    assert gain([{**row, "d": np.nan} for row in rows]).size == 0
    assert gain([{**row, "d": 3.0} for row in rows]).size == 0
    some = [{**row, "d": np.nan if row["rate"] == 1 else row["d"]} for row in rows]
    assert len(gain(some)) == 21


def scaling_rows(seed=0, *, spikes=()):
    """Rows whose half-width tells the loss; nothing else does."""
    rng, rows = np.random.default_rng(seed), []
    for width in WIDTHS:
        for rate in RATES:
            own = 0.3 * rng.normal()
            for place, step in enumerate(STEPS):
                loss = np.exp(1 - 0.1 * np.log(step + 1) - 0.1 * np.log(width) + own)
                basin = np.exp(own + 0.05 * rng.normal())
                row = {
                    "width": width,
                    "rate": rate,
                    "seed": 0,
                    "step": step,
                    "look": "2D",
                    "validation loss": loss,
                    "training loss": 2 + 0.1 * rng.normal(),
                    "spike": 2.0 if place - 1 in spikes else 0.1,
                    "half-width": basin * (0.5 if place in spikes else 1),
                    "volume below half the rise": rng.random(),
                    "top_eigenvalue": rng.normal() / basin,
                    "critical sharpness": rng.random() + 0.1,
                    "alpha": rng.random(),
                }
                wide = {"number_of_minima": 1 + rng.integers(3), "total_finite_persistence": 0.0}
                shared = ("width", "rate", "seed", "step", "validation loss", "training loss")
                rows.append(row)
                rows.append({**{name: row[name] for name in shared}, "look": "2D-wide", **wide})
    return rows


def verdicts(rows):
    return {claim.text: claim for claim in correct_claims(scaling_claims(rows))}


def test_what_tells_of_the_loss_is_claimed_and_nothing_else():
    found = verdicts(scaling_rows())
    beyond = " tells of the validation loss beyond step and width"
    claims = {text.removesuffix(beyond): each for text, each in found.items() if beyond in text}
    assert claims.pop("half-width of a rise of 1").verdict == "holds"
    assert claims.pop("total finite persistence").count == 0
    assert len(claims) == 5
    assert all(each.value < 0.05 for each in claims.values())
    better = "with the landscape, the loss of the next size is predicted better than by the "
    assert (found[better + "power law"].verdict, found[better + "power law"].count) == ("holds", 8)
    for name in ("power law with α", "power law with the training loss"):
        assert found[better + name].verdict == "shown"
        assert found[better + name].low > 0


def test_a_basin_that_is_narrow_before_spikes_is_found():
    text = "a narrower basin before a spike of the training loss"
    claim = verdicts(scaling_rows(spikes=(20, 33)))[text]
    assert (claim.verdict, claim.count) == ("holds", 24)
    assert claim.value == pytest.approx(np.log(0.5), abs=0.05)
    assert verdicts(scaling_rows())[text].count == 0


def test_the_medium_study_has_a_hundred_checkpoints_of_three_widths_and_eight_rates():
    networks = scaling_networks("medium")
    assert len(networks) == 24
    for network in networks:
        steps = np.array(network.steps)
        assert (len(steps), steps[0], steps[-1]) == (101, 0, 1000)
        assert (np.diff(steps) > 0).all()
