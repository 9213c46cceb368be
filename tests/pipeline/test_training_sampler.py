import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from tlp_core.landscape.series import find_checkpoints
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.pipeline.training_sampler import TrainingSampler, find_step
from tlp_core.problems.settings import ProblemSettings
from tlp_core.sampling.settings import GridSettings, RunSettings

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
        problem=ProblemSettings(str(tmp_path / "line.py")),
        samples=GridSettings(resolution=5),
        run=RunSettings(store=str(tmp_path / "kept")),
    )
    return settings, find_checkpoints([tmp_path / "*.pt"])


def test_fixed_directions_are_those_of_one_step(training):
    settings, checkpoints = training
    sampler, last = TrainingSampler(), find_step(checkpoints, None)
    first = sampler.sample(settings, checkpoints[0], directions_of=last)
    there = sampler.sample(settings, last, directions_of=last)
    own = sampler.sample(settings, checkpoints[0])
    assert first.provenance["directions_hash"] == there.provenance["directions_hash"]
    assert first.provenance["checkpoint_hash"] != there.provenance["checkpoint_hash"]
    assert own.center == first.center != there.center
    assert len(list(sampler.folder_of(settings, last).glob("*.zarr"))) == 2


def test_a_step_that_was_sampled_is_read_from_disk(training, monkeypatch):
    settings, checkpoints = training
    sampled = TrainingSampler().sample(settings, checkpoints[1], directions_of=checkpoints[0])
    again = TrainingSampler()
    monkeypatch.setattr(again._sampler, "sample", None)  # nothing to sample with
    read = again.sample(settings, checkpoints[1], directions_of=checkpoints[0])
    np.testing.assert_array_equal(read.loss, sampled.loss)


def test_a_checkpoint_or_setting_that_changed_is_sampled_again(training):
    settings, checkpoints = training
    sampler = TrainingSampler()
    before = sampler.sample(settings, checkpoints[0])
    state = torch.load(checkpoints[0].path)
    torch.save({"weight": state["weight"] + 1, "bias": state["bias"]}, checkpoints[0].path)
    assert sampler.sample(settings, checkpoints[0]).center != before.center
    wider = replace(settings, samples=GridSettings(resolution=5, distance=2.0))
    assert sampler.sample(wider, checkpoints[0]).distance[0] == 2.0


def test_a_landscape_is_stored_by_content_not_by_time(training, tmp_path):
    settings, checkpoints = training
    stores = [TrainingSampler().store_of(settings, checkpoints[0], None)]
    for file in (checkpoints[0].path, tmp_path / "line.py"):
        os.utime(file, (1, 1))
        stores.append(TrainingSampler().store_of(settings, checkpoints[0], None))
    assert len(set(stores)) == 1


@pytest.mark.parametrize("what", ["problem", "module", "lazy module", "data"])
def test_a_problem_with_changed_file_module_or_data_is_sampled_again(training, tmp_path, what):
    settings, checkpoints = training
    (tmp_path / "scale.py").write_text("SCALE = 1.0\n")
    torch.save(torch.eye(2, dtype=torch.float64), tmp_path / "x.pt")
    problem = PROBLEM.replace("import torch\n", "import torch\nfrom scale import SCALE\n", 1)
    problem = problem.replace("- 1) ** 2", "- 1) ** 2 * SCALE").replace("[x]", "[torch.load(DATA)]")
    problem = problem.replace("DATA", repr(str(tmp_path / "x.pt")))
    if what == "lazy module":  # imported within the function
        problem = problem.replace("from scale import SCALE\n", "", 1)
        problem = problem.replace("    model =", "    from scale import SCALE\n    model =", 1)
    (tmp_path / "line.py").write_text(problem)
    before = TrainingSampler().sample(settings, checkpoints[0])
    if what == "problem":
        (tmp_path / "line.py").write_text(problem.replace("* SCALE", "* 2 * SCALE"))
    elif "module" in what:
        (tmp_path / "scale.py").write_text("SCALE = 2.0\n")  # the same size, the same second
    else:
        torch.save(2 * torch.eye(2, dtype=torch.float64), tmp_path / "x.pt")
    after = TrainingSampler().sample(settings, checkpoints[0])
    assert after.center != before.center
    assert after.center == TrainingSampler().sample(settings, checkpoints[0]).center


def test_a_stopped_step_is_resumed(training):
    settings, checkpoints = training
    sampler = TrainingSampler()
    with pytest.warns(UserWarning, match="stopped"):
        part = sampler.sample(settings, checkpoints[0], should_stop=lambda: True)
    assert not part.is_complete
    assert sampler.sample(settings, checkpoints[0]).is_complete


def test_a_missing_step_is_reported(training):
    _, checkpoints = training
    with pytest.raises(ValueError, match="must be one of 0, 5, 10, got 7"):
        find_step(checkpoints, 7)


def test_a_step_of_seven_digits_keeps_them(training):
    settings, (first, *_) = training
    members = [replace(first, step=float(step)) for step in (1_234_567, 1_234_568)]
    names = [TrainingSampler().store_of(settings, member, None).name for member in members]
    assert [name.split("-")[0] for name in names] == ["step_1234567", "step_1234568"]
    with pytest.raises(ValueError, match="must be one of 1234567, 1234568, got 1234569"):
        find_step(members, 1_234_569)
