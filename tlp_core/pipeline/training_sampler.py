"""The landscapes of a training: one for each checkpoint, kept on disk.

Directions are either those of one checkpoint, so that the landscapes of all steps lie in parallel
planes and compare, or each checkpoint's own. What was sampled is found again by everything that it
depends on, so going back to a step reads a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from platformdirs import user_cache_path

from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import LANDSCAPE_ENDING, Member
from tlp_core.pipeline.sampler import LandscapeSampler, LandscapeSettings, problem_file
from tlp_core.progress import Progress, silent
from tlp_core.sampling.grid import ShouldStop
from tlp_core.sampling.partition import ends_all, share

_HOW = ("store", "time_budget", "memory_limit", "part")
"""Settings on which the losses do not depend."""

_LETTERS = str.maketrans("0123456789", "ghijklmnop")


class TrainingSampler:
    """Samples the landscape of one checkpoint after another."""

    def __init__(self) -> None:
        self._sampler = LandscapeSampler()

    def sample(
        self,
        settings: LandscapeSettings,
        checkpoint: Member,
        *,
        directions_of: Member | None = None,
        progress: Progress = silent,
        should_stop: ShouldStop = lambda: False,
    ) -> Landscape:
        """Return the landscape of one checkpoint, from disk where it was sampled before.

        Args:
            settings: of all checkpoints; ``store`` names the folder of the landscapes, by default
                one in the user's cache (:func:`training_folder`).
            checkpoint: the step to sample.
            directions_of: the step whose directions are taken; None for the checkpoint's own.
            progress: called with the share done, 0 to 1, and a text.
            should_stop: asked before each further chunk.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :meth:`LandscapeSampler.sample`.
        """
        store = self.store_of(settings, checkpoint, directions_of)
        folder = store.parent
        if store.exists():
            landscape = Landscape.open(store)
            if landscape.is_complete:
                return landscape
        folder.mkdir(parents=True, exist_ok=True)
        own = replace(settings, checkpoint=str(checkpoint.path), store=str(store))
        if directions_of is not None:
            file = self._directions_file(settings, directions_of, folder, progress)
            own = replace(own, directions_file=str(file))
        return self._sampler.sample(own, progress=progress, should_stop=should_stop)

    @staticmethod
    def store_of(
        settings: LandscapeSettings, checkpoint: Member, directions_of: Member | None
    ) -> Path:
        """Return where the landscape of a checkpoint is kept."""
        name = f"step_{checkpoint.step:g}-{_state_of(checkpoint.path)}{LANDSCAPE_ENDING}"
        return training_folder(settings, directions_of) / name

    def _directions_file(
        self, settings: LandscapeSettings, of: Member, folder: Path, progress: Progress
    ) -> Path:
        """Return the file of a checkpoint's directions, made by the first of several processes."""
        file = folder / "directions.npz"
        own = share(settings.part)
        if own.agreed(file.exists()):
            return file
        with ends_all(own):
            made = replace(settings, checkpoint=str(of.path), store="")
            _, directions = self._sampler.directions(made, progress=progress)
            if own.is_first():
                directions.save(file)
            own.agreed(own.is_first())
        return file


def training_folder(settings: LandscapeSettings, directions_of: Member | None) -> Path:
    """Return the folder of the landscapes of all steps of a training.

    It is in ``settings.store``, else in the user's cache, and is named by everything but the
    checkpoints on which the landscapes depend, so that other settings make another folder.
    """
    base = Path(settings.store) if settings.store else user_cache_path("tlp") / "trainings"
    facts = {name: value for name, value in asdict(settings).items() if name not in _HOW}
    facts["problem_file"] = _state_of(problem_file(settings.problem))
    if directions_of is not None:
        facts["directions_of"] = _state_of(directions_of.path)
    return base / _digest(facts)


def step_named(members: Sequence[Member], step: float | None) -> Member:
    """Return the checkpoint of a step, the last one for None.

    Raises:
        ValueError: if there is no such step.
    """
    if step is None:
        return members[-1]
    for member in members:
        if member.step == step:
            return member
    there = ", ".join(f"{member.step:g}" for member in members[:10])
    more = ", …" if len(members) > 10 else ""
    raise ValueError(f"the step of the directions must be one of {there}{more}, got {step:g}")


def _state_of(path: str | os.PathLike[str]) -> str:
    """Return a short name of a file as it is now: other after it was written again."""
    if not Path(path).exists():
        return _digest({"path": str(path)})
    state = Path(path).stat()
    place = str(Path(path).resolve())
    return _digest({"path": place, "size": state.st_size, "time": state.st_mtime_ns})


def _digest(facts: dict[str, object]) -> str:
    """Return a hash of facts, of letters only: a number in a store's name tells its step."""
    text = json.dumps(facts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12].translate(_LETTERS)
