import subprocess
import sys

import numpy as np
import pytest
import torch

import tlp_core.directions.flat as flat
import tlp_core.model_state as model_state
from tlp_core import (
    Directions,
    Problem,
    checkpoint_directions,
    gradient_directions,
    random_directions,
    sample_grid,
    trajectory_directions,
)
from tlp_core.problem import mean_loss


def rows(directions):
    each = [torch.cat([t.ravel() for t in vector.values()]) for vector in directions.vectors]
    return torch.stack(each).double().numpy()


def moved_states(model, steps):
    """State dicts of the model moved by flat steps (k, P)."""
    states = []
    for step in torch.as_tensor(steps):
        state, first = {}, 0
        for name, value in model.state_dict().items():
            part = step[first : first + value.numel()].reshape(value.shape)
            state[name] = value + part
            first += value.numel()
        states.append(state)
    return states


@pytest.fixture
def steps():
    return np.random.default_rng(0).standard_normal((3, 21))


def test_random_directions_are_orthonormal_and_deterministic(small_problem):
    one = random_directions(small_problem, 4, normalization="none", seed=5)
    np.testing.assert_allclose(rows(one) @ rows(one).T, np.eye(4), atol=1e-12)
    again = random_directions(small_problem, 4, normalization="none", seed=5)
    assert one.digest() == again.digest()
    assert one.digest() != random_directions(small_problem, 4, normalization="none").digest()


def test_only_parameters_that_fit_the_pattern_move(small_problem):
    directions = random_directions(small_problem, 3, parameters="2.*", normalization="none")
    assert list(directions.vectors[0]) == ["2.weight", "2.bias"]
    assert directions.provenance["parameters"] == "2.*"
    assert all(p.requires_grad for p in small_problem.model.parameters())
    landscape = sample_grid(small_problem, directions, resolution=3, distance=1.0)
    before = {k: v.clone() for k, v in small_problem.model.state_dict().items()}
    with torch.no_grad():
        for name, part in directions.vectors[0].items():
            dict(small_problem.model.named_parameters())[name].add_(part)
    assert landscape.loss[2, 1, 1] == pytest.approx(mean_loss(small_problem))
    small_problem.model.load_state_dict(before)
    with pytest.raises(ValueError, match=r"parameters must match one of 0\.weight"):
        random_directions(small_problem, 1, parameters="head.*")
    with pytest.raises(ValueError, match="at most the number of parameters, 6, got 7"):
        random_directions(small_problem, 7, parameters="2.*")


def test_the_gradient_is_the_slope_of_the_weighted_loss(small_problem):
    directions = gradient_directions(small_problem, 2)
    unit = rows(directions)
    np.testing.assert_allclose(unit @ unit.T, np.eye(2), atol=1e-12)
    step = 1e-5
    landscape = sample_grid(small_problem, directions, resolution=3, distance=step)
    slope = (landscape.loss[2] - landscape.loss[0])[1] / (2 * step)
    assert abs(slope) == pytest.approx(directions.provenance["gradient_norm"], rel=1e-6)
    across = (landscape.loss[1, 2] - landscape.loss[1, 0]) / (2 * step)
    assert across == pytest.approx(0, abs=1e-6)


def test_checkpoints_are_points_of_their_landscape(small_problem, steps):
    states = [small_problem.model.state_dict(), *moved_states(small_problem.model, steps)]
    directions = checkpoint_directions(small_problem, states)
    assert len(directions) == 3
    marked = np.array(directions.provenance["solutions"])
    np.testing.assert_allclose(marked @ rows(directions), [np.zeros(21), *steps], atol=1e-10)
    assert abs(marked[1, 0]) == pytest.approx(np.linalg.norm(steps[0]))
    assert marked[1, 1:] == pytest.approx([0, 0])


def test_checkpoint_coordinates_lead_to_the_checkpoints_loss(small_problem, steps):
    states = moved_states(small_problem.model, steps[:1])
    directions = checkpoint_directions(small_problem, states, normalization="model")
    ((alpha,),) = directions.provenance["solutions"]
    landscape = sample_grid(small_problem, directions, resolution=3, distance=abs(alpha))
    end = landscape.loss[2 if alpha > 0 else 0]
    small_problem.model.load_state_dict(states[0])
    assert end == pytest.approx(mean_loss(small_problem))


def test_a_trajectory_reports_the_explained_variance(small_problem, steps):
    lengths = np.array([10.0, 1.0, 0.1])
    axes = np.linalg.qr(steps.T)[0].T
    run = np.vstack([lengths[:, None] * axes, -lengths[:, None] * axes])
    directions = trajectory_directions(small_problem, 2, moved_states(small_problem.model, run))
    explained = lengths**2 / (lengths**2).sum()
    assert directions.provenance["explained_variance"] == pytest.approx(explained[:2].tolist())
    np.testing.assert_allclose(np.abs(rows(directions) @ axes[:2].T), np.eye(2), atol=1e-9)
    assert np.shape(directions.provenance["solutions"]) == (6, 2)
    with pytest.raises(ValueError, match="n must be at most 3, the dimensions of the run, got 4"):
        trajectory_directions(small_problem, 4, moved_states(small_problem.model, run))


def test_bad_solutions_are_reported(small_problem, steps):
    model = small_problem.model
    with pytest.raises(ValueError, match="must be one or more, got none"):
        trajectory_directions(small_problem, 1, [])
    with pytest.raises(ValueError, match="must differ from the model"):
        checkpoint_directions(small_problem, [model.state_dict()])
    state = {**model.state_dict(), "2.bias": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"number 2 has \(4,\) for '2.bias' instead of \(1,\)"):
        checkpoint_directions(small_problem, [model.state_dict(), state])
    with pytest.raises(ValueError, match="normalization must be one of none, model, got 'filter'"):
        checkpoint_directions(small_problem, moved_states(model, steps), normalization="filter")


def test_a_minimum_has_no_gradient_direction():
    model = torch.nn.Linear(1, 1, bias=False).double()
    torch.nn.init.zeros_(model.weight)
    problem = Problem(
        model, lambda m, b: m(b).square().mean(), [torch.ones(2, 1).double()], name="bowl"
    )
    with pytest.raises(RuntimeError, match="gradient must not be zero"):
        gradient_directions(problem)


@pytest.mark.parametrize("groups", [1, 2])
def test_filters_of_a_transposed_convolution_are_its_outputs(groups):
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(4, 6, 3, groups=groups)
    problem = Problem(layer, lambda m, x: m(x).square().mean(), [torch.ones(1, 4, 5, 5)], name="up")
    (vector,) = random_directions(problem, 1, normalization="filter").vectors
    for output in range(6):
        group, place = divmod(output, 6 // groups)
        inputs = slice(group * 4 // groups, (group + 1) * 4 // groups)
        part, weight = (t[inputs, place] for t in (vector["weight"], layer.weight.detach()))
        torch.testing.assert_close(part.norm(), weight.norm())


@pytest.mark.parametrize("normalization", ["none", "model", "layer", "filter"])
def test_large_models_have_the_same_directions(small_problem, monkeypatch, normalization):
    """Rows of large models are in the model's own precision, and drawn piece by piece."""
    problem = Problem(
        small_problem.model.float(), small_problem.loss, small_problem.batches, name="float32"
    )
    expected = random_directions(problem, 3, normalization=normalization)
    monkeypatch.setattr(flat, "LARGE", 0)
    for module in (flat, model_state):
        monkeypatch.setattr(module, "PIECE", 7)
    found = random_directions(problem, 3, normalization=normalization)
    np.testing.assert_allclose(rows(found), rows(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_directions_are_read_as_they_were_written(small_problem, tmp_path, ending, dtype):
    model = small_problem.model.to(dtype)
    problem = Problem(model, small_problem.loss, small_problem.batches, name="any")
    made = random_directions(problem, 2)
    made.save(tmp_path / f"made{ending}")
    read = Directions.load(tmp_path / f"made{ending}", model)
    assert read.digest() == made.digest()
    assert (read.method, read.seed, read.provenance) == (made.method, made.seed, made.provenance)
    np.testing.assert_array_equal(read.eigenvalues, made.eigenvalues)


def test_safetensors_are_those_of_the_library(small_problem, tmp_path):
    from safetensors.torch import load_file

    made = random_directions(small_problem, 2)
    made.save(tmp_path / "made.safetensors")
    content = load_file(tmp_path / "made.safetensors")
    for i, vector in enumerate(made.vectors):
        assert all(torch.equal(content[f"direction{i}/{n}"], part) for n, part in vector.items())


def test_a_damaged_file_of_directions_is_one_sentence(small_problem, tmp_path):
    path = tmp_path / "made.safetensors"
    random_directions(small_problem, 1).save(path)
    whole = path.read_bytes()
    for content in (whole[:100], b"\xff" * 200, whole[:-4], b""):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"must be a \.safetensors file, and is damaged"):
            Directions.load(path, small_problem.model)
    path.write_bytes(whole.replace(b"direction0/", b"direction7/"))
    with pytest.raises(ValueError, match="must hold directions of this network"):
        Directions.load(path, small_problem.model)


def test_directions_of_a_large_model_take_no_second_copy(tmp_path):
    """Peaks of a process beyond a model of 80 MB and its two directions."""
    code = f"""
import resource, torch
from tlp_core import Directions, Problem, random_directions

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model = torch.nn.Linear(5000, 4000, bias=False)
problem = Problem(model, lambda m, b: m(b).square().mean(), [torch.ones(1, 5000)], name="wide")
size, before = 80e6, peak()
made = random_directions(problem, 2, normalization="layer")
print((peak() - before) / size)
made.save({str(tmp_path / "made.safetensors")!r})
print((peak() - before) / size)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    made, saved = map(float, run.stdout.split())
    assert made < 3.3
    assert saved < made + 0.4
