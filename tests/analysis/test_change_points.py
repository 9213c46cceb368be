import numpy as np
import pytest

from tlp_core.analysis.change_points import find_transitions


def test_a_step_is_found_at_its_place():
    rng = np.random.default_rng(0)
    series = rng.normal(size=60) + np.repeat([0.0, 4.0], [25, 35])
    (found,) = find_transitions(series, np.arange(60) * 10)
    assert abs(found.index - 25) <= 1
    assert found.step == found.index * 10
    assert found.after - found.before == pytest.approx(4, abs=1)
    assert found.p_value <= 0.01


def test_two_steps_are_found_in_order():
    rng = np.random.default_rng(1)
    series = rng.normal(size=90) + np.repeat([0.0, 5.0, -5.0], 30)
    found = find_transitions(series)
    assert [abs(f.index - wanted) <= 1 for f, wanted in zip(found, (30, 60), strict=True)] == [
        True,
        True,
    ]
    assert found[0].after == pytest.approx(found[1].before)


@pytest.mark.parametrize("seed", [8, 34, 39])
def test_changes_that_are_close_to_each_other_are_placed_together(seed):
    """Part by part, one of two steps in a row is misplaced by two to four points."""
    noise = np.random.default_rng(seed).normal(size=120)
    series = noise + np.repeat([0.0, 4.0, 8.0], [50, 8, 62])
    found = find_transitions(series, significance=0.05, simulations=199)
    assert [change.index for change in found] == pytest.approx([50, 58], abs=1)
    assert [change.p_value <= 0.05 for change in found] == [True, True]


def test_a_place_far_from_the_tested_one_does_not_take_its_p_value():
    """A step at 30 and a slope behind it, as independent points: four best steps begin at 8."""
    rng = np.random.default_rng(0)
    series = 0.5 * rng.normal(size=60)
    series[30:] += 3 + np.arange(30) / 5
    found = find_transitions(series, null="independent", significance=0.05, simulations=199)
    assert len(found) == 4
    assert found[0].index == 30


def test_false_alarms_on_shuffled_series_are_as_rare_as_the_significance():
    """Of 400 series without a change, 20 are reported on average at 5 %."""
    rng = np.random.default_rng(2)
    with_change = rng.normal(size=30) + np.repeat([0.0, 3.0], 15)
    alarms = sum(
        bool(find_transitions(rng.permutation(with_change), significance=0.05, simulations=199))
        for _ in range(400)
    )
    assert alarms <= 32


@pytest.mark.parametrize("series", [np.zeros(20), [1.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0, 1.0, 1.0]])
def test_a_constant_and_an_outlier_are_no_steps(series):
    assert find_transitions(series) == ()


def test_the_unit_of_a_series_does_not_matter():
    rng = np.random.default_rng(3)
    series = rng.normal(size=40) + np.repeat([1.0, 6.0], 20)
    (plain,), (scaled,) = find_transitions(series), find_transitions(1e-9 * series - 3.0)
    assert plain.index == scaled.index == 20
    assert plain.p_value == scaled.p_value


def test_undefined_values_are_omitted():
    series = np.repeat([0.0, 1.0], 20)
    series[5] = np.nan
    (found,) = find_transitions(series, np.arange(40))
    assert found.step == 20


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0] * 7, {}, "at least 8 finite values, got 7"),
        (np.arange(9.0), {"steps": np.zeros(9)}, "steps must increase"),
        (np.arange(9.0), {"steps": np.arange(8.0)}, "must be lists of the same length"),
        (np.arange(9.0), {"significance": 2.0}, "between 0 and 1"),
        (np.arange(9.0), {"simulations": 9}, "must be >= 0.1 for 9 simulations, got 0.01"),
    ],
)
def test_wrong_input_is_reported(values, options, message):
    with pytest.raises(ValueError, match=message):
        find_transitions(values, **options)


@pytest.mark.parametrize("kind", ["random walk", "autocorrelated", "slope"])
def test_series_that_remember_or_drift_raise_few_alarms(kind):
    """Of 200 series, 10 are expected at 5 %; the benchmark has a table of more kinds."""
    rng = np.random.default_rng(4)
    alarms = 0
    for seed in range(200):
        noise = rng.normal(size=40)
        if kind == "slope":
            series = noise + np.linspace(0, 8, 40)
        else:
            series = np.zeros(40)
            for t in range(1, 40):
                series[t] = (1.0 if kind == "random walk" else 0.9) * series[t - 1] + noise[t]
        alarms += bool(find_transitions(series, significance=0.05, simulations=99, seed=seed))
    assert alarms <= 20


@pytest.mark.parametrize("height", [3, 10])
@pytest.mark.parametrize("direction", [1, -1])
def test_decays_raise_few_alarms(height, direction):
    """Of 60 series, 3 are expected at 5 %; without the comparison, 13 and 50 alarm."""
    rng = np.random.default_rng(5)
    fall = height * np.exp(-np.linspace(0, 4, 60))[::direction]
    alarms = [
        bool(find_transitions(fall + noise, significance=0.05, simulations=99, seed=seed))
        for seed, noise in enumerate(rng.normal(size=(60, 60)))
    ]
    assert sum(alarms) <= 6


def test_a_step_after_a_decay_is_still_found():
    rng = np.random.default_rng(6)
    time = np.linspace(0, 1, 120)
    series = 3 * np.exp(-time / 0.1) + 8 * (time > 0.6) + rng.normal(size=120)
    found = find_transitions(series, significance=0.05)
    assert any(abs(change.index - 72) <= 2 for change in found)


def test_the_test_for_independent_points_depends_on_no_scale():
    rng = np.random.default_rng(3)
    series = np.abs(rng.normal(size=40)) + np.repeat([1.0, 6.0], 20)
    found = [find_transitions(each, null="independent") for each in (series, np.exp(series))]
    assert [change.index for change in found[0]] == [change.index for change in found[1]] == [20]
