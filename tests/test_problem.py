import pytest
import torch
from torch import nn

from tlp_core import Problem, hessian_directions
from tlp_core.model_state import preserve_model
from tlp_core.problem import LossError, batch_size, check_center, convert_problem, mean_loss


def problem_with(loss, batches=(None,)):
    return Problem(nn.Linear(2, 1), loss, list(batches), name="mine")


def sum_of_weights(model, _batch):
    return model.weight.sum()


def test_batches_are_weighted_by_size():
    def loss(model, batch):
        return (batch - 0 * model.weight.sum()).mean()

    problem = problem_with(loss, [torch.ones(3), torch.full((1,), 5.0)])
    assert mean_loss(problem) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.ones(4, 2), 4),
        ((torch.ones(3), torch.ones(9)), 3),
        ({"a": [torch.ones(5)]}, 5),
        (None, 1),
        (torch.tensor(1.0), 1),
    ],
)
def test_batch_size_is_the_length_of_the_first_tensor(batch, size):
    assert batch_size(batch) == size


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda model, _: model.weight, r"must return a scalar, got shape \(1, 2\)"),
        (lambda model, _: 1.0, "must return a tensor, got float"),
        (lambda model, _: model.weight.sum() * torch.nan, "finite at the model itself, got nan"),
        (lambda model, _: torch.tensor(1.0), "must depend on the model's parameters"),
        (
            lambda model, _: model.weight.detach().sum(),
            "must depend on the model's parameters",
        ),
        (lambda model, _: 1 / 0, "raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_result_that_is_no_loss_is_reported(loss, message):
    with pytest.raises(LossError, match=message):
        check_center(problem_with(loss))


def test_no_batches_are_reported():
    with pytest.raises(LossError, match="at least one sample, got none"):
        mean_loss(problem_with(sum_of_weights, []))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((sum_of_weights, sum_of_weights, []), "model must be a torch.nn.Module, got function"),
        ((nn.Linear(1, 1), 3, []), "loss must be a function of"),
        ((nn.Linear(1, 1), sum_of_weights, torch.ones(3)), "put a single batch into a list"),
    ],
)
def test_swapped_arguments_are_reported(arguments, message):
    with pytest.raises(TypeError, match=message):
        Problem(*arguments, name="mine")


def test_the_model_is_restored_also_after_an_error():
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    model[1].eval()
    model[0].bias.requires_grad_(False)
    model[0].weight.grad = torch.ones(3, 3)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()

    def damage():
        model.train()
        model(torch.randn(5, 3)).sum().backward()
        torch.nn.init.zeros_(model[0].weight)
        model.requires_grad_(True)
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"), preserve_model(model):
        damage()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name], rtol=0, atol=0)
    assert torch.equal(model[0].weight.grad, torch.ones(3, 3))
    assert model[1].weight.grad is None
    assert not model[0].bias.requires_grad
    assert [module.training for module in model] == [True, False, True]
    assert torch.equal(torch.get_rng_state(), random)


def test_complex_parameters_are_refused():
    model = nn.Linear(2, 1).to(torch.complex64)
    problem = Problem(model, lambda m, _: m.weight.abs().sum(), [None], name="complex")
    with pytest.raises(TypeError, match="parameters must be real"):
        hessian_directions(problem, 1)


def test_a_model_without_trainable_parameters_is_refused():
    model = nn.Linear(2, 1).requires_grad_(False)
    problem = Problem(model, lambda m, _: m.weight.sum(), [None], name="frozen")
    with pytest.raises(ValueError, match="a parameter that requires a gradient, got none"):
        hessian_directions(problem, 1)


def test_a_generator_is_refused_because_one_pass_empties_it():
    model = nn.Linear(2, 1)
    with pytest.raises(TypeError, match="iterable repeatedly, got a generator"):
        Problem(model, lambda m, b: m(b).mean(), (torch.ones(2, 2) for _ in range(3)), name="gone")


def test_a_problem_is_converted_with_its_batches():
    model = nn.Linear(2, 1)
    nn.init.constant_(model.weight, 0.3)  # of either sign, bfloat16 would lose their difference
    nn.init.constant_(model.bias, 0.1)
    batch = {"x": torch.ones(4, 2), "y": [torch.zeros(4, dtype=torch.int64)], "note": "text"}
    problem = Problem(model, lambda m, b: m(b["x"]).square().mean(), [batch], name="any")
    double = convert_problem(problem, dtype="float64", device="cpu")
    (moved,) = double.batches
    assert moved["x"].dtype == torch.float64
    assert moved["y"][0].dtype == torch.int64
    assert moved["note"] == "text"
    assert next(double.model.parameters()).dtype == torch.float64
    assert len(list(double.batches)) == len(list(double.batches)) == 1
    exact = mean_loss(double)
    with pytest.raises(ValueError, match="autocast must have float32 parameters, got float64"):
        convert_problem(problem, autocast="bfloat16")
    half = convert_problem(problem, dtype="float32", autocast="bfloat16")
    assert mean_loss(half) == pytest.approx(exact, rel=0.02)
    assert mean_loss(half) != mean_loss(convert_problem(problem, dtype="float32"))
    assert next(half.model.parameters()).dtype == torch.float32
    with pytest.raises(ValueError, match="dtype must be one of float32, float64, got 'float8'"):
        convert_problem(problem, dtype="float8")
    with pytest.raises(ValueError, match="device must be available here, got 'tpu'"):
        convert_problem(problem, device="tpu")


def test_a_model_in_half_precision_is_converted_and_refused_otherwise():
    x = torch.ones(3, 2, dtype=torch.bfloat16)
    problem = Problem(
        nn.Linear(2, 1).bfloat16(), lambda m, b: m(b).square().mean(), [x], name="half"
    )
    with pytest.raises(TypeError, match=r"must be float32 or float64.*convert the model with"):
        hessian_directions(problem, 1)
    with pytest.warns(UserWarning, match="parameters were converted from bfloat16 to float32"):
        converted = convert_problem(problem)
    assert next(converted.model.parameters()).dtype == torch.float32
    assert next(iter(converted.batches)).dtype == torch.float32


def test_a_buffer_that_forward_rebinds_comes_back():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 1)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls = self.calls + 1
            return self.layer(x)

    model = Counting()
    calls = model.calls
    with preserve_model(model):
        model(torch.ones(1, 2))
        assert model.calls == 1
    assert model.calls is calls
    assert calls == 0


def test_an_expanded_parameter_does_not_stop_the_restoration():
    model = nn.Linear(3, 2)
    model.weight = nn.Parameter(torch.ones(1, 3).expand(2, 3))
    model.bias.grad = torch.ones(2)
    with preserve_model(model):
        model.eval()
        model.bias.grad = None
        model.bias.data.add_(1)
    assert model.training
    assert model.bias.grad.tolist() == [1, 1]
    assert torch.equal(model.weight, torch.ones(2, 3))


@pytest.mark.parametrize("wrap", [torch.compile, torch.jit.script], ids=["compile", "script"])
def test_a_compiled_module_is_refused_with_the_way_out(wrap):
    """Such modules have no second derivative, and their own errors do not say what to do."""
    inner = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    for model in (wrap(inner), nn.Sequential(wrap(inner), nn.Linear(2, 1))):
        with pytest.raises(TypeError, match=r"pass the module before torch\.compile"):
            Problem(model, lambda m, b: m(b).mean(), [torch.ones(1, 2)], name="compiled")


class _Merging(torch.nn.Module):
    """A layer that adds a part to its weight in evaluation mode, as low-rank adapters do."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full((3,), 0.1))
        self.part = torch.nn.Parameter(torch.full((3,), 0.3))
        self.is_merged = False

    def train(self, mode=True):
        super().train(mode)
        if self.is_merged == mode:
            sign = -1.0 if mode else 1.0
            self.weight.data.add_(self.part.data, alpha=sign)
            self.is_merged = not mode
        return self


def test_a_module_with_its_own_train_method_is_restored():
    model = torch.nn.Sequential(_Merging())
    before = model[0].weight.detach().clone()
    with preserve_model(model):
        model.eval()
        assert model[0].is_merged
    assert not model[0].is_merged
    assert torch.equal(model[0].weight, before)
    assert model.training


def test_the_sign_of_zero_and_new_buffers_are_restored():
    model = torch.nn.Linear(1, 1)
    model.register_buffer("zero", torch.tensor([-0.0]))
    with preserve_model(model):
        model.zero.abs_()
        model.register_buffer("seen", torch.ones(1))
    assert torch.signbit(model.zero).all()
    assert list(model.state_dict()) == ["weight", "bias", "zero"]
