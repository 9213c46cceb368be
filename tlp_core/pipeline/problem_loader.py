"""The last problem, kept in memory, so that another checkpoint of it loads fast."""

from __future__ import annotations

from dataclasses import replace

from tlp_core.problem import Problem, convert_problem, hash_batches
from tlp_core.problems.loading import hash_code, load_problem
from tlp_core.problems.settings import ProblemSettings
from tlp_core.problems.weights import load_checkpoint


class ProblemLoader:
    """Loads problems; a problem whose settings and code are those of the last one is reused.

    Data files are read when a problem is loaded, and not again while it is reused.
    """

    def __init__(self) -> None:
        self._key: tuple[ProblemSettings, str] | None = None
        self._problem: Problem | None = None
        self._hash = ""
        self._has_own_weights = False

    def load(self, settings: ProblemSettings) -> Problem:
        """Return the problem of the settings, with the weights of its checkpoint.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :func:`~tlp_core.load_problem`, and for
                an unknown device.
        """
        has_weights = bool(settings.checkpoint) or self._has_own_weights
        if self._problem is None or not self._is_last(settings) or not has_weights:
            self._key, self._hash = None, ""
            self._problem = convert_problem(
                load_problem(settings.name, arguments=settings.arguments),
                dtype=settings.dtype,
                autocast=settings.autocast,
                device=settings.device,
            )
            self._key, self._has_own_weights = _key_of(settings), True
        if settings.checkpoint:
            load_checkpoint(self._problem, settings.checkpoint)
            self._has_own_weights = False
        return self._problem

    def content_hash(self, settings: ProblemSettings) -> str:
        """Return a hash of the code and the batches of a problem, in hex; weights do not count.

        Raises:
            ValueError, TypeError, RuntimeError, OSError: as :meth:`load`.
        """
        if self._problem is None or not self._is_last(settings):
            self.load(replace(settings, checkpoint=""))
        assert self._problem is not None
        self._hash = self._hash or hash_batches(self._problem)
        return hash_code(settings.name) + self._hash

    def _is_last(self, settings: ProblemSettings) -> bool:
        return self._key == _key_of(settings)


def _key_of(settings: ProblemSettings) -> tuple[ProblemSettings, str]:
    """Return what a problem depends on, except its weights and its data files."""
    return replace(settings, checkpoint=""), hash_code(settings.name)
