"""Tests of the recorder: it records, keeps to its share of the time, and changes nothing."""

import csv
import logging
import random
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.tiny_models import gpt2
from tlp_core import Landscape, LandscapeRecorder, Problem, describe
from tlp_core.landscape.series import find_landscapes
from tlp_core.recorder.budget import TimeBudget
from tlp_core.recorder.measurement import coarser
from tlp_core.recorder.schedule import EverySteps, LogSteps
from tlp_core.sampling.settings import GridSettings
from tlp_core.topology.landscape_tree import landscape_tree

TOKENS = torch.randint(0, 32, (32, 8), generator=torch.Generator().manual_seed(1))


def text_loss(model, batch):
    return model(input_ids=batch, labels=batch).loss


def rows_of(folder):
    with open(folder / "descriptors.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def state_of(model, optimizer):
    """Every byte that the rest of a training depends on."""
    tensors = [*model.state_dict().values()]
    for entry in optimizer.state_dict()["state"].values():
        tensors += [value for value in entry.values() if torch.is_tensor(value)]
    tensors += [p.grad for p in model.parameters() if p.grad is not None]
    bytes_ = b"".join(t.detach().numpy().tobytes() for t in tensors)
    modes = [module.training for module in model.modules()]
    draws = (random.random(), np.random.random(), float(torch.rand(())))
    return bytes_, modes, draws


def train(folder=None, steps=200, **options):
    """Train with dropout, gradients of two batches a step, and shuffled data."""
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    model = gpt2()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    recorder = None
    if folder is not None:
        batches = DataLoader(TOKENS[:8], batch_size=4)  # a loader draws a random seed
        problem = Problem(model, text_loss, batches, name="gpt")
        recorder = LandscapeRecorder(problem, folder, **options)
    model.train()
    step = calls = 0
    while step < steps:
        for batch in DataLoader(TOKENS, batch_size=4, shuffle=True):
            text_loss(model, batch).backward()
            calls += 1
            if calls % 2 == 0:
                optimizer.step()
                step += 1
                if recorder is not None:
                    recorder.step(step)  # while gradients are there
                optimizer.zero_grad()
            if step == steps:
                break
    if recorder is not None:
        recorder.close()
    return state_of(model, optimizer)


@pytest.fixture(scope="module")
def undisturbed_end():
    return train()


@pytest.mark.parametrize(
    "directions",
    [
        pytest.param("random", marks=pytest.mark.exhaustive),
        pytest.param("gradient", marks=pytest.mark.exhaustive),
        "eigenvectors",
    ],
)
def test_a_training_ends_in_the_same_bytes(directions, undisturbed_end, tmp_path):
    end = train(tmp_path, schedule=50, resolution=5, share=None, directions=directions)
    assert end == undisturbed_end
    rows = rows_of(tmp_path)
    assert [int(row["step"]) for row in rows] == [1, 50, 100, 150, 200]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    for row, member in zip(rows, find_landscapes([tmp_path]), strict=True):
        landscape = Landscape.open(member.path)
        assert landscape.is_complete
        assert landscape.center == float(row["loss"])
        found = describe(landscape_tree(landscape, threshold=1e-3)).as_dict()
        assert {name: repr(float(row[name])) for name in found} == {
            name: repr(float(value)) for name, value in found.items()
        }
        assert row["resolution"] == "5.0"
        assert 0 <= float(row["overlap"]) <= 1
    hashes = {
        Landscape.open(m.path).provenance["directions_hash"] for m in find_landscapes([tmp_path])
    }
    assert len(hashes) == 1
    if directions == "eigenvectors":
        assert float(rows[0]["overlap"]) > 0.5


def test_followed_eigenvalues_become_those_of_the_hessian(small_problem, tmp_path):
    from tlp_core import hessian_directions

    true = hessian_directions(small_problem, 2, method="lanczos")
    with LandscapeRecorder(
        small_problem, tmp_path, schedule=1, resolution=3, share=None, engine="single"
    ) as recorder:
        for step in range(6):
            recorder.step(step)
    rows = rows_of(tmp_path)
    found = [float(rows[-1][f"eigenvalue_{i}"]) for i in (1, 2)]
    assert found == pytest.approx(true.eigenvalues, rel=1e-4)
    errors = [float(row["residual_1"]) for row in rows]
    assert errors[-1] < 1e-3 * abs(found[0])
    assert errors[-1] < errors[0]


def test_a_failure_is_logged_once_and_the_training_goes_on(small_problem, tmp_path, caplog):
    calls = []

    def failing(model, batch):
        calls.append(1)
        raise ValueError(f"a broken loss at {time.time()}")

    model = small_problem.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recorder = LandscapeRecorder(
        replace(small_problem, loss=failing), tmp_path, schedule=1, share=None
    )
    with caplog.at_level(logging.WARNING):
        assert [recorder.step(step) for step in range(5)] == [None] * 5
    assert len(calls) == 5
    (record,) = caplog.records
    assert "a step was not recorded: LossError" in record.message
    assert "a broken loss" in record.message
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training


def test_a_training_that_resumes_goes_on_in_its_folder(small_problem, tmp_path, caplog):
    options = {"schedule": 2, "share": None, "sharpness": False, "eigenvalues": 0, "resolution": 5}
    with LandscapeRecorder(small_problem, tmp_path, **options) as recorder:
        for step in range(5):
            recorder.step(step)
    directions = (tmp_path / "directions.safetensors").read_bytes()
    (tmp_path / "step_6.zarr").mkdir()  # of a record that was cut off, as the line below
    with open(tmp_path / "descriptors.csv", "a") as table:
        table.write("6,0.5,")
    with LandscapeRecorder(small_problem, tmp_path, **options) as recorder:
        made = [step for step in range(3, 9) if recorder.step(step) is not None]
    assert made == [6, 8]
    assert "those after step 4 are added" in caplog.text
    assert [row["step"] for row in rows_of(tmp_path)] == ["0", "2", "4", "6", "8"]
    assert (tmp_path / "directions.safetensors").read_bytes() == directions
    for name, value in (("resolution", 7), ("eigenvalues", 1), ("seed", 3)):
        with LandscapeRecorder(small_problem, tmp_path, **{**options, name: value}) as recorder:
            assert recorder.step(10) is None
        field = "samples" if name == "resolution" else name
        assert f"{field} must be that of the records" in caplog.text
    assert len(rows_of(tmp_path)) == 5


def test_a_recorder_keeps_to_its_share(small_problem, tmp_path, monkeypatch):
    """Each step of the training takes a second of a clock that counts how often it is read."""
    offset = [0.0]

    def read():
        offset[0] += 1e-4
        return offset[0]

    monkeypatch.setattr(time, "perf_counter", read)
    recorder = LandscapeRecorder(
        small_problem, tmp_path, schedule=5, share=0.05, eigenvalues=0, sharpness=False
    )
    original = recorder._measurement.at

    def slow(*arguments):
        offset[0] += 0.9  # more than the 0.25 s that are allowed for 5 steps
        return original(*arguments)

    monkeypatch.setattr(recorder._measurement, "at", slow)
    monkeypatch.setattr(recorder._measurement, "time_evaluation", lambda: 0.005)
    made = []
    for step in range(120):
        offset[0] += 1.0
        made.append(recorder.step(step) is not None)
    rows = rows_of(tmp_path)
    assert {row["resolution"] for row in rows} == {"5.0"}  # 121 + 12 evaluations would take 0.67 s
    assert 3 <= len(rows) <= 6
    assert max(float(row["share"]) for row in rows[1:]) <= 0.055
    late = [int(row["step"]) - int(float(row["due_step"])) for row in rows]
    assert max(late) < 5  # a later one replaces it
    gaps = [b - a for a, b in pairwise(int(row["step"]) for row in rows)]
    assert min(gaps[1:]) >= 15


def test_the_share_is_that_of_the_whole_training_where_its_length_is_known(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for total, expected in ((None, False), (1000, True)):
        budget = TimeBudget(0.05, total)
        for step in range(6):
            budget.enter(step)
            budget.leave(step)
            clock[0] += 1.0
        assert budget.has_measured()
        assert budget.training == 5.0
        assert budget.seconds_for(10) == pytest.approx(0.5)
        assert budget.allows(0.2)
        assert budget.allows(40.0) is expected


def test_schedules():
    assert [
        EverySteps(10).due(after, step) for after, step in ((-1, 0), (0, 9), (9, 10), (10, 35))
    ] == [
        0,
        None,
        10,
        30,
    ]
    assert LogSteps(1000, 2).steps == (0, 1000)
    schedule = LogSteps(1000, 10)
    assert schedule.steps[:3] == (0, 1, 2)
    assert schedule.steps[-1] == 1000
    assert len(schedule.steps) <= 10
    ratios = [b / a for a, b in pairwise(schedule.steps[3:])]
    assert max(ratios) / min(ratios) < 1.3
    assert (schedule.due(2, 4), schedule.due(-1, 2000)) == (None, 1000)


def test_half_precision_stays_and_a_frozen_part_does_no_harm(tmp_path, caplog):
    """A frozen bfloat16 part below a head in float32, and a model that is all bfloat16."""
    x, y = torch.randn(32, 4), torch.randn(32, 1)

    class Frozen(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.below = torch.nn.Linear(4, 8).bfloat16().requires_grad_(False)
            self.head = torch.nn.Linear(8, 1)

        def forward(self, x):
            return self.head(torch.tanh(self.below(x.bfloat16())).float())

    def loss(model, batch):
        return (model(batch[0]).float() - batch[1]).square().mean()

    for name, model in (("frozen", Frozen()), ("all", torch.nn.Linear(4, 1).bfloat16())):
        kinds = {key: value.dtype for key, value in model.state_dict().items()}
        batch = (x, y) if name == "frozen" else (x.bfloat16(), y)
        optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
        problem = Problem(model, loss, [batch], name=name)
        options = {"schedule": 1, "resolution": 3, "share": None}
        with LandscapeRecorder(problem, tmp_path / name, **options) as recorder:
            for step in range(3):
                optimizer.zero_grad()
                loss(model, batch).backward()
                optimizer.step()
                made = recorder.step(step) is not None
        assert made == (name == "frozen")
        assert {key: value.dtype for key, value in model.state_dict().items()} == kinds
    assert "parameters must be float32 or float64" in caplog.text


def test_autocast_around_the_call_and_of_the_problem_sees_the_new_weights(tmp_path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    x, y = torch.randn(64, 4), torch.randn(64, 1)

    def loss(model, batch):
        return (model(batch[0]).float() - batch[1]).square().mean()

    problem = Problem(model, loss, [(x, y)], name="autocast", autocast="bfloat16")
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    with LandscapeRecorder(problem, tmp_path, schedule=1, resolution=3, share=None) as recorder:
        for step in range(3):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss(model, (x, y)).backward()
                optimizer.step()
                optimizer.zero_grad()
                record = recorder.step(step)
            with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
                assert record.values["loss"] == float(loss(model, (x, y)))
    assert all(np.isfinite(float(row["critical_sharpness"])) for row in rows_of(tmp_path))


def test_a_step_of_several_calls_is_timed_as_a_whole(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    budget = TimeBudget(0.1, None)
    for call in range(24):
        budget.enter(call // 4)
        budget.leave(call // 4)
        clock[0] += 1.0
    assert budget.seconds_for(10) == pytest.approx(4.0)


def test_a_loader_or_a_model_that_the_training_shares_is_refused(small_problem, tmp_path):
    shared = {
        "shuffles": {"shuffle": True},
        "has a generator": {"generator": torch.Generator()},
        "keeps its workers": {"num_workers": 1, "persistent_workers": True},
    }
    for what, options in shared.items():
        loader = DataLoader(TOKENS, batch_size=4, **options)
        with pytest.raises(ValueError, match=f"got one that {what}"):
            LandscapeRecorder(replace(small_problem, batches=loader), tmp_path)

    class DistributedDataParallel(torch.nn.Linear):
        """Named as the wrapper of torch."""

    with pytest.raises(TypeError, match=r"use model\.module"):
        LandscapeRecorder(replace(small_problem, model=DistributedDataParallel(2, 1)), tmp_path)


def test_steps_that_are_no_integers_are_refused(small_problem, tmp_path):
    recorder = LandscapeRecorder(small_problem, tmp_path, schedule=1, share=None)
    with pytest.raises(TypeError, match=r"step must be an integer, got 4\.0"):
        recorder.step(4.0)
    with pytest.raises(ValueError, match="step must be >= 0"):
        recorder.step(-1)
    assert recorder.step(np.int64(3)).step == 3


def test_a_small_share_leaves_out_what_takes_long(small_problem, tmp_path, caplog, monkeypatch):
    """At first the grid becomes coarser, then eigenvalues and sharpness are left out."""
    for seconds, resolution, has_extras in ((1e-4, 11, True), (4e-3, 5, True), (6e-3, 5, False)):
        folder = tmp_path / str(seconds)
        recorder = LandscapeRecorder(small_problem, folder, schedule=10, share=0.5)
        monkeypatch.setattr(recorder._measurement, "time_evaluation", lambda s=seconds: s)
        monkeypatch.setattr(recorder._budget, "has_measured", lambda: True)
        monkeypatch.setattr(recorder._budget, "seconds_for", lambda _steps: 0.75)
        monkeypatch.setattr(recorder._budget, "allows", lambda _seconds: True)
        recorder.step(0)
        (row,) = rows_of(folder)
        assert int(float(row["resolution"])) == resolution
        assert np.isfinite(float(row["eigenvalue_1"])) == has_extras
        assert np.isfinite(float(row["critical_sharpness"])) == has_extras
        assert ("points per axis (wanted: 11)" in caplog.text) == (resolution < 11)
    along = LandscapeRecorder(small_problem, tmp_path / "along", directions="eigenvectors")
    assert all(effort.has_extras for effort in along._measurement.efforts())


def test_coarser_grids_are_odd():
    sizes = [grid.resolution for grid in coarser(GridSettings(41, 0.5))]
    assert sizes == [41, 21, 11, 5]
    assert [grid.resolution for grid in coarser(GridSettings(3))] == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": 10}, "resolution must be odd"),
        ({"share": 0.0}, "share must be > 0"),
        ({"directions": "lanczos"}, "directions must be one of random, gradient, eigenvectors"),
        ({"directions": "eigenvectors", "eigenvalues": 1}, "eigenvalues must be >= 2"),
        ({"schedule": 0}, "interval must be >= 1"),
        ({"threshold": 2.0}, "threshold must lie between 0 and 1"),
    ],
)
def test_bad_options_are_reported(options, message, small_problem, tmp_path):
    with pytest.raises(ValueError, match=message):
        LandscapeRecorder(small_problem, tmp_path, **options)
