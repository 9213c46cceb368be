import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

from tlp_core import Problem, hessian_directions, random_directions, sample_grid
from tlp_core.model_state import preserve_model
from tlp_core.problem import mean_loss
from tlp_core.sampling import engine_choice
from tlp_core.sampling.batch_norm import reestimate_batch_norm
from tlp_core.sampling.engine_choice import choose_engine
from tlp_core.sampling.engines import Engine, evaluator
from tlp_core.sampling.resources import available_cores
from tlp_core.sampling.settings import EvaluationSettings
from tlp_core.sampling.work import Work

COMPILER = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="there is no C++ compiler"
)

POINTS = np.random.default_rng(0).uniform(-1, 1, (37, 2))


def losses(problem, directions, engine, points=POINTS, batch_norm="stored"):
    with preserve_model(problem.model):
        problem.model.eval()
        with evaluator(problem, directions, engine, batch_norm) as evaluate:
            return evaluate(points)


@pytest.fixture
def directions(small_problem):
    return hessian_directions(small_problem, 2)


@pytest.mark.parametrize(
    "engine",
    [
        Engine(workers=3),
        Engine("batched", 1),
        Engine("batched", 8),
        Engine("batched", 64, workers=2),
        pytest.param(Engine("compiled", 16, threads=2), marks=COMPILER),
    ],
    ids=str,
)
def test_every_engine_gives_the_losses_of_one_at_a_time(small_problem, directions, engine):
    expected = losses(small_problem, directions, Engine())
    found = losses(small_problem, directions, engine)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(losses(small_problem, directions, engine), found)


def test_a_large_tensor_moves_in_pieces_and_gives_the_same_bytes(
    small_problem, directions, monkeypatch
):
    expected = losses(small_problem, directions, Engine())
    monkeypatch.setattr("tlp_core.sampling.engines.PIECE", 4)
    np.testing.assert_array_equal(losses(small_problem, directions, Engine()), expected)


@pytest.mark.parametrize("name", ["single", "batched", pytest.param("compiled", marks=COMPILER)])
@pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.exhaustive)]
)
def test_the_center_is_the_models_own_loss_to_the_last_bit(small_problem, name, dtype):
    model = small_problem.model.to(dtype)
    batches = [tuple(t.to(dtype) for t in batch) for batch in small_problem.batches]
    problem = Problem(model, small_problem.loss, batches, name="small")
    found = sample_grid(
        problem, hessian_directions(problem, 2), resolution=3, distance=1.0, engine=name
    )
    assert found.center == mean_loss(problem)
    assert found.provenance["evaluation"]["name"] == name


def test_batch_sizes_agree_within_rounding(small_problem):
    model = small_problem.model.float()
    batches = [tuple(t.float() for t in batch) for batch in small_problem.batches]
    problem = Problem(model, small_problem.loss, batches, name="small")
    directions = hessian_directions(problem, 2)
    one, other = (losses(problem, directions, Engine("batched", size)) for size in (4, 32))
    np.testing.assert_allclose(one, other, rtol=2e-6)


def test_losses_with_derivatives_in_the_inputs_are_batched():
    from tlp_core import load_problem

    problem = load_problem("pinn-convection", arguments={"collocation": 20})
    directions = hessian_directions(problem, 2, max_iterations=3)
    points = POINTS[:5] * 0.1
    expected = losses(problem, directions, Engine(), points)
    found = losses(problem, directions, Engine("batched", 5), points)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_loss_that_cannot_be_batched_is_reported_and_evaluated_one_at_a_time(
    small_problem, directions
):
    def loss(model, batch):
        value = small_problem.loss(model, batch)
        return value if value.item() > 0 else value * 2  # control flow depends on a value

    problem = Problem(small_problem.model, loss, small_problem.batches, name="branches")
    with preserve_model(problem.model):
        problem.model.eval()
        choice = choose_engine(problem, directions, POINTS, samples=10**9)
    assert choice.engine.name == "single"
    assert any("batched" in line and "not usable" in line for line in choice.report)
    with pytest.raises(RuntimeError, match="engine 'batched' cannot evaluate this loss"):
        sample_grid(problem, directions, resolution=3, distance=1.0, engine="batched")


@pytest.fixture
def two_threads():
    """Use two threads, whatever the value of OMP_NUM_THREADS."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_an_engine_that_gives_other_losses_is_not_used(small_problem, directions):
    if available_cores() < 2:
        pytest.skip("one core has one worker")

    def loss(_model, batch):
        return small_problem.loss(small_problem.model, batch)  # ignores the given model

    problem = Problem(small_problem.model, loss, small_problem.batches, name="closure")
    with preserve_model(problem.model):
        problem.model.eval()
        choice = choose_engine(
            problem, directions, POINTS, EvaluationSettings("fastest"), samples=10**9
        )
    assert any("workers: 2" in line and "not usable" in line for line in choice.report)
    found, expected = (
        losses(problem, directions, choice.engine),
        losses(small_problem, directions, Engine()),
    )
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_the_fastest_engine_is_measured_on_request(small_problem, directions):
    with preserve_model(small_problem.model):
        small_problem.model.eval()
        fastest = EvaluationSettings("fastest")
        choice = choose_engine(small_problem, directions, POINTS, fastest, samples=10**6)
    assert choice.engine.name in ("batched", "compiled")
    assert len(choice.report) >= 4
    assert all("ms a sample" in line for line in choice.report)


@pytest.mark.parametrize(
    ("samples", "names"), [(25, ["single"]), (10**5, ["batched"]), (10**8, ["compiled", "batched"])]
)
def test_the_choice_depends_on_counts_and_not_on_the_clock(
    small_problem, directions, samples, names, monkeypatch
):
    """A clock that tells random times changes nothing."""
    rng = np.random.default_rng(0)
    chosen = set()
    for _ in range(3):
        monkeypatch.setattr(time, "perf_counter", lambda: rng.uniform(0, 1e3))
        with preserve_model(small_problem.model):
            small_problem.model.eval()
            chosen.add(choose_engine(small_problem, directions, POINTS, samples=samples).engine)
    (engine,) = chosen
    assert engine.name in names


@pytest.mark.parametrize(
    ("values", "samples", "parameters", "tried"),
    [
        (2 * 10**5, 10**6, None, ["compiled", "single"]),
        (2 * 10**5, 100, None, ["single"]),  # compiling would take longer than it saves
        (2 * 10**5, 10**6, "0.*", ["single"]),  # which keeps outputs of what does not move
        (10**6, 10**6, None, ["single"]),
    ],
)
def test_large_calls_are_compiled_where_it_pays(
    small_problem, values, samples, parameters, tried, monkeypatch
):
    directions = random_directions(small_problem, 2, parameters=parameters)
    work = Work(calls=100, values=100 * values, flops=0, value_bytes=400 * values)
    monkeypatch.setattr(engine_choice, "count_work", lambda _: work)
    names = []

    def run(trial, engine):
        names.append(engine.name)
        trial.seconds[engine] = 1.0
        return engine.name == "single"

    monkeypatch.setattr(engine_choice._Trial, "run", run)
    choose_engine(small_problem, directions, POINTS, samples=samples)
    assert names == tried


@pytest.mark.parametrize("cores", [1, 64])
def test_the_batch_of_compiled_code_does_not_depend_on_the_cores(
    small_problem, directions, cores, monkeypatch
):
    """Four of these samples need 0.8 GB, and have one worker on any machine."""
    work = Work(calls=100, values=2 * 10**7, flops=10**9, value_bytes=2 * 10**8)
    monkeypatch.setattr(engine_choice, "count_work", lambda _: work)
    monkeypatch.setattr(engine_choice, "available_cores", lambda: cores)
    monkeypatch.setattr(engine_choice._Trial, "run", lambda *_: True)
    engine = choose_engine(small_problem, directions, POINTS, samples=10**6).engine
    assert (engine.name, engine.batch) == ("compiled", 4)


def test_a_slow_loss_is_not_evaluated_to_choose_an_engine(directions, small_problem):
    calls = []

    def loss(model, batch):
        calls.append(1)
        wide = torch.zeros(6 * 10**8 // 8, dtype=torch.uint8)
        return small_problem.loss(model, batch) + sum(wide.neg().sum() for _ in range(8)) * 0.0

    problem = Problem(small_problem.model, loss, small_problem.batches, name="slow")
    with preserve_model(problem.model):
        problem.model.eval()
        choice = choose_engine(problem, directions, POINTS, samples=10**6)
    assert choice.engine.name == "single"
    assert len(calls) == len(small_problem.batches)


@COMPILER
def test_compiled_code_stays_compiled_for_landscape_after_landscape(small_problem, directions):
    """torch compiles one function a limited number of times; the next landscape would differ."""
    counters = torch._dynamo.utils.counters
    with torch._dynamo.config.patch(recompile_limit=1):  # monkeypatch would delete it at its end
        for _ in range(3):
            counters.clear()
            losses(small_problem, directions, Engine("compiled", 4), POINTS[:4])
            assert counters["stats"]["unique_graphs"] >= 1


def test_small_work_is_not_measured_for_long(small_problem, directions):
    with preserve_model(small_problem.model):
        small_problem.model.eval()
        choice = choose_engine(small_problem, directions, POINTS, samples=25)
    assert choice.engine.name == "single"
    assert len(choice.report) == 1


def test_a_batch_stays_within_the_memory_limit(small_problem, directions):
    with preserve_model(small_problem.model):
        small_problem.model.eval()
        size = sum(p.numel() * p.element_size() for p in small_problem.model.parameters())
        limits = [
            choose_engine(
                small_problem, directions, POINTS, samples=10**6, memory_limit=room * size
            ).engine
            for room in (1, 30 * 2)
        ]
    assert limits[0] == Engine()
    assert limits[1].batch <= 20


@pytest.mark.parametrize("name", ["batched", "compiled"])
def test_an_engine_that_does_not_fit_into_the_memory_limit_is_reported(
    small_problem, directions, name
):
    with pytest.raises(RuntimeError, match="a sample needs more than the memory limit"):
        sample_grid(
            small_problem, directions, resolution=3, distance=1.0, engine=name, memory_limit=1.0
        )


def test_tied_and_strided_parameters_move_together():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = nn.Linear(3, 3, bias=False)
            self.other = nn.Linear(3, 3, bias=False)
            self.one.weight = nn.Parameter(torch.randn(3, 3, dtype=torch.float64).t())
            self.other.weight = self.one.weight

        def forward(self, x):
            return self.other(torch.tanh(self.one(x)))

    torch.manual_seed(0)
    model = Tied()
    x = torch.randn(7, 3, dtype=torch.float64)
    problem = Problem(model, lambda m, b: m(b).square().mean(), [x], name="tied")
    directions = hessian_directions(problem, 2)
    assert list(directions.vectors[0]) == ["one.weight"]
    before = model.one.weight.detach().clone()
    one, many = (losses(problem, directions, e) for e in (Engine(), Engine("batched", 10)))
    np.testing.assert_allclose(many, one, rtol=1e-12)
    with torch.no_grad():
        alpha = POINTS[0]
        weight = before + sum(a * v["one.weight"] for a, v in zip(alpha, directions.vectors))
        expected = (torch.tanh(x @ weight.t()) @ weight.t()).square().mean()
    assert one[0] == pytest.approx(float(expected))
    assert model.other.weight is model.one.weight
    assert torch.equal(model.one.weight, before)


def test_batch_norm_is_reestimated_at_every_sample_on_request():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    x = torch.randn(32, 2, dtype=torch.float64)
    problem = Problem(model, lambda m, b: m(b).square().mean(), [x], name="norm")
    directions = hessian_directions(problem, 2)
    options = {"resolution": 3, "distance": 0.5}
    stored = sample_grid(problem, directions, **options)
    reestimated = sample_grid(problem, directions, batch_norm="reestimated", **options)
    assert not np.allclose(stored.loss, reestimated.loss)
    with preserve_model(model), torch.no_grad():
        hidden = model[0](x)
        spread = hidden.var(0, unbiased=True)
        normal = (hidden - hidden.mean(0)) / (spread + model[1].eps).sqrt()
        expected = model[2](normal).square().mean()
    assert reestimated.center == pytest.approx(float(expected))
    assert reestimated.provenance["batch_norm"] == "reestimated"
    assert model[1].momentum == 0.1
    with pytest.raises(ValueError, match="engine must be one of single, got 'batched'"):
        sample_grid(problem, directions, batch_norm="reestimated", engine="batched", **options)


def test_reestimated_statistics_are_weighted_by_batch_size():
    model = nn.Sequential(nn.BatchNorm1d(1, affine=False), nn.Linear(1, 1)).double()
    batches = [torch.zeros(30, 1, dtype=torch.float64), torch.ones(10, 1, dtype=torch.float64)]
    problem = Problem(model, lambda m, b: m(b).square().mean(), batches, name="norm")
    reestimate_batch_norm(problem)
    assert model[0].running_mean.item() == pytest.approx(0.25)
    assert model[0].momentum == 0.1


def test_torchs_compiler_is_not_loaded_where_nothing_is_compiled(tmp_path):
    code = (
        "import sys\n"
        "from tlp_core.cli.main import main\n"
        "assert main(['sample', 'two-wells', '-r', '5', '-o', 'wells.zarr']) == 0\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "False"
