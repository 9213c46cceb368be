"""Check that evaluations in several threads do not disturb each other.

Workers have a copy of the model each, but share whatever else a loss uses: the random generators of
torch, NumPy and Python, and what a hook or a closure stores. Disturbance is a race, which shows
under load and hides in a test. So the check leaves nothing to chance: two threads evaluate two
samples and wait for each other at every line of the user's code and at every operation of torch, so
that each overwrites what the other has stored before it is read. A line of the user's code may seed
and draw at once, so a loss that uses a shared random generator at all is not independent.
"""

from __future__ import annotations

import random
import sys
import sysconfig
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from tlp_core.operator_mode import OperatorMode
from tlp_core.sampling.engines import Losses, Points

_PATIENCE = 5.0
"""Seconds to wait for the other thread; a loss that holds a lock meanwhile would wait for ever."""

_LIBRARIES = tuple(
    {sysconfig.get_paths()[key] for key in ("stdlib", "purelib", "platlib")}
    | {str(Path(torch.__file__).parent), str(Path(np.__file__).parent)}
    | {str(Path(__file__).parents[1])}
)
"""Folders whose code is not followed line by line."""


def are_independent(workers: Sequence[Callable[[Points], Losses]], alphas: Points) -> bool:
    """Return whether two workers give the same losses together as one after the other.

    Args:
        workers: two functions of coordinates (1, n), each with its own copy of the model.
        alphas: (2, n), two different points.
    """
    samples = [alphas[i : i + 1] for i in range(2)]
    if _uses_shared_generators(workers[0], samples[0]):
        return False
    alone = [worker(sample) for worker, sample in zip(workers, samples)]
    together = _Alternation()
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        losses = list(pool.map(together.run, workers, samples))
    return not together.timed_out and np.array_equal(alone, losses, equal_nan=True)


def _uses_shared_generators(worker: Callable[[Points], Losses], sample: Points) -> bool:
    """Return whether a worker seeds or draws from a global random generator."""
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        random.random(), np.random.random(), torch.rand(1)  # or seeding again would change nothing
        state = _generator_states()
        worker(sample)
        return state != _generator_states()
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _generator_states() -> tuple[Any, ...]:
    of_numpy = np.random.get_state(legacy=False)
    return random.getstate(), repr(of_numpy), torch.get_rng_state().tolist()


class _Alternation:
    """Two threads that wait for each other, until one of them has finished."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)
        self._has_finished = False
        self.timed_out = False

    def run(self, worker: Callable[[Points], Losses], sample: Points) -> Losses:
        """Return what a worker gives for a sample, in step with the other thread."""
        sys.settrace(self._trace)
        try:
            with _DispatchMode(self._wait):
                return worker(sample)
        finally:
            sys.settrace(None)
            self._has_finished = True
            self._barrier.abort()

    def _trace(self, frame: FrameType, event: str, _arg: Any) -> Any:
        if frame.f_code.co_filename.startswith((*_LIBRARIES, "<")):
            return None
        if event == "line":
            self._wait()
        return self._trace

    def _wait(self) -> None:
        try:
            self._barrier.wait(_PATIENCE)
        except threading.BrokenBarrierError:
            self.timed_out |= not self._has_finished


class _DispatchMode(OperatorMode):
    """Calls a function before every operation of torch in its thread."""

    def __init__(self, before: Callable[[], None]) -> None:
        super().__init__()
        self._before = before

    def __torch_dispatch__(
        self, operation: Any, _types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self._before()
        return operation(*args, **(kwargs or {}))
