"""The settings of a recorder."""

from __future__ import annotations

from dataclasses import dataclass

from tlp_core import checks
from tlp_core.choices import (
    ENGINES,
    NORMALIZATIONS,
    RECORDER_DIRECTIONS,
    EngineChoice,
    Normalization,
    RecorderDirections,
)
from tlp_core.sampling.settings import GridSettings


@dataclass(frozen=True)
class RecorderSettings:
    """What is measured at each recorded step.

    Attributes:
        directions: which directions all landscapes share: ``random``; ``gradient``, that of the
            first record and random ones; or ``eigenvectors``, those of the first record.
        n: number of directions, >= 1.
        samples: the grid; with a share, the resolution is an upper limit.
        normalization: length of the directions, by the weights of the first record; None for
            ``filter`` of random ones, and ``none`` of the others, which keeps what they mean.
        parameters: pattern of the names of the parameters that move; None for all.
        eigenvalues: number of eigenvalues of the Hessian that are followed, >= 0.
        sharpness: whether the critical sharpness is measured.
        threshold: smallest persistence that descriptors count, as a fraction, 0 to 1, of the range
            of the losses.
        share: largest fraction of the training's time, > 0; None for no limit.
        engine: how losses are evaluated, as in :func:`~tlp_core.sample_grid`; None chooses.
        seed: random seed of directions and of the first eigenvectors, >= 0.

    Raises:
        ValueError: for a value out of range.
        TypeError: for a value of the wrong type.
    """

    directions: RecorderDirections = "random"
    n: int = 2
    samples: GridSettings = GridSettings(resolution=11)
    normalization: Normalization | None = None
    parameters: str | None = None
    eigenvalues: int = 2
    sharpness: bool = True
    threshold: float = 1e-3
    share: float | None = 0.05
    engine: EngineChoice | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check every value."""
        checks.choice(self.directions, RECORDER_DIRECTIONS, name="directions")
        checks.integer(self.n, name="n", minimum=1)
        if self.normalization is not None:
            checks.choice(self.normalization, NORMALIZATIONS, name="normalization")
        checks.integer(self.eigenvalues, name="eigenvalues", minimum=0)
        checks.boolean(self.sharpness, name="sharpness")
        if not 0 <= checks.real(self.threshold, name="threshold") <= 1:
            raise ValueError(f"threshold must lie between 0 and 1, got {self.threshold:g}")
        if self.share is not None:
            checks.positive(self.share, name="share")
        if self.engine is not None:
            checks.choice(self.engine, ENGINES, name="engine")
        checks.integer(self.seed, name="seed", minimum=0)
        if self.directions == "eigenvectors" and self.eigenvalues < self.n:
            raise ValueError(
                f"eigenvalues must be >= {self.n} for directions along eigenvectors, got "
                f"{self.eigenvalues}"
            )

    def used_normalization(self) -> Normalization:
        """Return the normalization that is meant."""
        return self.normalization or ("filter" if self.directions == "random" else "none")
