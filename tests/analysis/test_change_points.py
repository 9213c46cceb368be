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


def test_false_alarms_on_shuffled_series_are_as_rare_as_the_significance():
    """Of 400 series without a change, 20 are reported on average at 5 %."""
    rng = np.random.default_rng(2)
    with_change = rng.normal(size=30) + np.repeat([0.0, 3.0], 15)
    alarms = sum(
        bool(find_transitions(rng.permutation(with_change), significance=0.05, permutations=199))
        for _ in range(400)
    )
    assert alarms <= 32


@pytest.mark.parametrize("series", [np.zeros(20), [1.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0, 1.0, 1.0]])
def test_a_constant_and_an_outlier_are_no_steps(series):
    assert find_transitions(series) == ()


def test_any_increasing_map_finds_the_same():
    rng = np.random.default_rng(3)
    series = np.abs(rng.normal(size=40)) + np.repeat([1.0, 6.0], 20)
    plain, mapped = find_transitions(series), find_transitions(np.exp(series))
    assert [f.index for f in plain] == [f.index for f in mapped]
    assert len(plain) == 1


def test_undefined_values_are_omitted():
    series = np.repeat([0.0, 1.0], 20)
    series[5] = np.nan
    (found,) = find_transitions(series, np.arange(40))
    assert found.step == 20


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0] * 5, {}, "at least 6 finite values, got 5"),
        (np.arange(9.0), {"steps": np.zeros(9)}, "steps must increase"),
        (np.arange(9.0), {"steps": np.arange(8.0)}, "must be lists of the same length"),
        (np.arange(9.0), {"significance": 2.0}, "between 0 and 1"),
        (np.arange(9.0), {"permutations": 9}, "must be >= 0.1 for 9 permutations, got 0.01"),
    ],
)
def test_wrong_input_is_reported(values, options, message):
    with pytest.raises(ValueError, match=message):
        find_transitions(values, **options)
