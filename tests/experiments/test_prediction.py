"""Predictions of networks that were not fitted: gains of known size, and none for noise."""

import numpy as np
import pytest

from tlp_core.experiments.claims import correct_claims, gain
from tlp_core.experiments.prediction import (
    gains,
    held_out_errors,
    held_out_gain,
    next_size_errors,
    partial_correlations,
    prediction_errors,
)
from tlp_core.experiments.scaling import (
    errors_on_the_next_size,
    scaling_claims,
    scaling_networks,
    spike_claims,
)
from tlp_core.experiments.transitions import largest_rise

WIDTHS, RATES, STEPS = (16, 32, 64), (1, 2, 3, 4, 5, 6, 7, 8), range(0, 1000, 20)
BEYOND = " tells of the validation loss beyond step, width and learning rate"


def target(row):
    return row["y"]


def column(row):
    return row["d"]


def known(row):
    return [row["step"], row["width"]]


def networks(seed, descriptor):
    """Rows of 24 networks: the target falls with the step, and differs between the networks."""
    rng, rows = np.random.default_rng(seed), []
    for width in WIDTHS:
        for rate in RATES:
            own, walk = rng.normal(), np.cumsum(rng.normal(size=len(STEPS)))
            for step, place in zip(STEPS[::2], walk):
                y = 5 - step / 200 - width / 50 + own + 0.1 * rng.normal()
                row = {"width": width, "rate": rate, "seed": 0, "step": step, "y": y}
                rows.append({**row, "d": descriptor(rng, own, step, place)})
    return rows


def gained(rows):
    return np.array([*held_out_gain(rows, target, known, column, ("width", "rate")).values()])


def test_a_descriptor_that_tells_a_network_apart_improves_the_prediction():
    found = gained(networks(0, lambda rng, own, step, walk: own - step / 100))
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
    assert np.median(gained(networks(1, descriptor))) < 0.15


def test_a_descriptor_that_tells_nothing_is_rarely_decided():
    """Its expected gain is negative, so that neither 'holds' nor 'does not hold' may follow."""
    decided = 0
    for seed in range(12):
        rng = np.random.default_rng(1000 + seed)
        levels = {(width, rate): rng.normal() for width in WIDTHS for rate in RATES}
        rows = networks(seed, lambda rng, own, step, walk: 0.0)
        for row in rows:
            row["d"] = levels[row["width"], row["rate"]] + 0.3 * rng.normal()
        (claim,) = correct_claims([gain("", "", gained(rows))])
        assert claim.verdict != "does not hold"
        decided += claim.verdict == "holds"
    assert decided <= 1


def test_the_rows_of_a_network_do_not_predict_it():
    """With them, the target of each network is known from its own mean."""
    rows = networks(2, lambda rng, own, step, walk: 0.0)
    settings = [(width, rate) for width in WIDTHS for rate in RATES]

    def one_hot(row):
        mine = np.zeros(len(settings))
        mine[settings.index((row["width"], row["rate"]))] = 1
        return [*known(row), *mine]

    own = prediction_errors(rows, rows, target, one_hot)
    others = held_out_errors(rows, target, one_hot, ("width", "rate"))
    assert np.std(own) < 0.15
    assert np.std(np.concatenate(list(others.values()))) > 0.5


def test_partial_correlations_leave_out_what_step_and_width_explain():
    hidden = networks(3, lambda rng, own, step, walk: step / 50 + walk)
    for row in hidden:
        row["y"] += row["d"] - row["step"] / 50  # the walk is in both
    arguments = (target, known, column, ("width", "rate"))
    assert np.mean(partial_correlations(hidden, *arguments)) > 0.9
    only_trend = networks(4, lambda rng, own, step, walk: step + rng.normal())
    assert abs(np.mean(partial_correlations(only_trend, *arguments))) < 0.15
    constant = [{**row, "d": 3.0} for row in hidden]
    assert partial_correlations(constant, *arguments) == []


def test_the_next_size_is_predicted_from_the_smaller_ones():
    rows = networks(5, lambda rng, own, step, walk: own)
    predictors = {"law": known, "both": lambda row: [*known(row), row["d"]]}
    options = {"size": "width", "by": ("rate",)}
    found = next_size_errors(rows, target, predictors, **options)
    assert sorted(found["law"]) == [(rate,) for rate in RATES]
    assert max(found["both"].values()) < 0.15
    assert np.median(gains(found["both"], found["law"])) > 1
    largest = [row for row in rows if row["width"] > 16]
    assert next_size_errors(largest, target, predictors, **options) == {}  # one size to fit


def test_predictors_are_compared_on_the_same_rows():
    """Else one that is undefined where the target is noisy would look better."""
    rng = np.random.default_rng(7)
    rows = networks(7, lambda rng, own, step, walk: 0.0)
    for row in rows:
        is_noisy = rng.random() < 0.5
        row["y"] += 5 * rng.normal() * is_noisy
        row["d"] = np.nan if is_noisy else rng.normal()
    predictors = {
        "law": known,
        "noise": lambda row: [*known(row), row["d"]],
        "never": lambda row: [np.nan],
    }
    found = next_size_errors(rows, target, predictors, size="width", by=("rate",))
    assert set(found) == {"law", "noise"}
    assert abs(np.mean(gains(found["noise"], found["law"]))) < 0.1


def test_undefined_and_constant_columns_gain_nothing():
    rows = networks(6, lambda rng, own, step, walk: own)
    assert gained([{**row, "d": np.nan} for row in rows]).size == 0
    assert gained([{**row, "d": 3.0} for row in rows]).size == 0
    some = [{**row, "d": np.nan if row["rate"] == 1 else row["d"]} for row in rows]
    assert len(gained(some)) == 21
    rows[0]["y"] = np.nan
    assert len(gained(rows)) == 24
    assert np.isfinite(gained(rows)).all()


def test_a_rise_is_counted_from_the_median_before_it():
    losses = [2.0] * 30
    losses[25] = 3.0
    assert largest_rise(losses, 10) == 1.0
    assert largest_rise(losses, 4) == 0.0
    assert largest_rise(losses[:1], 1) == 0.0
    assert largest_rise([5.0, 4.0, 4.5], 3) == pytest.approx(0.0)


def scaling_rows(
    seed=0, *, knows_loss=True, by_rate=False, narrow=(), wider_after=None, spikes=(), seeds=1
):
    """Rows of a study. Only the half-width tells the loss, unless it knows the rate only."""
    rng, rows = np.random.default_rng(seed), []
    for width in WIDTHS:
        for rate in (1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1, 3e-1):
            own = 0.1 * np.log(rate) if by_rate else 0.3 * rng.normal()
            for number in range(seeds):
                for place, step in enumerate(STEPS):
                    law = 1 - 0.1 * np.log(step + 1) - 0.1 * np.log(width)
                    log_width = own if knows_loss else 0.5 * np.log(rate) * by_rate
                    basin = np.exp(log_width + 0.05 * rng.normal())
                    basin *= 0.5 if place in narrow else 1
                    basin *= 1.5 if wider_after is not None and place > wider_after else 1
                    eigenvalue = 2 / rate if by_rate else rng.normal()
                    shared = {
                        "width": width,
                        "rate": rate,
                        "seed": number,
                        "step": step,
                        "validation loss": np.exp(law + own + 0.01 * rng.normal()),
                        "training loss": 2 + 0.1 * rng.normal(),
                    }
                    descriptors = {
                        "look": "2D",
                        "loss on fixed sequences": np.exp(law + 0.3 * rng.normal()),
                        "spike": 2.0 if place in spikes else 0.1,
                        "half-width": basin,
                        "volume below half the rise": rng.random(),
                        "top_eigenvalue": eigenvalue * np.exp(0.05 * rng.normal()),
                        "critical sharpness": rng.random() + 0.1,
                        "alpha": rng.random(),
                    }
                    wide = {
                        "look": "2D-wide",
                        "number_of_minima": 1 + rng.integers(3),
                        "total_finite_persistence": 0.0,
                    }
                    rows += [{**shared, **descriptors}, {**shared, **wide}]
    return rows


def claims_of(rows):
    return {claim.text: claim for claim in correct_claims(scaling_claims(rows))}


@pytest.fixture(scope="module")
def plain():
    """A study without spikes, and its claims."""
    rows = scaling_rows()
    return rows, claims_of(rows)


def test_what_tells_of_the_loss_is_claimed_and_nothing_else(plain):
    _, found = plain
    beyond = {text.removesuffix(BEYOND): each for text, each in found.items() if BEYOND in text}
    assert beyond.pop("half-width of a rise of 1").verdict == "holds"
    assert beyond.pop("total finite persistence").count == 0
    assert len(beyond) == 5
    assert all(each.verdict in ("undecided", "shown") for each in beyond.values())


def test_what_only_knows_the_learning_rate_tells_nothing():
    """The loss depends on the rate, and so do half-width and top eigenvalue, apart from noise."""
    found = claims_of(scaling_rows(knows_loss=False, by_rate=True))
    for name in ("half-width of a rise of 1", "top eigenvalue"):
        assert found[name + BEYOND].verdict == "undecided"


def test_the_next_size_is_shown_beside_other_predictors(plain):
    rows, found = plain
    for name in ("power law in step and width", "law in step, width and rate"):
        text = f"the landscape beside the law predicts the loss of the next size, against {name}"
        assert found[text].verdict == "shown"  # eight networks share one extrapolation
        assert (found[text].count, found[text].value > 1) == (8, True)
    errors = errors_on_the_next_size([row for row in rows if row["look"] == "2D"])
    assert len(errors) == 8
    without = [{k: v for k, v in row.items() if k != "alpha"} for row in rows]
    assert len(errors_on_the_next_size([row for row in without if row["look"] == "2D"])) == 6


SPIKES = "a narrower basin before a spike of the training loss"


def on_spikes(rows):
    """The claim on half-widths before spikes, without the other claims, which take a second."""
    by_rise = [row for row in rows if row["look"] == "2D"]
    return next(claim for claim in correct_claims(spike_claims(by_rise)) if claim.text == SPIKES)


def test_a_basin_that_is_narrow_before_spikes_is_found(plain):
    claim = on_spikes(scaling_rows(narrow=(20, 33), spikes=(21, 34)))
    assert (claim.verdict, claim.count) == ("holds", 24)
    assert claim.value == pytest.approx(np.log(0.5), abs=0.05)
    assert plain[1][SPIKES].count == 0


def test_seeds_of_a_setting_are_one_case():
    claim = on_spikes(scaling_rows(narrow=(20,), spikes=(21,), seeds=2))
    assert claim.count == 24


def test_a_basin_that_widens_after_a_spike_was_not_narrow_before_it():
    claim = on_spikes(scaling_rows(wider_after=20, spikes=(21, 22, 23)))
    assert claim.count == 24
    assert abs(claim.value) < 0.06
    assert claim.verdict == "undecided"


def test_an_undefined_half_width_beside_a_spike_removes_no_training():
    rows = scaling_rows(narrow=(20,), spikes=(21,))
    for row in rows:
        if row["step"] == STEPS[18] and row["look"] == "2D":
            row["half-width"] = np.nan
    assert on_spikes(rows).count == 24


def test_the_medium_study_has_a_hundred_checkpoints_of_three_widths_and_eight_rates():
    studied = scaling_networks("medium")
    assert len(studied) == 24
    for network in studied:
        steps = np.array(network.steps)
        assert (len(steps), steps[0], steps[-1]) == (101, 0, 1000)
        assert (np.diff(steps) > 0).all()


def test_networks_of_all_widths_see_the_same_sequences():
    """Else their losses differ by the sequences, which is taken for an effect of the width."""
    batches = [scaling_networks("medium")[i].make().batches[0] for i in (0, 8, 16)]
    assert (batches[0] == batches[1]).all()
    assert (batches[0] == batches[2]).all()
