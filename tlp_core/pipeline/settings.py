"""The settings of a landscape, nested by stage.

Each record checks itself when it is made, so no stage checks its settings again. What a result
depends on is the record of its stage and of those before; what it does not depend on is ``run``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tlp_core.directions.settings import DirectionSettings
from tlp_core.problems.settings import ProblemSettings
from tlp_core.sampling.settings import (
    EvaluationSettings,
    GridSettings,
    RunSettings,
    SampleSettings,
)


@dataclass(frozen=True)
class LandscapeSettings:
    """Everything that makes a landscape.

    Attributes:
        problem: model, loss and batches.
        directions: how directions are made.
        samples: a grid, or scattered points.
        evaluation: how losses are evaluated.
        run: where losses are stored, and what the run may use; losses do not depend on it.

    Raises:
        ValueError: for samples that do not fit the number of directions, where it is known before
            directions are made.
    """

    problem: ProblemSettings
    directions: DirectionSettings = DirectionSettings()
    samples: SampleSettings = GridSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    run: RunSettings = RunSettings()

    def __post_init__(self) -> None:
        """Check the samples against the directions, before hours are spent on eigenvectors."""
        knows_directions = not self.directions.file and self.directions.method != "checkpoints"
        if self.samples.rise is None and knows_directions:
            self.samples.half_widths(self.directions.n)
