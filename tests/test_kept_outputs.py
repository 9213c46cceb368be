"""Modules that do not depend on what moves are evaluated once, and the losses stay the same."""

import pytest
import torch
from torch import nn

import tlp_core.kept_outputs as kept_outputs
from tlp_core import Problem, random_directions, sample_grid
from tlp_core.kept_outputs import kept_outputs as keeping
from tlp_core.problem import mean_loss

BATCHES = [torch.arange(i, i + 12).reshape(3, 4) for i in (0, 40)]


class Net(nn.Module):
    """An embedding and blocks with residuals; the last linear layer reads the first block, too."""

    def __init__(self, vocabulary=60_000, width=20):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        self.head = nn.Linear(2 * width, 5)
        self.blocks[0].register_forward_pre_hook(lambda *_: None)

    def forward(self, tokens):
        x = self.embed(tokens)
        states = []
        for block in self.blocks:
            x = x + torch.tanh(block(x))
            states.append(x)
        return self.head(torch.cat([states[0], x], dim=-1))


def make(model, loss=lambda model, batch: model(batch).square().mean()):
    return Problem(model, loss, BATCHES, name="net")


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net().eval()


def counted(module):
    """Count the evaluations of a module: of its class, because kept outputs replace its method."""
    calls = []
    kind = type(module)
    original = kind.forward

    class Counting(kind):
        def forward(self, *args):
            calls.append(1)
            return original(self, *args)

    module.__class__ = Counting
    return calls


def nudge(parameters):
    with torch.no_grad():
        for parameter in parameters:
            parameter.mul_(1.25)


def test_blocks_before_the_moving_one_are_evaluated_once_for_each_batch(net):
    first, third = counted(net.blocks[1]), counted(net.blocks[2])
    moving = [*net.blocks[2].parameters(), *net.head.parameters()]
    problem = make(net)
    with keeping(problem, moving, 1e9) as kept:
        del first[:], third[:]
        nudge(moving)
        found = [mean_loss(kept) for _ in range(3)]
        assert (len(first), len(third)) == (0, 6)
    assert found == [mean_loss(problem)] * 3
    assert "forward" not in net.embed.__dict__


def test_outputs_that_exceed_the_limit_are_kept_in_a_file(net, caplog):
    caplog.set_level("INFO", logger="tlp_core")
    moving = list(net.head.parameters())
    with keeping(make(net), moving, memory_limit=500) as kept:
        assert "in a temporary file" in caplog.text
        nudge(moving)
        assert mean_loss(kept) == mean_loss(make(net))


def test_a_module_with_hooks_is_evaluated_every_time(net):
    """The first block has one; a hook may store what the loss reads."""
    calls = counted(net.blocks[0])
    with keeping(make(net), list(net.head.parameters()), 1e9) as kept:
        del calls[:]
        mean_loss(kept)
        assert len(calls) == len(BATCHES)


def test_a_network_of_which_everything_moves_is_not_searched(net):
    problem = make(net)
    calls = counted(net.head)
    with keeping(problem, list(net.parameters()), 1e9) as kept:
        assert kept is problem
    assert calls == []


@pytest.mark.parametrize("where", ["embed", "blocks.0"])
def test_nothing_is_kept_where_everything_moves(net, where):
    moving = list(net.get_submodule(where).parameters())
    problem = make(net)
    with keeping(problem, moving, 1e9) as kept:
        nudge(moving)
        assert mean_loss(kept) == mean_loss(problem)


def test_what_depends_on_parameters_outside_their_module_is_not_kept(net):
    """The loss passes a scaled parameter of the head into the network."""

    def loss(model, batch):
        x = model.embed(batch) * model.head.weight.mean()
        return model.blocks[3](model.blocks[1](x)).square().mean()

    problem = make(net, loss)
    moving = [net.head.weight]
    with keeping(problem, moving, 1e9) as kept:
        nudge(moving)
        assert mean_loss(kept) == mean_loss(problem)


def test_a_loss_that_draws_numbers_is_left_alone(net):
    def loss(model, batch):
        torch.manual_seed(0)
        return (model(batch) + torch.randn(5)).square().mean()

    problem = make(net, loss)
    with keeping(problem, list(net.head.parameters()), 1e9) as kept:
        assert kept is problem


def test_an_output_that_is_changed_in_place_is_not_kept(net):
    def loss(model, batch):
        x = model.embed(batch)
        x += model.head.bias.sum()
        return model.blocks[1](x).square().mean()

    problem = make(net, loss)
    with torch.no_grad(), keeping(problem, [net.head.bias], 1e9) as kept:
        assert [mean_loss(kept)] * 2 == [mean_loss(problem), mean_loss(kept)]


def test_a_landscape_of_the_last_block_evaluates_the_others_once(net):
    problem = make(net)
    directions = random_directions(problem, 2, parameters="head.*")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    options = {"resolution": 5, "distance": 0.5, "engine": "single"}
    small = kept_outputs._SMALL_MODEL
    found = sample_grid(problem, directions, **options)
    calls = counted(net.blocks[1])
    sample_grid(problem, directions, **options)
    assert 0 < len(calls) < 25 * len(BATCHES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kept_outputs, "_SMALL_MODEL", 100 * small)
        plain = sample_grid(problem, directions, **options)
    assert (found.loss == plain.loss).all()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
