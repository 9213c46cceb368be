"""Losses that share something between threads are found, and evaluated by one worker."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import Problem, load_problem, random_directions, sample_grid
from tlp_core.model_state import preserve_model
from tlp_core.problem import mean_loss
from tlp_core.sampling.engine_choice import choose_engine
from tlp_core.sampling.engines import Engine, evaluator
from tlp_core.sampling.independence import are_independent
from tlp_core.sampling.settings import EvaluationSettings

X = torch.linspace(-1, 1, 20).reshape(10, 2)
STORED = {}


def plain(model, x):
    return model(x).square().mean()


def torch_noise(model, x):
    torch.manual_seed(0)
    return (model(x) + torch.randn(10, 1)).square().mean()


def numpy_noise(model, x):
    np.random.seed(0)
    noise = torch.from_numpy(np.random.randn(10, 1)).float()
    return (model(x) + noise).square().mean()


def numpy_noise_on_one_line(model, x):
    np.random.seed(0); noise = np.random.randn(10, 1)  # fmt: skip  # noqa: E702
    return (model(x) + torch.from_numpy(noise).float()).square().mean()


def python_noise(model, x):
    random.seed(0)
    shift = random.random()
    return (model(x) + shift).square().mean()


def closure(model, x):
    STORED["out"] = model(x)
    return STORED["out"].square().mean()


def own_generator(model, x):
    generator = torch.Generator().manual_seed(0)
    return (model(x) + torch.randn(10, 1, generator=generator)).square().mean()


def problem_of(loss, hook=False):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1))
    if hook:
        model[0].register_forward_hook(lambda _m, _in, out: STORED.update(hidden=out))
    return Problem(model, loss, [X], name="shared")


def hooked(model, x):
    return model(x).square().mean() + STORED["hidden"].square().mean()


CASES = {
    "plain": (problem_of(plain), True),
    "own generator": (problem_of(own_generator), True),
    "torch noise": (problem_of(torch_noise), False),
    "numpy noise": (problem_of(numpy_noise), False),
    "numpy noise on one line": (problem_of(numpy_noise_on_one_line), False),
    "python noise": (problem_of(python_noise), False),
    "closure": (problem_of(closure), False),
    "hook": (problem_of(hooked, hook=True), False),
}


@pytest.mark.parametrize("name", CASES)
def test_what_threads_share_is_found_every_time(name):
    problem, expected = CASES[name]
    directions = random_directions(problem, 2)
    points = np.array([[0.5, -0.25], [-1.0, 0.75]])
    with preserve_model(problem.model):
        problem.model.eval()
        with evaluator(problem, directions, Engine(workers=2)) as evaluate:
            found = [are_independent(evaluate.workers, points) for _ in range(5)]
    assert found == [expected] * 5


def test_losses_with_derivatives_of_the_inputs_are_independent():
    problem = load_problem("pinn-convection", arguments={"collocation": 10})
    directions = random_directions(problem, 2)
    with (
        preserve_model(problem.model),
        evaluator(problem, directions, Engine(workers=2)) as evaluate,
    ):
        assert are_independent(evaluate.workers, np.array([[0.1, 0.2], [0.3, -0.1]]))


@pytest.mark.parametrize("name", ["torch noise", "closure", "hook"])
def test_a_loss_that_shares_something_has_the_losses_of_one_worker(name):
    problem, _ = CASES[name]
    directions = random_directions(problem, 2)
    landscape = sample_grid(problem, directions, resolution=11, distance=1.0)
    alphas = landscape.coordinates()
    with preserve_model(problem.model), evaluator(problem, directions, Engine()) as evaluate:
        np.testing.assert_allclose(landscape.loss.ravel(), evaluate(alphas)[:, 0], rtol=1e-5)
    assert landscape.center == mean_loss(problem)


def test_the_choice_of_an_engine_reports_that_threads_disturb_each_other(monkeypatch):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    problem, _ = CASES["torch noise"]
    directions = random_directions(problem, 2)
    with preserve_model(problem.model):
        choice = choose_engine(problem, directions, np.array([[0.5, 1.0], [1.0, 0.5]]), samples=10)
    torch.set_num_threads(threads)
    assert choice.engine.workers == 1
    assert any("disturb each other" in line for line in choice.report)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_engine_that_returns_no_number_is_refused(monkeypatch, value):
    """Torch's vmap may give NaN where a plain call gives a number."""
    problem, _ = CASES["plain"]
    directions = random_directions(problem, 2)

    def loss(model, x):
        good = plain(model, x)
        is_mapped = torch._C._functorch.is_batchedtensor(good)
        return good * value if is_mapped else good

    broken = Problem(problem.model, loss, [X], name="broken")
    with preserve_model(problem.model):
        choice = choose_engine(
            broken, directions, np.array([[0.5, 1.0], [1.0, 0.5]]), samples=10**9
        )
    assert choice.engine.name == "single"
    with (
        preserve_model(problem.model),
        pytest.raises(RuntimeError, match=f"gives the loss {value} instead of"),
    ):
        choose_engine(
            broken,
            directions,
            np.array([[0.5, 1.0], [1.0, 0.5]]),
            EvaluationSettings(engine="batched"),
            samples=10,
        )
