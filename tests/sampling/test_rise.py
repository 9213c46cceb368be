"""Half-widths where the loss has risen by an amount."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import (
    Directions,
    Landscape,
    Problem,
    hessian_directions,
    random_directions,
    rise_distances,
)
from tlp_core.cli.main import main
from tlp_core.directions.settings import DirectionSettings
from tlp_core.model_state import hash_state
from tlp_core.pipeline.sampler import LandscapeSampler
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problems.settings import ProblemSettings
from tlp_core.sampling.settings import GridSettings, RunSettings, ScatterSettings


def along(problem, vectors, eigenvalues=None):
    """Directions in a problem of one parameter."""
    ((name, _),) = problem.model.named_parameters()
    n = len(vectors)
    unknown = np.full(n, np.nan)
    return Directions(
        vectors=tuple({name: torch.tensor(vector, dtype=torch.float64)} for vector in vectors),
        eigenvalues=unknown if eigenvalues is None else np.array(eigenvalues),
        residuals=unknown,
        method="given",
        normalization="none",
        seed=0,
    )


def problem_of(function, start):
    model = nn.ParameterDict({"x": torch.tensor(start, dtype=torch.float64)})
    return Problem(model, lambda model, _: function(model["x"]), [torch.ones(())], name="given")


def test_distances_of_a_parabola_are_known():
    """L = Σ λ x² / 2 rises by h at sqrt(2h / λ), whatever the length of a direction."""
    curvature = torch.tensor([1e6, 3.0, 2e-4], dtype=torch.float64)
    problem = problem_of(lambda x: (curvature * x**2).sum() / 2, [0.0, 0.0, 0.0])
    directions = along(problem, [[1.0, 0, 0], [0, 10.0, 0], [0, 0, 1.0]])
    known = along(problem, [[1.0, 0, 0], [0, 10.0, 0], [0, 0, 1.0]], curvature.tolist())
    expected = np.sqrt(2 * 0.5 / curvature.numpy()) / [1, 10, 1]
    before = hash_state(problem.model)
    for each in (directions, known):
        found = rise_distances(problem, each, rise=0.5)
        np.testing.assert_allclose(found, expected, rtol=0.015)
        assert [float(f"{d:.3g}") for d in found] == found.tolist()
    assert hash_state(problem.model) == before


def test_the_nearer_side_decides():
    """L = x² + x³ rises by 2 at x = 1; on the other side by 4 / 27 at most before x = -1."""
    problem = problem_of(lambda x: (x**2 + x**3 + x**4).sum(), [0.0])
    (distance,) = rise_distances(problem, along(problem, [[1.0]]), rise=3.0)
    assert distance == pytest.approx(1.0, rel=0.015)
    (turned,) = rise_distances(problem, along(problem, [[-1.0]]), rise=3.0)
    assert turned == distance


def test_a_barrier_of_an_eighth_of_the_distance_is_found():
    problem = problem_of(lambda x: (4 * torch.exp(-((x - 3) ** 2)) + x**2 / 100).sum(), [0.0])
    (distance,) = rise_distances(problem, along(problem, [[1.0]], [0.02]), rise=1.0)
    assert 1.5 < distance < 2.0


def test_a_flat_direction_and_one_without_length_are_reported():
    problem = problem_of(lambda x: (x[0] - 3) ** 2 + 1e-12 * x[1] ** 2, [3.0, 1.0])
    flat = along(problem, [[1.0, 0.0], [0.0, 1.0]], [2.0, 2e-12])
    with pytest.raises(ValueError, match="does not along direction 2"):
        rise_distances(problem, flat, rise=1.0)
    with pytest.raises(ValueError, match="a direction must have a length above 0, got 0 of 1"):
        rise_distances(problem, along(problem, [[0.0, 0.0]]), rise=1.0)


def test_half_widths_of_another_store_are_not_kept(tmp_path):
    """A sampler that was refused a store looks for its own distances."""

    def settings_of(path, problem):
        return LandscapeSettings(
            problem=ProblemSettings(problem),
            directions=DirectionSettings(n=2, method="lanczos"),
            samples=GridSettings(5, rise=1.0),
            run=RunSettings(store=str(tmp_path / path)),
        )

    LandscapeSampler().sample(settings_of("other.zarr", "quadratic-bowl"))
    sampler = LandscapeSampler()
    with pytest.raises(ValueError, match="must belong to this landscape"):
        sampler.sample(settings_of("other.zarr", "two-wells"))
    found = sampler.sample(settings_of("own.zarr", "two-wells"))
    fresh = LandscapeSampler().sample(settings_of("fresh.zarr", "two-wells"))
    np.testing.assert_array_equal(found.distance, fresh.distance)


def test_a_loss_that_does_not_rise_is_reported():
    problem = problem_of(lambda x: torch.tanh(x[0]) ** 2 + 1e3 * x[1] ** 2, [0.0, 0.0])
    directions = along(problem, [[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ValueError, match=r"must rise by 2 along every .* not along direction 2"):
        rise_distances(problem, directions, rise=2.0)
    with pytest.raises(ValueError, match="rise must be > 0"):
        rise_distances(problem, directions, rise=0.0)


def test_a_non_finite_loss_has_risen():
    problem = problem_of(lambda x: -torch.log(1 - x[0] ** 2), [0.0])
    (distance,) = rise_distances(problem, along(problem, [[1.0]]), rise=50.0)
    assert 0.99 < distance <= 1.0


def test_random_directions_have_no_eigenvalues(small_problem):
    directions = random_directions(small_problem, 2, normalization="layer")
    assert (rise_distances(small_problem, directions, rise=1.0) > 0).all()


@pytest.mark.parametrize(
    "samples", [GridSettings(5, rise=0.5), ScatterSettings(50, rise=0.5)], ids=["grid", "scattered"]
)
def test_a_sampler_finds_the_distances_and_a_store_keeps_them(samples, tmp_path):
    path = tmp_path / "a.zarr"
    settings = LandscapeSettings(
        problem=ProblemSettings("quadratic-bowl"),
        directions=DirectionSettings(n=2, method="lanczos"),
        samples=samples,
        run=RunSettings(store=str(path)),
    )
    landscape = LandscapeSampler().sample(settings)
    problem = LandscapeSampler().problem(settings)
    directions = hessian_directions(problem, 2, method="lanczos")
    np.testing.assert_array_equal(landscape.distance, rise_distances(problem, directions, rise=0.5))
    assert landscape.provenance["rise"] == 0.5


def test_the_command_samples_a_box_of_a_rise(tmp_path, capsys):
    path = str(tmp_path / "a.zarr")
    command = ["sample", "two-wells", "--method", "lanczos", "-r", "5", "-o", path, "--json"]
    assert main([*command, "--rise", "2", "--distance", "3"]) == 1
    assert "--distance has no meaning with --rise" in capsys.readouterr().err
    assert main([*command, "--rise", "-1"]) == 1
    assert "rise must be > 0" in capsys.readouterr().err
    assert main([*command, "--rise", "2"]) == 0
    first = json.loads(capsys.readouterr().out)
    landscape = Landscape.open(path)
    assert first["distance"] == landscape.distance.tolist()
    along_first = landscape.loss[[0, -1], 2] - landscape.center
    assert along_first.max() == pytest.approx(2, rel=0.05)
    assert main([*command, "--rise", "2"]) == 0
    assert main([*command, "--rise", "3"]) == 1
    assert "its distance is" in capsys.readouterr().err
