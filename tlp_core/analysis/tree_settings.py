"""How the merge tree of a landscape is made for numbers and pictures."""

from __future__ import annotations

from dataclasses import dataclass

from tlp_core.analysis.noise import (
    MINIMUM_BATCHES,
    BasinNoise,
    landscape_noise,
    significant_tree,
)
from tlp_core.choices import GridRule
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.landscape_tree import landscape_tree
from tlp_core.topology.merge_tree import MergeTree

RATE = 0.05
"""False discovery rate of the basins that are counted as significant, and not drawn faint."""


@dataclass(frozen=True)
class TreeSettings:
    """How trees are made.

    Attributes:
        rule: which samples of a grid are neighbours.
        threshold: smallest persistence that stays, as a fraction, 0 to 1, of the range of losses.
        loss: name of the loss; empty for the landscape's own.
        logarithmic: measure persistence and range on log10 of the loss.
        significance: false discovery rate, between 0 and 1, of the basins that stay, in a
            landscape with losses on batches; None to keep those that may be noise.
    """

    rule: GridRule = "diagonal"
    threshold: float = 0.0
    loss: str = ""
    logarithmic: bool = False
    significance: float | None = None

    def tree(self, landscape: Landscape) -> MergeTree:
        """Return the merge tree of a landscape, in units of the loss.

        Raises:
            ValueError: for a setting out of range, no finite loss, a logarithm of a loss that is
                not positive, or a significance without losses on at least 8 batches.
        """
        tree = landscape_tree(
            landscape, rule=self.rule, threshold=self.threshold, logarithmic=self.logarithmic
        )
        if self.significance is None:
            return tree
        noise = landscape_noise(landscape, tree, rule=self.rule)
        return significant_tree(tree, noise, rate=self.significance)

    def measured(self, tree: MergeTree) -> MergeTree:
        """Return the tree on which persistence is measured: of log10 of the losses on request."""
        return tree.logarithmic() if self.logarithmic else tree

    def noise(self, landscape: Landscape, tree: MergeTree) -> BasinNoise | None:
        """Return which basins may be noise; None of a landscape whose batches cannot tell."""
        if len(landscape.batch_losses) < MINIMUM_BATCHES:
            return None
        return landscape_noise(landscape, tree, rule=self.rule)
