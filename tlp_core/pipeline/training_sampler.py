"""The landscapes of a training: one for each checkpoint, kept on disk.

Directions are either those of one checkpoint, so that the landscapes of all steps lie in parallel
planes and can be compared, or each checkpoint's own. A landscape is stored under a hash of
everything that it depends on: settings, code, batches and checkpoints, all by content. So a step
that was sampled before is read from disk, and one that has changed is sampled again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from platformdirs import user_cache_path

from tlp_core.content_hash import hash_file
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import LANDSCAPE_ENDING, Member, format_step
from tlp_core.pipeline.sampler import LandscapeSampler
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.problem import Problem
from tlp_core.problems.weights import hash_checkpoint
from tlp_core.progress import Progress, silent
from tlp_core.sampling.chunks import ShouldStop
from tlp_core.sampling.partition import abort_all_on_error, part_of_process

_LETTERS = str.maketrans("0123456789", "ghijklmnop")


class TrainingSampler:
    """Samples the landscapes of a training's checkpoints."""

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
        """Return the landscape of one checkpoint, from disk if it was sampled before.

        Args:
            settings: of all checkpoints; ``run.store`` names the folder of the landscapes, by
                default one in the user's cache.
            checkpoint: the step to sample.
            directions_of: the step whose directions are used; None for the checkpoint's own.
            progress: called with the fraction done, 0 to 1, and a text.
            should_stop: called before each further chunk.

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
        own = replace(
            settings,
            problem=replace(settings.problem, checkpoint=str(checkpoint.path)),
            run=replace(settings.run, store=str(store)),
        )
        if directions_of is not None:
            file = self._directions_file(settings, directions_of, folder, progress)
            own = replace(own, directions=replace(own.directions, file=str(file)))
        return self._sampler.sample(own, progress=progress, should_stop=should_stop)

    def problem(self, settings: LandscapeSettings, checkpoint: Member) -> Problem:
        """Return the problem with the weights of one checkpoint.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`.
        """
        problem = replace(settings.problem, checkpoint=str(checkpoint.path))
        return self._sampler.problem(replace(settings, problem=problem))

    def store_of(
        self, settings: LandscapeSettings, checkpoint: Member, directions_of: Member | None
    ) -> Path:
        """Return the path of the landscape of a checkpoint.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`.
        """
        content = _short_hash(hash_checkpoint(checkpoint.path))
        name = f"step_{format_step(checkpoint.step)}-{content}{LANDSCAPE_ENDING}"
        return self.folder_of(settings, directions_of) / name

    def folder_of(self, settings: LandscapeSettings, directions_of: Member | None) -> Path:
        """Return the folder of the landscapes of all steps of a training.

        It lies in ``settings.run.store``, else in the user's cache, and is named by everything
        except the checkpoints that the landscapes depend on.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`.
        """
        run = settings.run
        base = Path(run.store) if run.store else user_cache_path("tlp") / "trainings"
        directions = settings.directions
        key = {
            "problem": asdict(settings.problem),
            "content": self._sampler.content_hash(settings),
            "directions": asdict(directions),
            "files": [
                *([hash_file(Path(directions.file))] if directions.file else []),
                *map(hash_checkpoint, directions.solutions),
            ],
            "directions_of": hash_checkpoint(directions_of.path) if directions_of else None,
            "samples": {k: v for k, v in asdict(settings.samples).items() if v is not None},
            # without what later versions have added, unless it is used: the hash stays
            "evaluation": {k: v for k, v in asdict(settings.evaluation).items() if v is not False},
        }
        return base / _short_hash(json.dumps(key, sort_keys=True, default=str))

    def _directions_file(
        self, settings: LandscapeSettings, of: Member, folder: Path, progress: Progress
    ) -> Path:
        """Return the file of a checkpoint's directions, made by the first processes."""
        file = folder / "directions.safetensors"
        part = part_of_process(settings.run.part, settings.run.shards)
        if part.broadcast(file.exists()):
            return file
        with abort_all_on_error(part):
            own = replace(settings, problem=replace(settings.problem, checkpoint=str(of.path)))
            first = part.is_first()
            _, directions = self._sampler.directions(own, progress=progress if first else silent)
            if part.is_in_first_group():
                directions.save(file)
            part.broadcast(None)
        return file


def find_step(members: Sequence[Member], step: float | None) -> Member:
    """Return the checkpoint of a step, the last one for None.

    Raises:
        ValueError: if there is no such step.
    """
    if step is None:
        return members[-1]
    for member in members:
        if member.step == step:
            return member
    available = ", ".join(format_step(member.step) for member in members[:10])
    more = ", …" if len(members) > 10 else ""
    raise ValueError(
        f"the step of the directions must be one of {available}{more}, got {format_step(step)}"
    )


def _short_hash(text: str) -> str:
    """Return a hash of letters only: a number in a store's name would be read as its step."""
    return hashlib.sha256(text.encode()).hexdigest()[:12].translate(_LETTERS)
