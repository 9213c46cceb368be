"""Files that belong to the steps of one training: checkpoints, or landscapes of them.

A step is read from the name of its file: ``run/epoch_10.pt`` is step 10. If names hold several
numbers, the step is the last one that differs between files.
"""

from __future__ import annotations

import glob
import os
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKPOINT_ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

LANDSCAPE_ENDING = ".zarr"

_WEIGHTS = ("model", "pytorch_model")
"""Names of the weights if each checkpoint is a folder, as Hugging Face's trainer writes it."""


@dataclass(frozen=True)
class Member:
    """One step of a training.

    Attributes:
        step: number of the step or epoch.
        path: the file or store that belongs to it.
    """

    step: float
    path: Path


def find_checkpoints(places: Iterable[str | os.PathLike[str]]) -> tuple[Member, ...]:
    """Return the checkpoints of a training, by step.

    Args:
        places: files, patterns such as ``run/*.pt``, or folders: of files, or of folders that each
            hold the weights of one step (``checkpoint-500/model.safetensors``). A missing file
            counts as a step, and raises an error when it is read.

    Raises:
        FileNotFoundError: if a folder or pattern has none.
    """
    return _by_step(_paths(places, _checkpoints_in, CHECKPOINT_ENDINGS, "checkpoints"))


def find_landscapes(places: Iterable[str | os.PathLike[str]]) -> tuple[Member, ...]:
    """Return the landscapes of a training, by step; see :func:`find_checkpoints`."""
    return _by_step(landscape_paths(places))


def landscape_paths(places: Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the stores at some places; see :func:`find_landscapes`."""
    return _paths(places, _landscapes_in, (LANDSCAPE_ENDING,), "landscapes")


def member_at(members: Sequence[Member], time: float | None) -> Member:
    """Return the last member at or before a time, else the first."""
    if time is None:
        return members[0]
    return max((m for m in members if m.step <= time), key=lambda m: m.step, default=members[0])


def _paths(
    places: Iterable[str | os.PathLike[str]],
    inside: Callable[[Path], list[Path]],
    endings: tuple[str, ...],
    what: str,
) -> list[Path]:
    """Return the files at some places, each once."""
    found: dict[Path, None] = {}
    for place in map(str, places):
        there = [Path(place)] if Path(place).exists() else map(Path, sorted(glob.glob(place)))
        paths = [path for entry in there for path in inside(entry)]
        if not paths and place.endswith(endings) and not glob.has_magic(place):
            paths = [Path(place)]
        if not paths:
            raise FileNotFoundError(
                f"{what} must be files, a folder of them or a pattern, found none at {place}"
            )
        found.update(dict.fromkeys(paths))
    return list(found)


def _by_step(paths: Sequence[Path]) -> tuple[Member, ...]:
    steps = _steps([_name(path) for path in paths])
    members = [Member(step, path) for step, path in zip(steps, paths) if step is not None]
    return tuple(sorted(members, key=lambda member: member.step))


def _checkpoints_in(place: Path) -> list[Path]:
    if not place.is_dir():
        return [place]
    files = [path for path in place.iterdir() if path.suffix in CHECKPOINT_ENDINGS]
    if not files:
        files = [
            path
            for path in place.glob("*/*")
            if path.suffix in CHECKPOINT_ENDINGS and path.stem in _WEIGHTS
        ]
    return sorted(files)


def _landscapes_in(place: Path) -> list[Path]:
    if place.name == "zarr.json":  # ParaView's file dialog may have entered the store
        place = place.parent
    if place.suffix == LANDSCAPE_ENDING or not place.is_dir() or (place / "zarr.json").exists():
        return [place]
    return sorted(path for path in place.iterdir() if path.suffix == LANDSCAPE_ENDING)


def _name(path: Path) -> str:
    return path.parent.name if path.stem in _WEIGHTS else path.stem


def _steps(names: Sequence[str]) -> list[float | None]:
    """Return the step in each name, None for a name without one; counted if no name has one."""
    numbers = [[int(digits) for digits in re.findall(r"\d+", name)] for name in names]
    nameless = [name for name, found in zip(names, numbers) if not found]
    if len(nameless) == len(names):
        return [float(i) for i in range(len(names))]
    if nameless:
        warnings.warn(
            f"omitted, because their names hold no step: {', '.join(nameless)}", stacklevel=4
        )
    known = [found for found in numbers if found]
    for place in range(1, min(map(len, known)) + 1):
        if len({found[-place] for found in known}) == len(known):
            return [float(found[-place]) if found else None for found in numbers]
    warnings.warn("steps are counted, because several names hold the same one", stacklevel=4)
    counted = iter(range(len(known)))
    return [float(next(counted)) if found else None for found in numbers]
