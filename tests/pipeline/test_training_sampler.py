import numpy as np
import pytest
import torch

from tlp_core.landscape.series import find_checkpoints
from tlp_core.pipeline.sampler import LandscapeSettings
from tlp_core.pipeline.training_sampler import TrainingSampler, step_named, training_folder

PROBLEM = """
import torch
from tlp_core import Problem

def make_problem():
    model = torch.nn.Linear(2, 1).double()
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], dtype=torch.float64)
    loss = lambda model, batch: ((model(batch) - 1) ** 2).mean()
    return Problem(model, loss, [x], name="line")
"""


@pytest.fixture
def training(tmp_path):
    (tmp_path / "line.py").write_text(PROBLEM)
    for step in (0, 5, 10):
        weight = torch.tensor([[step / 10, 0.5]], dtype=torch.float64)
        state = {"weight": weight, "bias": torch.zeros(1, dtype=torch.float64)}
        torch.save(state, tmp_path / f"step_{step}.pt")
    settings = LandscapeSettings(
        problem=str(tmp_path / "line.py"), resolution=5, store=str(tmp_path / "kept")
    )
    return settings, find_checkpoints([tmp_path / "*.pt"])


def test_fixed_directions_are_those_of_one_step(training):
    settings, checkpoints = training
    sampler, last = TrainingSampler(), step_named(checkpoints, None)
    first = sampler.sample(settings, checkpoints[0], directions_of=last)
    there = sampler.sample(settings, last, directions_of=last)
    own = sampler.sample(settings, checkpoints[0])
    assert first.facts["directions_hash"] == there.facts["directions_hash"]
    assert first.facts["checkpoint_hash"] != there.facts["checkpoint_hash"]
    assert own.center == first.center != there.center
    assert len(list(training_folder(settings, last).glob("*.zarr"))) == 2


def test_a_step_that_was_sampled_is_read_from_disk(training, monkeypatch):
    settings, checkpoints = training
    sampled = TrainingSampler().sample(settings, checkpoints[1], directions_of=checkpoints[0])
    again = TrainingSampler()
    monkeypatch.setattr(again, "_sampler", None)  # nothing to sample with
    read = again.sample(settings, checkpoints[1], directions_of=checkpoints[0])
    np.testing.assert_array_equal(read.loss, sampled.loss)


def test_a_checkpoint_or_setting_that_changed_is_sampled_again(training):
    settings, checkpoints = training
    sampler = TrainingSampler()
    before = sampler.sample(settings, checkpoints[0])
    state = torch.load(checkpoints[0].path)
    torch.save({"weight": state["weight"] + 1, "bias": state["bias"]}, checkpoints[0].path)
    assert sampler.sample(settings, checkpoints[0]).center != before.center
    wider = LandscapeSettings(**{**vars(settings), "distance": 2.0})
    assert sampler.sample(wider, checkpoints[0]).distance[0] == 2.0


def test_a_step_that_was_stopped_is_gone_on_with(training):
    settings, checkpoints = training
    sampler = TrainingSampler()
    with pytest.warns(UserWarning, match="stopped"):
        part = sampler.sample(settings, checkpoints[0], should_stop=lambda: True)
    assert not part.is_complete
    assert sampler.sample(settings, checkpoints[0]).is_complete


def test_a_step_that_is_not_there_is_told(training):
    _, checkpoints = training
    with pytest.raises(ValueError, match="must be one of 0, 5, 10, got 7"):
        step_named(checkpoints, 7)
