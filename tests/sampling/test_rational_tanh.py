"""Tests of the tanh of compiled code."""

import shutil
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import Problem, random_directions
from tlp_core.model_state import preserve_model
from tlp_core.problems import pinn_convection
from tlp_core.sampling.engines import Engine, evaluator
from tlp_core.sampling.rational_tanh import compiler_options, rational_tanh

COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)


def units_in_the_last_place(found, x):
    exact = torch.tanh(x.double())
    _, exponent = torch.frexp(exact)
    unit = torch.ldexp(torch.ones_like(exact), exponent - 24).clamp(min=2.0**-149)
    return ((found.double() - exact) / unit).abs().max().item()


def arguments():
    """Return arguments of every magnitude and both signs, among them those of every exponent."""
    small = torch.ldexp(torch.rand(200_000) + 1, torch.arange(200_000) % 150 - 149)
    x = torch.cat([small, torch.linspace(0, 12, 2_000_001)])
    return torch.cat([x, -x])


def test_it_is_within_six_units_in_the_last_place_of_the_exact_tanh():
    x = arguments()
    y = rational_tanh(x)
    assert units_in_the_last_place(y, x) <= 6
    assert y.abs().max() == 1  # never above, where log(1 - tanh²) would be NaN
    torch.testing.assert_close(rational_tanh(-x), -y, rtol=0, atol=0)


def test_infinity_and_nan_are_kept():
    found = rational_tanh(torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0]))
    np.testing.assert_array_equal(found.numpy(), [1, -1, np.nan, 0])


@COMPILER
def test_compiled_code_uses_it_for_float32_only():
    compiled = torch.compile(torch.tanh, dynamic=False, options=compiler_options())
    x = arguments()
    found = compiled(x)
    assert units_in_the_last_place(found, x) <= 6
    assert not torch.equal(found, torch.tanh(x))  # the compiler has used it
    double = x.double()
    torch.testing.assert_close(compiled(double), torch.tanh(double), rtol=1e-15, atol=0)


def small_network():
    torch.manual_seed(0)
    layers = nn.Linear(2, 30), nn.Tanh(), nn.Linear(30, 30), nn.Tanh(), nn.Linear(30, 1)
    return Problem(
        nn.Sequential(*layers),
        lambda model, batch: model(batch).square().mean(),
        [torch.randn(50, 2)],
        name="tanh",
    )


@COMPILER
@pytest.mark.parametrize(
    "make",
    [
        small_network,
        pytest.param(
            partial(pinn_convection.make_problem, collocation=20), marks=pytest.mark.exhaustive
        ),
    ],
)
def test_losses_of_a_compiled_network_are_those_of_one_at_a_time(make):
    """Also of a physics-informed network, whose loss has derivatives in the inputs."""
    problem = make()
    directions = random_directions(problem, 2)
    points = np.random.default_rng(0).uniform(-0.1, 0.1, (40, 2))
    found = []
    with preserve_model(problem.model):
        problem.model.eval().requires_grad_(False)
        for engine in (Engine(), Engine("compiled", 16)):
            with evaluator(problem, directions, engine) as evaluate:
                found.append(evaluate(points))
    np.testing.assert_allclose(found[1], found[0], rtol=2e-5)
    assert (found[1] != found[0]).any()
