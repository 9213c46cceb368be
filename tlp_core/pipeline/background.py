"""Sampling in another process, so that the user interface stays usable.

The process samples coarse grids first, each into a store, and reuses their samples. It ends when
its standard input ends, so that it does not outlive the program that started it.

    python -m tlp_core.pipeline.background FOLDER < settings
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tlp_core.atomic_files import atomic_write
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import LANDSCAPE_ENDING
from tlp_core.landscape.store import require_new_store
from tlp_core.pipeline.settings import LandscapeSettings
from tlp_core.sampling.settings import GridSettings

_REPORT, _LOG = "progress.json", "messages.txt"

_MPI_VARIABLES = ("OMPI_", "PMIX_", "PMI_", "HYDRA_", "SLURM_")
"""Start of the names of environment variables by which MPI knows the ranks of a run."""

_EVERY = 0.3
"""Smallest time between two reports, in seconds."""

_SMALLEST = 7
"""Smallest number of points per axis of a coarse grid."""

_PATIENCE = 10.0
"""Seconds for the chunk under way after a stop; then the process is killed."""

_SHORT_PATIENCE = 1.0
"""Seconds that an interface waits for the end of the process before it is killed."""


@dataclass(frozen=True)
class Report:
    """The state of a sampling.

    Attributes:
        fraction: fraction of the samples of the grid under way that are done, 0 to 1.
        text: what is done, and the time left.
        resolution: points per axis of the grid under way.
        finished: points per axis of the finest grid that is complete; 0 for none.
        error: one sentence; empty without an error.
        is_running: whether the process runs.
    """

    fraction: float
    text: str
    resolution: int
    finished: int
    error: str
    is_running: bool


def coarse_resolutions(resolution: int) -> list[int]:
    """Return the resolutions of coarse grids whose points are points of a grid, ascending.

    Args:
        resolution: points per axis of the grid, odd.

    Returns:
        Up to two: the coarsest of at least 7 points per axis, and the finest.
    """
    fitting = [
        (resolution - 1) // k + 1
        for k in range(2, resolution)
        if (resolution - 1) % (2 * k) == 0 and (resolution - 1) // k + 1 >= _SMALLEST
    ]
    return sorted({fitting[0], fitting[-1]}) if fitting else []


class BackgroundSampling:
    """A sampling in another process.

    Args:
        settings: what to sample: a grid. A store on disk holds its samples, complete or not.
        coarse: points per axis of the coarse grids, ascending. Default: empty, those of
            :func:`coarse_resolutions`.
        python: command of a Python with the package ``tlp_core``. Default: this Python.

    Raises:
        ValueError: if the samples are not on a grid, or the grids do not ascend.
        OSError: if the store cannot lie where its path says.
    """

    def __init__(
        self,
        settings: LandscapeSettings,
        *,
        coarse: Sequence[int] = (),
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        """Start the process."""
        grids = _grids(settings, coarse)
        if settings.run.store:
            _require_store_place(settings.run.store)
        self.settings, self.coarse = settings, tuple(coarse)
        self._folder = Path(tempfile.mkdtemp(prefix="tlp-background-"))
        self._stopped_at: float | None = None
        self._process = _start([*python, "-m", __name__, str(self._folder)], self._folder)
        assert self._process.stdin is not None
        self._process.stdin.write(pickle.dumps((settings, grids)))
        self._process.stdin.flush()
        self._end = weakref.finalize(self, _end, self._process, self._folder)

    def report(self) -> Report:
        """Return the state now."""
        code = self._process.poll()
        is_running = code is None
        late = self._stopped_at is not None and time.monotonic() - self._stopped_at > _PATIENCE
        if is_running and late:
            self._process.kill()
        try:
            found = json.loads((self._folder / _REPORT).read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = {"fraction": 0.0, "text": "starts", "resolution": 0, "finished": 0, "error": ""}
        if code and not found["error"] and self._stopped_at is None:
            found["error"] = _last_line(self._folder / _LOG) or f"sampling ended with code {code}"
        return Report(**found, is_running=is_running)

    def landscape(self, resolution: int) -> Landscape | None:
        """Return a landscape that was sampled.

        Args:
            resolution: points per axis, from :meth:`available_resolution`.

        Returns:
            The landscape; None if the resolution is 0 or nothing was sampled.

        Raises:
            ValueError: if a store is damaged.
        """
        path = _store_of(self.settings, resolution, self._folder)
        if not resolution or not path.exists():
            return None
        landscape = Landscape.open(path)
        return landscape if landscape.evaluated.any() else None

    def available_resolution(self) -> int:
        """Return the points per axis of the finest complete grid; 0 if there is none.

        After a stop before the first complete grid, those of the incomplete one.
        """
        report = self.report()
        return report.finished or (0 if report.is_running else report.resolution)

    def stop(self) -> None:
        """Stop after the chunk under way; what was sampled stays in the store."""
        if self._process.poll() is None and self._stopped_at is None:
            self._stopped_at = time.monotonic()
            _close_input(self._process)

    def close(self) -> None:
        """End the process at once, and delete the coarse grids; at most the last chunk is lost."""
        self._end()


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start the process, which is none of the ranks of an MPI run that this program may be in."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(_MPI_VARIABLES)}
    with open(folder / _LOG, "wb") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log, env=own
        )


def _require_store_place(store: str) -> None:
    """Check that a store can be written, before hours are spent on coarse grids."""
    require_new_store(store)
    path = Path(store).resolve()
    existing = next(place for place in (path, *path.parents) if place.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".tlp-", dir=existing):
            pass
    except OSError as error:
        raise OSError(
            f"a store must lie in a folder that can be written, got {store}: {error.strerror}"
        ) from error


def _close_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.close()
    except BrokenPipeError:
        return


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    _close_input(process)
    try:
        process.wait(_SHORT_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n") if log.exists() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _grid_of(settings: LandscapeSettings) -> GridSettings:
    if not isinstance(settings.samples, GridSettings):
        raise ValueError("samples in the background must be on a grid, got scattered points")
    return settings.samples


def _grids(settings: LandscapeSettings, coarse: Sequence[int]) -> list[GridSettings]:
    """Return the grids to sample, the finest one last."""
    finest = _grid_of(settings)
    sizes = [*(coarse or coarse_resolutions(finest.resolution)), finest.resolution]
    if sorted(set(sizes)) != sizes:
        raise ValueError(
            f"coarse resolutions must ascend and be smaller than the resolution, {sizes[-1]}, got "
            f"{', '.join(map(str, coarse))}"
        )
    return [replace(finest, resolution=size) for size in sizes]


def _store_of(settings: LandscapeSettings, resolution: int, folder: Path) -> Path:
    is_last = resolution == _grid_of(settings).resolution
    named = settings.run.store if is_last else ""
    return Path(named) if named else folder / f"{resolution}{LANDSCAPE_ENDING}"


class _Reporter:
    """Writes the state into a file, at most every 0.3 s."""

    def __init__(self, folder: Path) -> None:
        self._file, self._last = folder / _REPORT, 0.0
        self.resolution, self.finished = 0, 0

    def __call__(self, fraction: float, text: str) -> None:
        if time.monotonic() - self._last >= _EVERY:
            self.write(fraction, text)

    def write(self, fraction: float, text: str, error: str = "") -> None:
        self._last = time.monotonic()
        state = {
            "fraction": fraction,
            "text": text,
            "resolution": self.resolution,
            "finished": self.finished,
            "error": error,
        }
        if self._file.parent.is_dir():  # the program that started this one deletes it at its end
            with atomic_write(self._file) as temporary:
                temporary.write_text(json.dumps(state), encoding="utf-8")


def _sample(
    settings: LandscapeSettings,
    grids: Sequence[GridSettings],
    folder: Path,
    is_stopped: threading.Event,
) -> None:
    from tlp_core.pipeline.sampler import LandscapeSampler

    reporter = _Reporter(folder)
    sampler, landscape = LandscapeSampler(), None
    try:
        for grid in grids:
            reporter.resolution = grid.resolution
            store = str(_store_of(settings, grid.resolution, folder))
            part = settings.run.part if store == settings.run.store else None
            run = replace(settings.run, store=store, part=part)
            own = replace(settings, samples=grid, run=run)
            landscape = sampler.sample(
                own, reuse=landscape, progress=reporter, should_stop=is_stopped.is_set
            )
            if not landscape.is_complete:
                reporter.write(float(landscape.evaluated.mean()), "stopped")
                return
            reporter.finished = grid.resolution
        reporter.write(1.0, "complete")
    except (ValueError, TypeError, RuntimeError, OSError, ImportError) as error:
        reporter.write(0.0, "failed", " ".join(str(error).split()) or type(error).__name__)
        raise


def _watch(is_stopped: threading.Event) -> None:
    """Stop when the standard input ends; a hard end for code that does not come back."""
    os.read(0, 1)  # not by sys.stdin, whose lock would fail the end of the process
    is_stopped.set()
    time.sleep(_PATIENCE)
    os._exit(1)


def main(arguments: Sequence[str] | None = None) -> int:
    """Sample the settings that the standard input holds, and return the exit code.

    Args:
        arguments: the folder of the state and of the coarse grids.
    """
    (folder,) = arguments if arguments is not None else sys.argv[1:]
    parent = os.getppid()
    with open(0, "rb", closefd=False) as stream:  # pvpython's sys.stdin has no bytes
        settings, grids = pickle.load(stream)
    is_stopped = threading.Event()
    threading.Thread(target=_watch, args=(is_stopped,), daemon=True).start()
    try:
        _sample(settings, grids, Path(folder), is_stopped)
    finally:
        if os.getppid() != parent:  # it was killed, and nobody else deletes the coarse grids
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
