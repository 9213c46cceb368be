import math
import sys

import pytest
import torch

from tests.oracles import assert_gradient
from tlp_core import Problem, load_problem
from tlp_core.problem import convert_problem, evaluate_metrics, mean_loss
from tlp_core.problems import READY_PROBLEMS
from tlp_core.problems import pinn_convection as pinn
from tlp_core.problems.settings import parse_arguments
from tlp_core.problems.weights import load_checkpoint

GOOD = """
import torch
from tlp_core import Problem

def make_problem(width=2):
    model = torch.nn.Linear(width, 1)
    return Problem(model, lambda m, b: m(b).square().mean(), [torch.ones(4, width)], name="user's")
"""


@pytest.fixture
def write(tmp_path):
    def write_file(text, name="my_net.py"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write_file


FEWER_IMAGES = {"unet-crf": {"images": 2}}  # 32 take a minute, and the batch has one size


@pytest.mark.parametrize("name", READY_PROBLEMS)
def test_ready_problems_have_a_finite_loss(name):
    assert math.isfinite(mean_loss(load_problem(name, arguments=FEWER_IMAGES.get(name))))


SMALL = {
    "unet-crf": {"size": 16, "images": 2, "depth": 2, "width": 2},
    "resnet20": {"images": 8, "blocks": 1, "width": 2},
    "character-gpt": {"width": 8, "layers": 1, "heads": 2, "sequences": 2},
    "modular-addition": {"p": 7, "width": 8},
}


@pytest.mark.parametrize("name", READY_PROBLEMS)
def test_metrics_follow_the_precision_of_the_model(name):
    problem = load_problem(name, arguments=SMALL.get(name))
    single = evaluate_metrics(problem)
    double = evaluate_metrics(convert_problem(problem, dtype="float64"))
    assert double == pytest.approx(single, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet20", {"skip": "no"}, "skip must be True or False, got 'no'"),
        ("resnet20", {"images": -3}, "images must be >= 1, got -3"),
        ("resnet20", {"blocks": 0}, "blocks must be >= 1, got 0"),
        ("unet-crf", {"radius": -1}, "radius must be >= 1, got -1"),
        ("unet-crf", {"images": "many"}, "images must be an integer, got 'many'"),
        ("character-gpt", {"heads": 0}, "heads must be >= 1, got 0"),
        ("character-gpt", {"sequences": 0}, "sequences must be >= 1, got 0"),
        ("modular-addition", {"train_fraction": 1e-9}, "train_fraction must leave pairs"),
        ("hf:", {}, "hf: must name a folder with a model"),
    ],
)
def test_bad_arguments_of_ready_problems_are_reported(name, arguments, message):
    with pytest.raises((RuntimeError, ValueError, TypeError, FileNotFoundError), match=message):
        load_problem(name, arguments=arguments)


def test_metrics_that_fail_are_reported():
    images = torch.ones(2, 3)
    problem = Problem(
        torch.nn.Linear(3, 1).double(),
        lambda m, b: m(b).square().mean(),
        [images.double()],
        name="mine",
        metrics=lambda model: {"error": model(images).mean().item()},
    )
    with pytest.raises(RuntimeError, match="metrics of 'mine' must be numbers, computed in the mo"):
        evaluate_metrics(problem)


def test_a_users_file_is_loaded_with_arguments(write):
    file = write(GOOD)
    assert load_problem(file).model.in_features == 2
    assert load_problem(f"{file}:make_problem", arguments={"width": 5}).model.in_features == 5


def test_a_users_file_may_import_its_neighbour(write):
    write("WIDTH = 7", "settings_of_mine.py")
    text = GOOD.replace("import torch", "import torch\nfrom settings_of_mine import WIDTH", 1)
    assert load_problem(write(text.replace("width=2", "width=WIDTH"))).model.in_features == 7


def test_modules_of_one_name_in_two_folders_are_distinguished(tmp_path):
    text = GOOD.replace("import torch", "import torch\nfrom helper import WIDTH", 1)
    for width in (3, 4):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "net.py").write_text(text.replace("width=2", "width=WIDTH"))
        (folder / "helper.py").write_text(f"WIDTH = {width}")
        assert load_problem(str(folder / "net.py")).model.in_features == width


def test_an_environment_in_the_folder_is_not_imported_again(tmp_path):
    packages = tmp_path / "venv" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "installed_here.py").write_text("")
    (tmp_path / "beside.py").write_text("")
    imports = f"import sys\nsys.path.append({str(packages)!r})\nimport installed_here, beside\n"
    (tmp_path / "net.py").write_text(imports + GOOD)
    load_problem(str(tmp_path / "net.py"))
    before = {name: sys.modules[name] for name in ("installed_here", "beside", "tlp_core")}
    load_problem(str(tmp_path / "net.py"))
    same = {name: sys.modules[name] is module for name, module in before.items()}
    assert same == {"installed_here": True, "beside": False, "tlp_core": True}
    sys.path.remove(str(packages))


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("def make_problem(:\n", ValueError, "must parse: line 1"),
        ("x = 1\n", ValueError, "must define a function make_problem, and does not"),
        ("make_problem = 3\n", ValueError, "must define a function make_problem"),
        ("1 / 0\n", RuntimeError, r"raised ZeroDivisionError: division by zero .*line 1"),
        ("def make_problem():\n    1 / 0\n", RuntimeError, r"raised ZeroDivisionError.*line 2"),
        ("def make_problem():\n    return 3\n", TypeError, "return a tlp_core.Problem, got int"),
        ("import no_such_module_here\n", RuntimeError, "raised ModuleNotFoundError"),
    ],
)
def test_a_wrong_users_file_is_reported(write, text, error, message):
    with pytest.raises(error, match=message):
        load_problem(write(text))


def test_a_missing_file_is_reported():
    with pytest.raises(FileNotFoundError, match=r"two-wells.*found no file 'nowhere.py'"):
        load_problem("nowhere.py:make_problem")


def test_arguments_that_do_not_fit_are_reported():
    with pytest.raises(ValueError, match=r"must fit \(n=2, .*unexpected keyword.*'beta'"):
        load_problem("two-wells", arguments={"beta": 3})


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        (
            "beta=30, name = abc,rate=1e-3, flag=True,sizes=None",
            {"beta": 30, "name": "abc", "rate": 1e-3, "flag": True, "sizes": None},
        ),
        ("layers=[64, 64], tilt=(1,2)", {"layers": [64, 64], "tilt": (1, 2)}),
        (
            "layers=[64, 64], data=/a b/c, x.pt, beta=3",
            {"layers": [64, 64], "data": "/a b/c, x.pt", "beta": 3},
        ),
        ("name='x, b=2', c={'d': 3}", {"name": "x, b=2", "c": {"d": 3}}),
        ("data=C:\\x\\y.pt, beta=-3", {"data": "C:\\x\\y.pt", "beta": -3}),
        ("text=it's, b=2", {"text": "it's", "b": 2}),
    ],
)
def test_arguments_are_literals_or_strings(text, arguments):
    assert parse_arguments(text) == arguments


@pytest.mark.parametrize(
    "text", ["beta", "3", "a=1, a=2", "**x", "a=1)(b=2", "f(x)=3", "=3", "a=/x, a=/y"]
)
def test_arguments_of_another_form_are_refused(text):
    with pytest.raises(ValueError, match="arguments must be like"):
        parse_arguments(text)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model"])
def test_checkpoints_are_read_alone_or_under_a_key(tmp_path, key):
    trained = pinn.make_problem(seed=5)
    state = trained.model.state_dict()
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "w.pt")
    problem = load_problem("pinn-convection", checkpoint=tmp_path / "w.pt")
    for one, other in zip(problem.model.parameters(), trained.model.parameters()):
        assert torch.equal(one, other)


def test_safetensors_are_read(tmp_path):
    from safetensors.torch import save_file

    trained = pinn.make_problem(seed=5)
    save_file(trained.model.state_dict(), tmp_path / "w.safetensors")
    problem = load_problem("pinn-convection", checkpoint=tmp_path / "w.safetensors")
    assert torch.equal(problem.model[0].weight, trained.model[0].weight)


def test_a_checkpoint_of_another_network_is_reported(tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        ValueError, match=r"must fit the network of .*0.bias is missing .and 11 more"
    ):
        load_problem("pinn-convection", checkpoint=tmp_path / "w.pt")


def test_a_checkpoint_of_other_sizes_is_reported(tmp_path):
    state = pinn.make_problem().model.state_dict()
    state["0.weight"] = torch.zeros(50, 3)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"0.weight has shape \(50, 3\) instead of \(50, 2\)"):
        load_problem("pinn-convection", checkpoint=tmp_path / "w.pt")


class Mischief:
    def __reduce__(self):
        return (print, ("this must not run",))


@pytest.mark.parametrize("content", [b"no checkpoint", None, Mischief(), {"a": 1}, [1, 2]])
def test_a_file_that_is_no_checkpoint_is_reported(tmp_path, content, capsys):
    path = tmp_path / "w.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"checkpoint .* must") as error:
        load_problem("pinn-convection", checkpoint=path)
    assert "weights_only" not in str(error.value)
    assert "this must not run" not in capsys.readouterr().out


def test_a_missing_checkpoint_is_reported():
    with pytest.raises(FileNotFoundError, match="a checkpoint must be a file"):
        load_problem("pinn-convection", checkpoint="missing.pt")


def test_the_pinns_network_and_points_are_those_of_the_paper():
    problem = pinn.make_problem()
    (batch,) = problem.batches
    assert sum(p.numel() for p in problem.model.parameters()) == 7851
    assert {name: tuple(points.shape) for name, points in batch.items()} == {
        "start": (256, 2),
        "left": (100, 2),
        "right": (100, 2),
        "inside": (1000, 2),
    }
    assert len(torch.unique(batch["inside"], dim=0)) == 1000
    assert (batch["inside"] > 0).all()


def test_the_last_time_is_among_the_points_of_the_pinn():
    """The published code leaves out t = 0 and x = 0 only."""
    (batch,) = pinn.make_problem(collocation=255 * 99).batches
    assert batch["inside"][:, 1].max() == 1
    assert len(torch.unique(batch["inside"], dim=0)) == 255 * 99


def test_the_pinn_starts_as_linear_layers_of_torch_do():
    """Each parameter is uniform within 1 / sqrt(inputs); the published code changes nothing."""
    for layer in list(pinn.make_problem(seed=5).model)[::2]:
        limit = layer.in_features**-0.5
        for parameter in layer.parameters():
            values = parameter.detach().ravel()
            assert values.abs().max() <= limit
            if len(values) >= 50:
                assert values.abs().max() > 0.9 * limit
                assert values.std().item() == pytest.approx(limit / 3**0.5, rel=0.25)


def test_the_pinns_residual_is_the_derivative_by_autograd():
    problem = pinn.make_problem(beta=7.0)
    (batch,) = problem.batches
    points = batch["inside"].clone().requires_grad_()
    slopes = torch.autograd.grad(problem.model(points).sum(), points)[0]
    expected = slopes[:, 1] + 7.0 * slopes[:, 0]
    found = pinn.convection_residual(problem.model, batch["inside"], 7.0)
    torch.testing.assert_close(found, expected)


def test_the_pinns_loss_is_the_plain_one_and_its_gradient_that_of_finite_differences():
    problem = convert_problem(pinn.make_problem(beta=4.0, collocation=50, seed=3), dtype="float64")
    model, (batch,) = problem.model, problem.batches

    def network(points):
        for layer in model:
            points = (
                points @ layer.weight.T + layer.bias
                if hasattr(layer, "weight")
                else (points.tanh())
            )
        return points[:, 0]

    step = torch.tensor([1e-6, 0.0]), torch.tensor([0.0, 1e-6])
    inside = batch["inside"]
    u_x, u_t = ((network(inside + s) - network(inside - s)) / 2e-6 for s in step)
    plain = (
        (network(batch["start"]) - torch.sin(batch["start"][:, 0])).square().mean()
        + (network(batch["left"]) - network(batch["right"])).square().mean()
        + (u_t + 4.0 * u_x).square().mean()
    )
    assert problem.loss(model, batch).item() == pytest.approx(plain.item(), rel=1e-7)
    assert_gradient(problem)


def test_the_exact_solution_has_no_loss():
    class Exact(torch.nn.Module):
        def forward(self, points):
            return torch.sin(points[:, :1] - 3.0 * points[:, 1:])

    (batch,) = pinn.make_problem(beta=3.0).batches
    assert pinn.convection_loss(Exact(), batch, beta=3.0).item() < 1e-10
    assert pinn.relative_error(Exact(), 3.0) < 1e-6


def test_training_lowers_the_loss_and_repeats():
    losses = []
    for _ in range(2):
        problem = pinn.make_problem(beta=1.0, seed=2)
        before = mean_loss(problem)
        trained = pinn.train(problem, iterations=100)
        assert trained["iterations"] == 100
        losses.append(trained["loss"])
        assert losses[-1] < before / 10
    assert losses[0] == losses[1]


def test_training_goes_on_until_it_converges():
    """The changes of the loss fall below the published tolerance long before 100,000 iterations."""
    trained = pinn.train(pinn.make_problem(beta=1.0, seed=2, collocation=100))
    assert 100 < trained["iterations"] < 2000
    assert trained["relative error"] < 0.03


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"collocation": 0}, "collocation must be >= 1"),
        ({"collocation": 10**6}, "collocation must be <= 25245"),
        ({"seed": -1}, "seed must be >= 0"),
        ({"beta": "fast"}, "beta must be a number"),
    ],
)
def test_bad_arguments_of_the_pinn_are_reported(arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        pinn.make_problem(**arguments)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module."])
def test_checkpoints_of_wrapped_networks_load(prefix, tmp_path):
    problem = load_problem("two-wells")
    state = {f"{prefix}{key}": value + 1 for key, value in problem.model.state_dict().items()}
    torch.save(state, tmp_path / "wrapped.pt")
    load_checkpoint(problem, tmp_path / "wrapped.pt")
    (expected,) = state.values()
    assert torch.equal(next(problem.model.parameters()), expected)
