"""Tests of trainers, dashboards and alarms."""

import json
import math

import numpy as np
import pytest
import torch

from tests.recorder.test_recorder import TOKENS, rows_of, text_loss
from tests.tiny_models import gpt2
from tlp_core import Landscape, LandscapeRecorder, Problem, landscape_profile
from tlp_core.recorder.alarms import Alarm
from tlp_core.recorder.outputs import TensorBoard, WeightsAndBiases
from tlp_core.recorder.record import Record
from tlp_core.topology.landscape_tree import landscape_tree


def weights(model):
    return b"".join(value.detach().numpy().tobytes() for value in model.state_dict().values())


def recorder_of(model, folder, **options):
    problem = Problem(model, text_loss, [TOKENS[:4]], name="gpt")
    return LandscapeRecorder(problem, folder, schedule=100, resolution=5, share=None, **options)


def test_the_trainer_of_hugging_face_ends_in_the_same_bytes(tmp_path):
    """With accumulated gradients, mixed precision and dropout."""
    pytest.importorskip("accelerate")
    from transformers import Trainer, TrainingArguments

    from tlp_core.recorder.hugging_face import LandscapeCallback

    ends = []
    for records in (False, True):
        torch.manual_seed(0)
        model = gpt2()
        arguments = TrainingArguments(
            str(tmp_path / "trainer"),
            max_steps=200,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            learning_rate=1e-2,
            bf16=True,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            seed=3,
        )
        data = [{"input_ids": row, "labels": row} for row in TOKENS]
        callbacks = []
        if records:
            callbacks = [LandscapeCallback(recorder_of(model, tmp_path / "landscapes"))]
        arguments.logging_steps = 50
        Trainer(model, arguments, train_dataset=data, callbacks=callbacks).train()
        ends.append(weights(model))
    assert ends[0] == ends[1]
    assert [row["step"] for row in rows_of(tmp_path / "landscapes")] == ["0", "100", "200"]
    told = [float(row["training loss"]) for row in rows_of(tmp_path / "landscapes")]
    assert np.isnan(told[0])  # nothing was logged before the first step
    assert 0 < told[2] < told[1] < 6


def test_lightning_ends_in_the_same_bytes(tmp_path):
    """With accumulated gradients and dropout."""
    lightning = pytest.importorskip("lightning")
    from tlp_core.recorder.lightning import LandscapeCallback

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = gpt2()

        def training_step(self, batch):
            return text_loss(self.model, batch)

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-2)

    ends = []
    for records in (False, True):
        torch.manual_seed(0)
        module = Module()
        callbacks = []
        if records:
            callbacks = [LandscapeCallback(recorder_of(module.model, tmp_path / "landscapes"))]
        trainer = lightning.Trainer(
            max_steps=200,
            accumulate_grad_batches=2,
            accelerator="cpu",
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, torch.utils.data.DataLoader(TOKENS, batch_size=4, shuffle=True))
        ends.append(weights(module))
    assert ends[0] == ends[1]
    assert [row["step"] for row in rows_of(tmp_path / "landscapes")] == ["0", "100", "200"]
    told = [float(row["training loss"]) for row in rows_of(tmp_path / "landscapes")]
    assert np.isnan(told[0])
    assert 0 < told[2] < told[1] < 6


def test_tensorboard_gets_numbers_and_pictures(small_problem, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    problem_folder = tmp_path / "landscapes"
    with LandscapeRecorder(
        small_problem,
        problem_folder,
        schedule=2,
        resolution=5,
        share=None,
        outputs=[TensorBoard(tmp_path / "events")],
    ) as recorder:
        for step in range(3):
            recorder.step(step)
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    rows = rows_of(problem_folder)
    for name in ("loss", "number_of_minima", "eigenvalue_1", "critical_sharpness"):
        found = [(event.step, event.value) for event in events.Scalars(f"landscape/{name}")]
        wanted = [(int(row["step"]), float(row[name])) for row in rows]
        assert found == pytest.approx(np.array(wanted), rel=1e-6)
    pictures = events.Images("landscape/picture")
    assert [picture.step for picture in pictures] == [0, 2]
    assert min(pictures[0].width, pictures[0].height) > 300


def history_of(file):
    """Return what an offline file of Weights & Biases logged: a LevelDB log of protocol buffers.

    A file has blocks of 32 KiB; a record has a checksum (4 bytes), its length (2) and its kind (1):
    the whole, or the first, a middle or the last part of a message.
    """
    from wandb.proto.wandb_internal_pb2 import Record as Logged

    content, place, message, lines = file.read_bytes(), 7, b"", []
    while place + 7 <= len(content):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4 : place + 6], "little"), content[place + 6]
        message += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            logged, message = Logged.FromString(message), b""
            if logged.WhichOneof("record_type") == "history":
                items = logged.history.item
                lines.append(
                    {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in items}
                )
    return lines


def test_weights_and_biases_gets_numbers_pictures_and_tables(small_problem, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(mode="offline", project="landscapes", dir=tmp_path) as run:
        run.log({"own": 1.0}, step=50)  # the recorder's steps are below
        with LandscapeRecorder(
            small_problem,
            tmp_path / "landscapes",
            schedule=2,
            resolution=5,
            share=None,
            outputs=[WeightsAndBiases(run)],
        ) as recorder:
            for step in range(3):
                recorder.step(step)
    wandb.teardown()  # waits for the process that writes the end of the file
    (file,) = tmp_path.rglob("run-*.wandb")
    lines = history_of(file)
    found = [line for line in lines if "landscape/loss" in line]
    rows = rows_of(tmp_path / "landscapes")
    assert [line["landscape/step"] for line in found] == [0, 2]
    assert [line["landscape/loss"] for line in found] == [float(row["loss"]) for row in rows]
    landscape = Landscape.open(tmp_path / "landscapes" / "step_0.zarr")
    basins = landscape_profile(landscape_tree(landscape, threshold=1e-3)).basins
    size = [found[0][f"landscape/basins/{name}"] for name in ("nrows", "ncols")]
    assert size == [min(len(basins), 100), 5]
    assert len(list(tmp_path.rglob("*.png"))) == 2


def record(step, **values):
    return Record(step, values, None, None, None)


def test_a_comparison_calls_when_it_begins_to_hold():
    calls = []
    alarm = Alarm("critical_sharpness >= 400", lambda record, text: calls.append(text))
    for step, value in enumerate([1.0, 400.0, 500.0, math.nan, 450.0, 3.0, 410.0]):
        alarm.write(record(step, critical_sharpness=value))
    assert calls == [
        "step 1: critical_sharpness >= 400, it is 400",
        "step 6: critical_sharpness >= 400, it is 410",
    ]


def test_a_training_without_a_change_calls_as_rarely_as_promised():
    """Of 100 trainings, 5 are expected at most, whatever the number of looks."""
    rng, calls = np.random.default_rng(0), []
    for number in range(100):
        alarm = Alarm("loss changes", lambda record, text, number=number: calls.append(number))
        walk = np.cumsum(rng.standard_normal(40)) if number % 2 else rng.standard_normal(40)
        for step, value in enumerate(walk):
            alarm.write(record(step, loss=value))
    assert len(set(calls)) <= 10


def test_a_change_is_told_once_and_noise_that_remembers_never():
    rng = np.random.default_rng(0)
    changed, wandering = [], []
    steps = np.repeat([1.0, 9.0], [20, 20]) + 0.5 * rng.standard_normal(40)
    walk = np.cumsum(rng.standard_normal(40))
    change = Alarm("number_of_minima changes", lambda record, text: changed.append(text))
    none = Alarm("loss changes", lambda record, text: wandering.append(text))
    for i in range(40):
        for alarm in (change, none):
            alarm.write(record(10 * i, number_of_minima=steps[i], loss=walk[i]))
    (text,) = changed
    assert "number_of_minima changed at step 200 from 0.9" in text
    assert wandering == []


@pytest.mark.parametrize(
    "rule", ["loss", "loss > high", "loss == 3", "changes", "loss changes now", "loss < 3 changes"]
)
def test_bad_rules_are_reported(rule):
    with pytest.raises(ValueError, match="when must be 'NAME > NUMBER'"):
        Alarm(rule, print)


def test_an_alarm_on_an_unknown_number_is_logged_and_the_rest_is_recorded(
    small_problem, tmp_path, caplog
):
    alarm = Alarm("depth > 3", print)
    with LandscapeRecorder(
        small_problem, tmp_path, schedule=1, resolution=5, share=None, outputs=[alarm]
    ) as recorder:
        assert recorder.step(0) is not None
    assert "an alarm must name one of loss" in caplog.text
    assert len(rows_of(tmp_path)) == 1
