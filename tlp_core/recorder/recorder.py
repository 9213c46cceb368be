"""A recorder of loss landscapes for a training loop.

It measures a small landscape on fixed directions, its descriptors, the top eigenvalues of the
Hessian and the critical sharpness while a network trains, and changes nothing of the training.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.utils.data import DataLoader, RandomSampler

from tlp_core import checks
from tlp_core.choices import (
    RECORDER_RANKS,
    EngineChoice,
    Normalization,
    RecorderDirections,
    RecorderRanks,
)
from tlp_core.landscape.series import LANDSCAPE_ENDING, find_landscapes
from tlp_core.landscape.store import LandscapeStore
from tlp_core.problem import Problem
from tlp_core.progress import format_seconds
from tlp_core.recorder.budget import TimeBudget
from tlp_core.recorder.measurement import Effort, Measurement
from tlp_core.recorder.outputs import Output
from tlp_core.recorder.ranks import Ranks
from tlp_core.recorder.record import Record, RecordTable
from tlp_core.recorder.schedule import EverySteps, Schedule
from tlp_core.recorder.settings import RecorderSettings
from tlp_core.recorder.undisturbed import undisturbed
from tlp_core.sampling.settings import GridSettings
from tlp_core.shards import is_sharded
from tlp_core.topology.graphs import grid_graph
from tlp_core.topology.merge_tree import merge_tree

TABLE = "descriptors.csv"

TRAINING_LOSS, VALIDATION_LOSS = "training loss", "validation loss"
"""Columns of the losses that the training tells."""

SETTINGS = "recorder.json"
"""File with the settings of a folder."""

_MAY_CHANGE = {"share", "engine"}
"""Settings that a training may change when it resumes."""

_BESIDES = 0.25
"""Seconds of a record besides evaluations: hashes, tree, files."""

_LOG = logging.getLogger(__name__)


class LandscapeRecorder:
    """Records the loss landscape of a network while it trains.

    Call :meth:`step` after each optimizer step. The recorder evaluates the problem's own batches in
    evaluation mode, and restores weights, buffers, gradients, modes and random states afterwards,
    so that the training ends in the same bytes as without it. If something fails, the reason is
    logged once, and the training goes on.

    The folder gets one landscape for each record (``step_100.zarr``), which TLP Landscape Reader
    follows, the directions, and ``descriptors.csv`` with one line for each record: losses,
    descriptors, eigenvalues, critical sharpness, and the time that was taken. A training that
    resumes goes on in its folder.

    With a share of the time, a record that does not fit is put off until it does. Before the first
    record, the grid is made coarser, once, so that all landscapes have one size; if that is not
    enough, eigenvalues and critical sharpness are left out (NaN in the table). The log tells, and
    ``due_step``, ``recorder_seconds``, ``share`` and ``resolution`` in the table.

    Of several processes of ``torch.distributed``, rank 0 records, or all divide the samples of each
    landscape (``ranks="all"``); a sharded model is not recorded.
    Hooks of the user on modules and parameters run during a record, too.

    Example:
        >>> model = torch.nn.Linear(2, 1)
        >>> x, y = torch.eye(2), torch.ones(2, 1)
        >>> def loss(model, batch):
        ...     return torch.nn.functional.mse_loss(model(batch[0]), batch[1])
        >>> problem = Problem(model, loss, [(x, y)], name="line")
        >>> optimizer = torch.optim.SGD(model.parameters(), 0.1)
        >>> folder = Path(getfixture("tmp_path"))
        >>> with LandscapeRecorder(problem, folder, schedule=2, share=None) as recorder:
        ...     for step in range(5):
        ...         loss(model, (x, y)).backward()
        ...         optimizer.step()
        ...         record = recorder.step(step)
        >>> sorted(path.name for path in folder.glob("*.zarr"))
        ['step_0.zarr', 'step_2.zarr', 'step_4.zarr']
    """

    def __init__(
        self,
        problem: Problem,
        folder: str | os.PathLike[str],
        *,
        schedule: Schedule | int = 100,
        directions: RecorderDirections = "random",
        n: int = 2,
        resolution: int = 11,
        distance: float | tuple[float, ...] = 1.0,
        normalization: Normalization | None = None,
        parameters: str | None = None,
        eigenvalues: int = 2,
        sharpness: bool = True,
        threshold: float = 1e-3,
        share: float | None = 0.05,
        engine: EngineChoice | None = None,
        seed: int = 0,
        ranks: RecorderRanks = "first",
        outputs: Iterable[Output] = (),
    ) -> None:
        """Set up the recorder; nothing is evaluated before the first step.

        Args:
            problem: the model that trains (not a copy), a deterministic loss, and the batches on
                which landscapes are taken; few are enough.
            folder: of landscapes, directions and table; it is made if it does not exist.
            schedule: when a landscape is due: every so many steps, or a
                :class:`~tlp_core.recorder.schedule.LogSteps`.
            directions: which directions all landscapes share: ``random`` (by the seed),
                ``gradient`` or ``eigenvectors`` of the first record. The column ``overlap`` tells
                how much of the current eigenvectors lies in their span, if there are as many.
            n: number of directions, >= 1.
            resolution: number of points per axis, odd, >= 3; an upper limit where ``share`` is one.
            distance: half-width of the landscape, > 0.
            normalization: length of the directions, by the weights of the first record; default:
                ``filter`` for random ones, ``none`` for the others, which keeps what they mean.
            parameters: pattern of the names of the parameters that move; default: all.
            eigenvalues: number of top eigenvalues that are followed from step to step, each with
                its residual, >= 0. Each step takes 3 products of the Hessian for one eigenvalue.
            sharpness: measure the critical sharpness.
            threshold: smallest persistence that descriptors count, as a fraction, 0 to 1, of the
                range of the losses; below it are rounding errors.
            share: largest fraction of the training's time that is taken, > 0; None for no limit.
                It is that of the whole training where the schedule knows its length, else that of
                the training so far.
            engine: how losses are evaluated, as in :func:`~tlp_core.sample_grid`.
            seed: random seed, >= 0.
            ranks: which processes of ``torch.distributed`` record: ``first``, while the others wait
                for it at their next exchange; or ``all``, which divide the samples of a landscape
                and must have equal weights and batches, as in data-parallel training. All of them
                must call :meth:`step` then.
            outputs: further places for the records, such as
                :class:`~tlp_core.recorder.outputs.TensorBoard`, and alarms.

        Raises:
            ValueError: for an option out of range, a table of something else in the folder, or a
                loader that shuffles, has a generator or keeps its workers, which the training could
                notice.
            TypeError: for an option of the wrong type, or a model that is wrapped for several
                processes.
            OSError: if the folder cannot be made.
        """
        self._settings = RecorderSettings(
            directions=directions,
            n=n,
            samples=GridSettings(resolution, distance),
            normalization=normalization,
            parameters=parameters,
            eigenvalues=eigenvalues,
            sharpness=sharpness,
            threshold=threshold,
            share=share,
            engine=engine,
            seed=seed,
        )
        if not isinstance(problem, Problem):
            raise TypeError(f"problem must be a tlp_core.Problem, got {type(problem).__name__}")
        _check_model(problem.model)
        for batches in (problem.batches, *problem.other_batches.values()):
            _check_batches(batches)
        self._problem, self._folder = problem, Path(folder)
        is_schedule = hasattr(schedule, "due")
        self._schedule: Schedule = schedule if is_schedule else EverySteps(schedule)  # type: ignore
        self._outputs: Sequence[Output] = tuple(outputs)
        self._is_recording, self._has_started = True, False
        self._budget = TimeBudget(share, self._schedule.number_of_steps())
        checks.choice(ranks, RECORDER_RANKS, name="ranks")
        self._ranks, self._together = Ranks(together=False), ranks == "all"
        self._measurement = Measurement(problem, self._folder, self._settings)
        self._last, self._cost = -1, 0.0
        self._losses: dict[str, Any] = {TRAINING_LOSS: math.nan, VALIDATION_LOSS: math.nan}
        self._due: int | None = None
        self._has_effort = False
        self._table = RecordTable(self._folder / TABLE)
        self._folder.mkdir(parents=True, exist_ok=True)
        merge_tree([0.0, 1.0], grid_graph((2,)))  # compiles, or loads what was compiled

    def step(
        self,
        step: int,
        *,
        training_loss: float | torch.Tensor | None = None,
        validation_loss: float | torch.Tensor | None = None,
    ) -> Record | None:
        """Record the network, if a landscape is due and there is time.

        Args:
            step: number of optimizer steps that were done; it increases from call to call. The
                call comes after the optimizer step, never between a forward and its backward pass.
            training_loss: loss of the training, which is written beside the descriptors. Default:
                the one that was given last, NaN before.
            validation_loss: likewise.

        Returns:
            The record; None if none was made.

        Raises:
            ValueError: for a negative step.
            TypeError: for a step that is not an integer.
        """
        step = checks.integer(step, name="step", minimum=0)
        given = {TRAINING_LOSS: training_loss, VALIDATION_LOSS: validation_loss}
        self._losses |= {name: _scalar(name, x) for name, x in given.items() if x is not None}
        if not self._has_started:
            self._start(step)
        if not self._is_recording:
            return None
        self._budget.enter(step)
        due = self._schedule.due(self._last, step)
        self._last = max(self._last, step)
        self._due = self._due if due is None else due
        start, record = time.perf_counter(), None
        if self._due is not None and self._budget.has_measured():
            self._wait_for_device()
            start = time.perf_counter()
            try:
                record = self._record_if_affordable(step, self._due)
            except Exception as error:
                self._due = None
                text = " ".join(str(error).split())
                self._measurement.report_once(
                    f"a step was not recorded: {type(error).__name__}: {text}"
                )
        self._budget.leave(step, time.perf_counter() - start)
        return record

    def close(self) -> None:
        """Close the outputs; further steps are not recorded."""
        if self._is_recording and self._ranks.rank:
            self._is_recording = False
        if self._is_recording:
            self._is_recording = False
            training, spent = self._budget.training, self._budget.spent
            _LOG.log(
                logging.INFO if self._table.steps else logging.WARNING,
                "%d landscapes in %s; recording took %s beside %s of training",
                len(self._table.steps),
                self._folder,
                format_seconds(spent),
                format_seconds(training),
            )
            for output in self._outputs:
                self._try_output(output.close)

    def __enter__(self) -> Self:
        """Return the recorder."""
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        """Close the recorder."""
        self.close()

    def _start(self, step: int) -> None:
        """Look at what a trainer may have set up since, and at the records of before."""
        self._has_started = True
        self._ranks = Ranks(together=self._together)
        self._measurement.divide_among(self._ranks)
        is_left_out = self._ranks.rank > 0 and self._ranks.count == 1
        self._is_recording = self._is_recording and not is_left_out
        if not self._is_recording:
            return
        try:
            if is_sharded(self._problem.model):
                raise RuntimeError("a sharded model cannot be evaluated by one process alone")
            resumed = self._ranks.attempt_first(lambda: self._resume(step))
            if resumed is not None:
                effort, self._last = resumed
                self._measurement.use(effort)
                self._has_effort = True
        except Exception as error:
            self._is_recording = False
            self._measurement.report_once(f"nothing is recorded: {type(error).__name__}: {error}")

    def _resume(self, step: int) -> tuple[Effort, int] | None:
        """Return the effort and the last step of an earlier part of the training, if there is one.

        Raises:
            ValueError: if it had other settings.
        """
        file, settings = self._folder / SETTINGS, json.loads(json.dumps(asdict(self._settings)))
        if not self._table.steps:
            file.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
            return None
        if TRAINING_LOSS not in self._table.columns:
            raise ValueError(
                f"the table in {self._folder} is one of an earlier version; choose another folder"
            )
        before = json.loads(file.read_text(encoding="utf-8"))
        for name in settings.keys() - _MAY_CHANGE:
            if settings[name] != before.get(name):
                raise ValueError(
                    f"{name} must be that of the records in {self._folder}, {before.get(name)}, "
                    f"got {settings[name]}; choose another folder"
                )
        first = find_landscapes([self._folder])[0]
        resolution = LandscapeStore.open(first.path).shape[0]
        last = max(self._table.steps)
        if step < last:
            self._measurement.report_once(
                f"the records of {self._folder} are kept, and those after step {last} are added; "
                "choose another folder for another training"
            )
        return Effort(resolution, has_extras=True, evaluations=0), last

    def _record_if_affordable(self, step: int, due: int) -> Record | None:
        if not self._has_effort:
            self._choose_effort()
        if not self._ranks.of_first(self._budget.allows(self._cost)):
            return None
        path = self._folder / f"step_{step}{LANDSCAPE_ENDING}"
        self._ranks.attempt_first(partial(_remove, path))
        start = time.perf_counter()
        with warnings.catch_warnings(), undisturbed(self._problem.model):
            warnings.simplefilter("ignore")  # the table has the residuals
            found = self._measurement.at(step, path)
        self._wait_for_device()
        took = time.perf_counter() - start
        self._due, self._cost = None, took
        if self._ranks.rank:
            return None
        training, spent = self._budget.training, self._budget.spent + took
        values = {
            **found.values,
            **{name: float(loss) for name, loss in self._losses.items()},
            "due_step": float(due),
            "training_seconds": training,
            "recorder_seconds": took,
            "share": spent / training if training > 0 else float("nan"),
        }
        record = Record(step, values, found.landscape, found.tree, path)
        self._table.append(record)
        for output in self._outputs:
            self._try_output(lambda output=output: output.write(record))
        return record

    def _try_output(self, call: Any) -> None:
        """Call an output, which must not keep the other outputs from their records."""
        try:
            with undisturbed(self._problem.model):
                call()
        except Exception as error:
            self._measurement.report_once(f"an output failed: {type(error).__name__}: {error}")

    def _choose_effort(self) -> None:
        """Choose the most that the share allows for each landscape of the schedule."""
        with undisturbed(self._problem.model):
            seconds = self._ranks.attempt_first(self._measurement.time_evaluation)
        allowed = self._ranks.of_first(self._budget.seconds_for(self._schedule.steps_for_each()))
        efforts = self._measurement.efforts()
        costs = [_BESIDES + seconds * effort.evaluations for effort in efforts]
        fitting = [i for i, cost in enumerate(costs) if cost <= allowed]
        number = min(fitting, default=len(efforts) - 1)
        chosen = efforts[number]
        self._measurement.use(chosen)
        self._cost, self._has_effort = costs[number], True
        if (number or not fitting) and not self._ranks.rank:
            _LOG.warning(
                "to take %.3g s for each landscape that is due, they have %d points per axis "
                "(wanted: %d), are recorded %s eigenvalues and critical sharpness, and take about "
                "%.3g s each; a larger share, fewer batches or a longer interval allow more",
                allowed,
                chosen.resolution,
                self._settings.samples.resolution,
                "with" if chosen.has_extras else "without",
                costs[number],
            )

    def _wait_for_device(self) -> None:
        """Wait until the device has done what was asked of it, so that times are right."""
        device = next(self._problem.model.parameters()).device
        if device.type == "cuda":
            torch.cuda.synchronize(device)


def _remove(path: Path) -> None:
    """Remove the landscape of a training that was killed before the table had its line."""
    if path.exists():
        shutil.rmtree(path)


def _check_model(model: nn.Module) -> None:
    # by name, because the module of torch.nn.parallel need not be there
    if type(model).__name__ in ("DistributedDataParallel", "DataParallel"):
        raise TypeError(
            f"the problem must hold the module inside, got {type(model).__name__}; use model.module"
        )


def _scalar(name: str, loss: float | torch.Tensor) -> float | torch.Tensor:
    """Return a loss without its graph; a tensor stays on its device until it is written."""
    if not isinstance(loss, torch.Tensor):
        return float(loss)
    if loss.numel() != 1:
        raise ValueError(f"{name} must be one number, got a tensor of shape {tuple(loss.shape)}")
    return loss.detach()


def _check_batches(batches: Iterable[Any]) -> None:
    """Refuse a loader whose iteration the training could notice."""
    if not isinstance(batches, DataLoader):
        return
    shares = {
        "shuffles": isinstance(batches.sampler, RandomSampler),
        "has a generator": batches.generator is not None,
        "keeps its workers": batches.persistent_workers,
    }
    for what, applies in shares.items():
        if applies:
            raise ValueError(
                f"batches must be a list, or a loader that the training does not use, got one that "
                f"{what}; take some batches: list(islice(loader, 4))"
            )
