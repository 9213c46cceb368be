"""Files that belong to the steps of one training: checkpoints, or landscapes of them.

A step is ``global_step`` in ``trainer_state.json``, if each step is a folder that a trainer has
written. Else it is the field ``step`` in the name of the file, folder or hub's revision, else
``checkpoint``, else ``epoch`` (``run/epoch=01-val_loss=0.93.ckpt`` is step 1), else ``global_step``
inside the file, else the last number in the name that differs between files. The log says which of
them was used.
"""

from __future__ import annotations

import glob
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tlp_core.problems.weight_files import (
    folder_of_weights,
    hub_revisions,
    revision_of,
    weight_files,
)

CHECKPOINT_ENDINGS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

LANDSCAPE_ENDING = ".zarr"

_FIELDS = {
    field: re.compile(rf"(?<![a-z])(?:{names})[ _=-]*(\d+)(?!\d*\.\d)", re.IGNORECASE)
    for field, names in (
        ("step", "(?:global[_-]?)?(?:step|iter|iteration)s?"),
        ("checkpoint", "checkpoint|ckpt"),
        ("epoch", "epochs?"),
    )
}
"""Fields of a name that hold the step; of equally good ones the first counts."""

_VALUES = re.compile(r"[A-Za-z_]+=[^=]*?(?=[-_,][A-Za-z_]+=|$)|\d+\.\d+(?:e[+-]?\d+)?")
"""Values of fields, and numbers with a decimal point."""

_HASH = re.compile(r"(?=.*[a-f])(?=.*\d)[0-9a-f]{7,}")
"""Names of a hub's snapshots."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Member:
    """One step of a training.

    Attributes:
        step: number of the step or epoch.
        path: the file or store that belongs to it.
    """

    step: float
    path: Path


def format_step(step: float) -> str:
    """Return a step as text, with all its digits: steps of language models may have seven."""
    return f"{step:.15g}"


def find_checkpoints(places: Iterable[str | os.PathLike[str]]) -> tuple[Member, ...]:
    """Return the checkpoints of a training, by step.

    Args:
        places: files, patterns such as ``run/*.pt``, or folders: with the weights of one step, as
            Hugging Face writes them (``checkpoint-500``), of such folders, or of files; or a hub's
            cache (``models--org--name``), each of whose revisions is a step. A missing file counts
            as a step, and raises an error when it is read.

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
    found: dict[Path, Path] = {}
    for place in map(str, places):
        there = [Path(place)] if Path(place).exists() else map(Path, sorted(glob.glob(place)))
        paths = [path for entry in there for path in inside(entry)]
        if not paths and place.endswith(endings) and not glob.has_magic(place):
            paths = [Path(place)]
        if not paths:
            raise FileNotFoundError(
                f"{what} must be files, a folder of them or a pattern, found none at {place}"
            )
        for path in paths:
            found.setdefault(path.resolve(), path)
    return list(found.values())


def _by_step(paths: Sequence[Path]) -> tuple[Member, ...]:
    steps = _steps(paths)
    members = [Member(step, path) for step, path in zip(steps, paths) if step is not None]
    return tuple(sorted(members, key=lambda member: member.step))


def _checkpoints_in(place: Path) -> list[Path]:
    if not place.is_dir():
        return [folder_of_weights(place) or place]
    steps = [path for path in place.iterdir() if path.is_dir() and weight_files(path)]
    if steps:  # a trainer writes the last weights beside the folders of the steps, too
        return sorted(steps)
    if weight_files(place):
        return [place]
    snapshots = set(hub_revisions(place).values())
    return sorted(
        snapshots or (path for path in place.iterdir() if path.suffix in CHECKPOINT_ENDINGS)
    )


def _landscapes_in(place: Path) -> list[Path]:
    if place.name == "zarr.json":  # ParaView's file dialog may have entered the store
        place = place.parent
    if place.suffix == LANDSCAPE_ENDING or not place.is_dir() or (place / "zarr.json").exists():
        return [place]
    return sorted(path for path in place.iterdir() if path.suffix == LANDSCAPE_ENDING)


def _name(path: Path) -> str:
    if path.is_dir():
        return revision_of(path) or path.name
    return path.stem


def _steps(paths: Sequence[Path]) -> list[float | None]:
    """Return the step of each file, None for a file without one; counted if no file has one.

    Of the rules below the first counts that gives most files a step, each another one.
    """
    names = [_name(path) for path in paths]
    rules = {"global_step in trainer_state.json": [_trainer_step(path) for path in paths]}
    rules |= {f"the field {field!r} in the names": _fields(names, field) for field in _FIELDS}
    if not any(map(_number_known, rules.values())):
        rules["global_step in the files"] = [_step_inside(path) for path in paths]
        rules["the last number in the names"] = _last_numbers(names)
    distinct = {rule: steps for rule, steps in rules.items() if _is_distinct(steps)}
    rule = max(distinct, key=lambda rule: _number_known(distinct[rule]), default="")
    steps = distinct.get(rule, [None] * len(names))
    if not _number_known(steps):
        return _counted(names, rules)
    _LOG.info("steps are %s", rule)
    nameless = [name for name, step in zip(names, steps) if step is None]
    if nameless:
        warnings.warn(
            f"omitted, because their names hold no step: {', '.join(nameless)}", stacklevel=4
        )
    return steps


def _number_known(steps: Sequence[float | None]) -> int:
    return sum(step is not None for step in steps)


def _is_distinct(steps: Sequence[float | None]) -> bool:
    known = [step for step in steps if step is not None]
    return len(set(known)) == len(known)


def _counted(
    names: Sequence[str], rules: Mapping[str, Sequence[float | None]]
) -> list[float | None]:
    """Return 0, 1, 2, …, with a warning if several names hold the same step."""
    if any(map(_number_known, rules.values())):
        warnings.warn("steps are counted, because several names hold the same one", stacklevel=5)
    return [float(i) for i in range(len(names))]


def _fields(names: Sequence[str], field: str) -> list[float | None]:
    """Return the number of a field such as ``step=100`` or ``epoch_3`` in each name."""
    found = [_FIELDS[field].search(name) for name in names]
    return [float(match[1]) if match else None for match in found]


def _last_numbers(names: Sequence[str]) -> list[float | None]:
    """Return the last integer of each name that differs between the names.

    Numbers with a decimal point, values of other fields (``loss=0.93``) and hashes do not count.
    """
    numbers = [
        [] if _HASH.fullmatch(name) else [int(n) for n in re.findall(r"\d+", _VALUES.sub("", name))]
        for name in names
    ]
    known = [found for found in numbers if found]
    for place in range(1, min(map(len, known), default=0) + 1):
        if len({found[-place] for found in known}) == len(known):
            return [float(found[-place]) if found else None for found in numbers]
    return [float(found[-1]) if found else None for found in numbers]


def _trainer_step(path: Path) -> float | None:
    """Return ``global_step`` in a trainer's state beside the weights."""
    with suppress(ValueError, KeyError, TypeError, OSError):
        state = (path / "trainer_state.json").read_text(encoding="utf-8")
        return float(json.loads(state)["global_step"])
    return None


def _step_inside(path: Path) -> float | None:
    """Return ``global_step`` in a checkpoint, as that of PyTorch Lightning."""
    if path.suffix in CHECKPOINT_ENDINGS and path.is_file():
        with suppress(Exception):  # whatever makes it unreadable is reported when it is loaded
            import torch

            content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return float(content["global_step"])
    return None
