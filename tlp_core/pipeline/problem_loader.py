"""The last problem, kept in memory, so that another checkpoint of it loads fast."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tlp_core.model_state import select_parameters
from tlp_core.problem import Problem, convert_problem, hash_batches, shard_problem
from tlp_core.problems.loading import hash_code, load_problem
from tlp_core.problems.settings import ProblemSettings
from tlp_core.problems.weights import hash_checkpoint, load_checkpoint


@dataclass(frozen=True)
class Sharding:
    """How a model is sharded.

    Attributes:
        mesh: torch's mesh of the processes that hold the model, one-dimensional.
        parameters: pattern of the names of the parameters that may move; None for all.
    """

    mesh: Any
    parameters: str | None = None


class ProblemLoader:
    """Loads problems; a problem whose settings and code are those of the last one is reused.

    Data files are read when a problem is loaded, and not again while it is reused.
    """

    def __init__(self) -> None:
        self._key: tuple[ProblemSettings, str] | None = None
        self._sharding: Sharding | None = None
        self._problem: Problem | None = None
        self._hash = ""
        self._has_own_weights = False
        self._weights: tuple[str, str] | None = None
        """Path and hash of the checkpoint whose weights the problem has."""

    def load(self, settings: ProblemSettings, sharding: Sharding | None = None) -> Problem:
        """Return the problem of the settings, with the weights of its checkpoint.

        Args:
            settings: model, loss and batches.
            sharding: how the model is sharded over processes; None for a whole model.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`, and for
                an unknown device.
        """
        has_weights = bool(settings.checkpoint) or self._has_own_weights
        if self._problem is None or not self._is_last(settings, sharding) or not has_weights:
            self._key, self._hash, self._problem, self._weights = None, "", None, None
            self._problem = _load(settings, sharding)
            self._key, self._sharding, self._has_own_weights = _key_of(settings), sharding, True
        if settings.checkpoint and not self._has_weights(settings.checkpoint):
            self._weights = None
            load_checkpoint(self._problem, settings.checkpoint)
            self._weights = settings.checkpoint, hash_checkpoint(settings.checkpoint)
            self._has_own_weights = False
        return self._problem

    def _has_weights(self, checkpoint: str) -> bool:
        """Return whether the problem has the weights of a checkpoint, which take long to load."""
        path, content = self._weights or ("", "")
        return path == checkpoint and content == hash_checkpoint(checkpoint)

    def content_hash(self, settings: ProblemSettings, sharding: Sharding | None = None) -> str:
        """Return a hash of the code and the batches of a problem, in hex; weights do not count.

        Args:
            settings: model, loss and batches.
            sharding: as in :meth:`load`.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :meth:`load`.
        """
        if self._problem is None or not self._is_last(settings, sharding):
            self.load(replace(settings, checkpoint=""), sharding)
        assert self._problem is not None
        self._hash = self._hash or hash_batches(self._problem)
        return hash_code(settings.name) + self._hash

    def _is_last(self, settings: ProblemSettings, sharding: Sharding | None) -> bool:
        return (self._key, self._sharding) == (_key_of(settings), sharding)


def _load(settings: ProblemSettings, sharding: Sharding | None) -> Problem:
    """Return the problem of the settings with the model's own weights."""
    problem = load_problem(settings.name, arguments=settings.arguments)
    if sharding is None:
        return convert_problem(
            problem, dtype=settings.dtype, autocast=settings.autocast, device=settings.device
        )
    problem = convert_problem(problem, dtype=settings.dtype, autocast=settings.autocast)
    with select_parameters(problem.model, sharding.parameters):
        return shard_problem(problem, sharding.mesh, settings.device)


def _key_of(settings: ProblemSettings) -> tuple[ProblemSettings, str]:
    """Return what a problem depends on, except its weights and its data files."""
    return replace(settings, checkpoint=""), hash_code(settings.name)
