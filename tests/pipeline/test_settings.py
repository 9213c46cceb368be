import pytest

from tlp_core.directions.settings import DirectionSettings
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problems.settings import ProblemSettings
from tlp_core.sampling.settings import GridSettings, RunSettings, ScatterSettings

PROBLEM = ProblemSettings("problem.py:make")


@pytest.mark.parametrize(
    ("samples", "n", "message"),
    [
        (GridSettings(distance=(1.0, 2.0)), 3, "one for each of 3 directions, got 2"),
        (ScatterSettings(100, distance=(1.0, 2.0)), 3, "one for each of 3 directions, got 2"),
        (ScatterSettings(100), 11, "at most 10 directions, got 11"),
    ],
)
def test_samples_that_do_not_fit_are_refused_before_directions_are_made(samples, n, message):
    with pytest.raises(ValueError, match=message):
        LandscapeSettings(PROBLEM, DirectionSettings(n=n), samples)


def test_a_file_decides_the_number_of_directions():
    from_file = DirectionSettings(n=3, file="directions.npz")
    settings = LandscapeSettings(PROBLEM, from_file, GridSettings(distance=(1.0, 2.0)))
    assert settings.samples.half_widths(2).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("distance", [(), "1", 0.0, (1.0, float("nan"))])
@pytest.mark.parametrize(
    "make", [GridSettings, lambda distance: ScatterSettings(2, distance=distance)]
)
def test_distances_are_positive_numbers(make, distance):
    with pytest.raises((TypeError, ValueError), match="distance must be"):
        make(distance=distance)


@pytest.mark.parametrize(
    ("part", "error"), [((1,), TypeError), ("1/2", TypeError), ((3, 2), ValueError)]
)
def test_a_part_is_a_pair(part, error):
    with pytest.raises(error, match="part must be"):
        RunSettings(part=part)
