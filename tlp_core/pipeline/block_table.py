"""A table of every group of parameters at every step of a training.

A row holds what is known of the curvature and of the landscape of one group, such as the attention
of a block: top eigenvalues with residuals, trace with its error, critical sharpness, descriptors of
the landscape along the top eigenvectors, losses. Rows are appended one at a time, so a killed run
loses one row at most, and the same call resumes the table.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, fields, replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tlp_core import checks
from tlp_core.analysis.descriptors import Descriptors, describe
from tlp_core.directions.hessian.critical_sharpness import NoSharpnessError, critical_sharpness
from tlp_core.directions.hessian.trace import hessian_trace
from tlp_core.landscape.block_rows import GROUP, KEY, STEP
from tlp_core.landscape.growing_table import GrowingTable
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import Member, format_step
from tlp_core.landscape.table import COLUMN
from tlp_core.model_state import select_parameters, trainable_parameters
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.pipeline.training_sampler import TrainingSampler
from tlp_core.problem import Problem
from tlp_core.problems.parameter_groups import parameter_groups
from tlp_core.problems.weights import hash_checkpoint
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import ShouldStop
from tlp_core.sampling.partition import part_of_process
from tlp_core.sampling.plan import RISE
from tlp_core.topology.landscape_tree import landscape_tree

Row = Mapping[str, Any]


@dataclass(frozen=True)
class BlockSettings:
    """What is measured of each group.

    Attributes:
        groups: pattern of the names of the groups, such as ``block *``.
        trace_vectors: number of random vectors of the trace, >= 10; 0 leaves the trace out.
        sharpness: measure the critical sharpness.
        alpha: measure WeightWatcher's α.

    Raises:
        ValueError: for a number out of range.
        TypeError: for a value of the wrong type.
    """

    groups: str = "*"
    trace_vectors: int = 10
    sharpness: bool = True
    alpha: bool = False

    def __post_init__(self) -> None:
        """Check every value."""
        if self.trace_vectors:
            checks.integer(self.trace_vectors, name="trace_vectors", minimum=10)


def measure_blocks(
    path: str | os.PathLike[str],
    settings: LandscapeSettings,
    checkpoints: Sequence[Member],
    blocks: BlockSettings = BlockSettings(),
    *,
    progress: Progress = silent,
    should_stop: ShouldStop = lambda: False,
    unfinished: Callable[[float, str], None] = lambda _step, _group: None,
) -> Iterator[Row]:
    """Write the table of all groups at all steps, and yield each row that is new.

    Args:
        path: the table, ``NAME.csv``; its landscapes lie in the folder ``NAME.landscapes`` beside
            it. Rows that it has already are not measured again.
        settings: of the landscape of each group along its own directions.
        checkpoints: the steps.
        blocks: what is measured.
        progress: called with the fraction done, 0 to 1, and a text.
        should_stop: called before each row.
        unfinished: called with the step and the name of each group whose landscape has samples
            left: those of other parts, or after a time budget. A later call adds its row.

    Raises:
        ValueError: if the table belongs to other settings or is damaged, or no group has the name.
        ModuleNotFoundError: if α is wanted, and weightwatcher is not installed.
        ValueError, TypeError, RuntimeError, OSError: as :meth:`TrainingSampler.sample`.
    """
    writes = part_of_process(settings.run.part, settings.run.shards).is_first()
    if blocks.alpha and find_spec("weightwatcher") is None:
        raise ModuleNotFoundError("α needs the package weightwatcher; pip install weightwatcher")
    table = _Table(Path(path), writes)
    folder = Path(path).with_suffix(".landscapes")
    settings = replace(settings, run=replace(settings.run, store=str(folder)))
    sampler = TrainingSampler()
    for number, member in enumerate(checkpoints):
        problem, alphas = sampler.problem(settings, member), None
        groups = _groups_of(problem, blocks.groups)
        for place, (group, pattern) in enumerate(groups.items()):
            own = replace(settings, directions=replace(settings.directions, parameters=pattern))
            key = _key_of(sampler, own, member, blocks)
            if table.has(member.step, group, key):
                continue
            if should_stop():
                return
            done = (number + place / len(groups)) / len(checkpoints)
            progress(done, f"step {format_step(member.step)}, {group}")
            landscape = sampler.sample(own, member)
            if not landscape.is_complete:
                unfinished(member.step, group)
                continue
            measured = _measure(sampler, own, member, blocks, landscape)
            row = {STEP: member.step, GROUP: group, **measured}
            if blocks.alpha:
                problem = sampler.problem(settings, member)
                alphas = weight_watcher_alphas(problem) if alphas is None else alphas
                row["alpha"] = mean_alpha(alphas, problem, pattern)
            relative = os.path.relpath(sampler.store_of(own, member, None), Path(path).parent)
            yield table.append({**row, COLUMN: relative, KEY: key})


def _groups_of(problem: Problem, pattern: str) -> dict[str, str]:
    every = parameter_groups(problem.model)
    groups = {name: names for name, names in every.items() if fnmatchcase(name, pattern)}
    if not groups:
        raise ValueError(
            f"groups must match one of {', '.join(list(every)[:4])}, …, got the pattern {pattern!r}"
        )
    return groups


def _key_of(
    sampler: TrainingSampler, settings: LandscapeSettings, member: Member, blocks: BlockSettings
) -> str:
    folder = sampler.folder_of(settings, None).name
    text = json.dumps([folder, hash_checkpoint(member.path), asdict(replace(blocks, groups=""))])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _measure(
    sampler: TrainingSampler,
    settings: LandscapeSettings,
    member: Member,
    blocks: BlockSettings,
    landscape: Landscape,
) -> dict[str, Any]:
    """Return what is measured of one group at one step, beside its landscape."""
    pattern = settings.directions.parameters
    problem = sampler.problem(settings, member)
    with select_parameters(problem.model, pattern):
        size = sum(p.numel() for p in trainable_parameters(problem.model).values())
    row: dict[str, Any] = {"parameters": size, **_losses(landscape), **_eigenvalues(landscape)}
    if RISE in landscape.provenance:
        row |= {f"half-width {i}": float(d) for i, d in enumerate(landscape.distance, start=1)}
    if blocks.trace_vectors:
        trace = hessian_trace(
            problem,
            parameters=pattern,
            product=settings.directions.product,
            max_vectors=blocks.trace_vectors,
            seed=settings.directions.seed,
        )
        row |= {"trace": trace.value, "trace error": trace.standard_error}
    if blocks.sharpness:
        row["critical sharpness"] = _sharpness(problem, pattern)
    found = describe(landscape_tree(landscape))
    return row | {name: getattr(found, name) for name in _DESCRIPTORS}


_DESCRIPTORS = [field.name for field in fields(Descriptors) if field.name != "undefined"]


def _losses(landscape: Landscape) -> dict[str, float]:
    middle = tuple(size // 2 for size in landscape.shape)
    others = {f"loss {name}": float(loss[middle]) for name, loss in landscape.other_losses.items()}
    return {"loss": landscape.center, **others, **landscape.provenance["metrics"]}


def _eigenvalues(landscape: Landscape) -> dict[str, float | None]:
    """Return the eigenvalues and their residuals; empty for directions that have none."""
    values, residuals = (landscape.provenance[name] for name in ("eigenvalues", "residuals"))
    row: dict[str, float | None] = {}
    for number, (value, residual) in enumerate(zip(values, residuals), start=1):
        row |= {f"eigenvalue {number}": value, f"residual {number}": residual}
    return row


def _sharpness(problem: Problem, pattern: str | None) -> float:
    try:
        return critical_sharpness(problem, parameters=pattern).value
    except NoSharpnessError:
        return float("nan")


def weight_watcher_alphas(problem: Problem) -> dict[str, float]:
    """Return the power-law exponent α of each weight matrix that WeightWatcher fits, by its name.

    Args:
        problem: its model is analysed.

    Raises:
        ModuleNotFoundError: if weightwatcher is not installed.
    """
    # it prints a line for each small matrix
    with redirect_stdout(io.StringIO()), _quiet(logging.getLogger("weightwatcher")):
        import weightwatcher

        details = weightwatcher.WeightWatcher(model=problem.model).analyze()
    return {f"{name}.weight": float(a) for name, a in zip(details["longname"], details["alpha"])}


def mean_alpha(alphas: Mapping[str, float], problem: Problem, pattern: str | None) -> float:
    """Return the mean α of the weight matrices of a group; NaN if there is none.

    Args:
        alphas: what :func:`weight_watcher_alphas` returns.
        problem: the problem that it was given.
        pattern: pattern of the names of the parameters of the group.
    """
    with select_parameters(problem.model, pattern):
        inside = [alphas[name] for name in trainable_parameters(problem.model) if name in alphas]
    return float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan")


@contextmanager
def _quiet(log: logging.Logger) -> Iterator[None]:
    """Let a package log errors only, and undo what its import does to the root of all logs."""
    root = logging.getLogger()
    kept, level, level_of_root = list(root.handlers), log.level, root.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        root.handlers[:] = kept
        root.setLevel(level_of_root)


class _Table:
    """The table of groups and steps, which is resumed."""

    def __init__(self, path: Path, writes: bool) -> None:
        """Read the rows of an existing table; a last line that was not finished is removed.

        Args:
            path: the table.
            writes: whether this process writes it, as the first of several does.
        """
        self._path, self._file = path, GrowingTable(path, writes=writes)
        columns = self._file.columns
        if columns and not {STEP, GROUP, KEY} <= set(columns):
            raise ValueError(
                f"{path} must be a table of tlp blocks, and is not; choose another path"
            )
        self._keys = {(row[STEP], row[GROUP]): row[KEY] for row in self._file.rows}

    def has(self, step: float, group: str, key: str) -> bool:
        """Return whether the table has a row.

        Raises:
            ValueError: if the row belongs to other settings.
        """
        found = self._keys.get((format_step(step), group))
        if found not in (None, key):
            raise ValueError(
                f"{self._path} must belong to these settings, but its row of step "
                f"{format_step(step)} and {group} is of others; choose another path"
            )
        return found is not None

    def append(self, row: Row) -> Row:
        """Add one row, and return it."""
        row = {**row, STEP: format_step(row[STEP])}
        self._file.append(row)
        self._keys[row[STEP], row[GROUP]] = row[KEY]
        return row
