"""The files of the weights of one step, if they lie in a folder, as Hugging Face writes them.

A folder holds one file, or shards with an index. A hub's cache holds a folder for each revision.
This module imports no torch, because ParaView lists the steps of a training without it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names of the weights, the preferred one first."""

_INDEX = ".index.json"


def weight_files(folder: Path) -> list[Path]:
    """Return the files of the weights in a folder; empty if it is not the folder of one step.

    Raises:
        ValueError: if an index of shards is damaged, or names a file outside the folder.
    """
    for name in _FILES:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}{_INDEX}"
        if index.is_file():
            return [folder / shard for shard in _shards(index)]
    return []


def folder_of_weights(file: Path) -> Path | None:
    """Return the folder of a step if a file is part of its weights, else None."""
    is_named = file.suffix == ".json" or file.suffix in (".safetensors", ".bin")
    with suppress(ValueError):
        inside = weight_files(file.parent) if is_named else []
        if file in inside or any(file == file.parent / f"{name}{_INDEX}" for name in _FILES):
            return file.parent
    return None


def hub_revisions(cache: Path) -> dict[str, Path]:
    """Return the revisions in a hub's cache (``models--org--name``), by name; empty for another.

    Each revision, such as ``step1000``, is the folder of a snapshot.
    """
    references = cache / "refs"
    if not references.is_dir() or not (cache / "snapshots").is_dir():
        return {}
    found = {}
    for file in sorted(path for path in references.rglob("*") if path.is_file()):
        snapshot = cache / "snapshots" / file.read_text(encoding="utf-8").strip()
        if snapshot.is_dir():
            found[file.relative_to(references).as_posix()] = snapshot
    return found


def model_folder(place: Path) -> Path:
    """Return the folder of a model: of a hub's cache, that of ``main``, or of its only revision.

    Any other place is returned as it is.

    Raises:
        ValueError: if a hub's cache has several revisions, and none is ``main``.
    """
    revisions = hub_revisions(place) if place.is_dir() else {}
    if len(set(revisions.values())) > 1 and "main" not in revisions:
        raise ValueError(
            f"{place} must have a revision main, or only one, got {', '.join(revisions)}; name "
            "one, or a folder of its snapshots"
        )
    return revisions.get("main") or next(iter(revisions.values()), place)


def revision_of(snapshot: Path) -> str | None:
    """Return the name of the revision that a snapshot's folder belongs to; None if there is none.

    Of several names one with a number is preferred, because it tells the step.
    """
    if snapshot.parent.name != "snapshots":
        return None
    revisions = hub_revisions(snapshot.parent.parent)
    names = [name for name, folder in revisions.items() if folder.name == snapshot.name]
    return min(names, key=lambda name: not any(map(str.isdigit, name)), default=None)


def _shards(index: Path) -> list[str]:
    """Return the names of the files of an index of shards."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} must be an index of shards, and is damaged") from error
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError(f"{index} must name files in its folder")
    return names
