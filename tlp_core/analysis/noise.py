"""Which basins are real, and which are noise of the batches.

The loss of a sample is a mean over batches, so another draw of batches would give another loss. The
errors of neighbouring samples go together, because all samples use the same batches, and only their
differences matter. The bootstrap (Efron 1979, "Bootstrap methods") draws batches with replacement,
the same for all samples, and gives errors e* that are as correlated as the true ones.

Suppose that a basin with minimum m is noise: without errors, a path leads down from m to a lower
minimum. With errors e, the path leaves the basin through a sample x that is at least as high as the
saddle, though it is no higher than m without errors. Hence e(x) - e(m) is at least the persistence
of the basin, for a sample x next to the basin and a sample m in it. The p-value of a basin is the
probability that errors differ by so much between two samples of the basin and its neighbours,
which is what the draws of the bootstrap count; where fewer than five draws reach it, a Gumbel
distribution with the mean and the variance of the draws gives it. It uses the range of the errors
in the basin only, so that large errors where the loss is high do not hide basins where it is low;
for all samples, it would be the confidence band of Fasy et al. 2014, "Confidence sets for
persistence diagrams", section 4.

With many basins, some have a small p-value by chance. The q-value of a basin is the smallest
expected share of noise among the basins that are accepted with it (false discovery rate, Benjamini,
Hochberg 1995). Of simulated landscapes with and without wells, fewer basins than promised are
accepted wrongly, because the range of the errors is larger than the difference that made the basin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import GridRule
from tlp_core.landscape.landscape import Landscape
from tlp_core.topology.branches import Branches, elder_minimum
from tlp_core.topology.graphs import EdgeGraph, GridGraph
from tlp_core.topology.landscape_tree import landscape_graph
from tlp_core.topology.merge_tree import MergeTree

MINIMUM_BATCHES = 8
"""Minimum number of batches: the bootstrap of fewer underestimates the tails of the errors."""

_RARE = 5
"""Number of draws that reach the persistence below which the tail is that of a fitted distribution:
else no basin among hundreds could be told from noise by a thousand draws."""

_TOGETHER = 64
"""Number of draws that are computed at a time: 64 values for each sample."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BasinNoise:
    """How certain the basins of a landscape are, in the order of the branches of its tree.

    Attributes:
        standard_error: (B,) float64, standard error of f(saddle) - f(minimum) over the batches, in
            units of the loss.
        p_value: (B,) float64, 0 to 1, probability that noise makes a basin of this persistence
            where there is none; 0 for the first branch, because some minimum always exists.
        q_value: (B,) float64, 0 to 1, smallest false discovery rate at which the basin is accepted;
            not larger than that of a basin that merges into it.
    """

    standard_error: Values
    p_value: Values
    q_value: Values

    def of_basins(self, tree: MergeTree) -> Values:
        """Return the q-value of the basin of each arc, (A,) float64: that of its lowest minimum.

        Args:
            tree: the merge tree whose basins were tested.
        """
        of_minimum = np.zeros(len(tree.parent))
        of_minimum[tree.branches().minimum_node] = self.q_value
        return np.asarray(of_minimum[elder_minimum(tree.parent)[:-1]])

    def __len__(self) -> int:
        """Return B, the number of branches."""
        return len(self.p_value)


def basin_noise(
    tree: MergeTree,
    graph: GridGraph | EdgeGraph,
    batch_losses: npt.ArrayLike,
    *,
    batch_sizes: npt.ArrayLike | None = None,
    draws: int = 999,
    seed: int = 0,
) -> BasinNoise:
    """Return which basins of a tree are more than noise of the batches.

    Args:
        tree: the merge tree, simplified or not.
        graph: its neighbour graph.
        batch_losses: (C, N) or (C, …), the loss of each of C batches at each sample; C >= 8. Their
            mean, weighted by the sizes of the batches, is the loss.
        batch_sizes: (C,) number of items in each batch, > 0. Default: equal sizes.
        draws: number of draws of the bootstrap, >= 19. Default: 999.
        seed: random seed of the draws. Default: 0.

    Returns:
        The p-value and the q-value of each basin, and the standard error of its persistence.

    Raises:
        ValueError: for fewer than 8 batches, another number of samples than the tree's, or losses
            that are not finite where those of the tree are.
        TypeError: if ``draws`` is not an integer.
    """
    losses, sizes = _checked_losses(tree, batch_losses, batch_sizes)
    draws = checks.integer(draws, name="draws", minimum=19)
    pairs = tree.branches()
    weights = sizes / sizes.sum()
    centered = losses - weights @ losses
    rng = np.random.default_rng(seed)
    exceeding, sums, squares = (np.zeros(len(pairs)) for _ in range(3))
    basins = _Basins(tree, pairs, graph)
    # the spread of draws from C batches is smaller than that of the batches by this factor
    centered *= np.sqrt(len(losses) / (len(losses) - 1))
    for start in range(0, draws, _TOGETHER):
        count = min(_TOGETHER, draws - start)
        drawn = rng.multinomial(len(losses), np.full(len(losses), 1 / len(losses)), count) * weights
        errors = (drawn / drawn.sum(axis=1, keepdims=True)) @ centered
        ranges = basins.ranges(errors)
        exceeding += (ranges >= pairs.persistence).sum(axis=0)
        sums += ranges.sum(axis=0)
        squares += (ranges**2).sum(axis=0)
    deviation = np.sqrt(np.maximum(squares / draws - (sums / draws) ** 2, 0.0))
    p_value = (1 + exceeding) / (1 + draws)
    rare = exceeding < _RARE
    tail = _gumbel_tail(pairs.persistence, sums / draws, deviation)
    p_value[rare] = np.minimum(p_value, tail)[rare]
    p_value[0] = 0.0
    return BasinNoise(
        _standard_error(centered, weights, pairs), p_value, _q_values(p_value, pairs.parent)
    )


def landscape_noise(
    landscape: Landscape, tree: MergeTree, *, rule: GridRule = "diagonal"
) -> BasinNoise:
    """Return which basins of a landscape are more than noise of its batches.

    Args:
        landscape: a landscape with losses on batches (``batch_losses`` of
            :class:`~tlp_core.sampling.settings.EvaluationSettings`).
        tree: its merge tree, simplified or not.
        rule: rule of the tree's neighbour graph.

    Raises:
        ValueError: as :func:`basin_noise`.
    """
    graph = landscape_graph(landscape, rule=rule)
    sizes = landscape.batch_sizes if len(landscape.batch_sizes) else None
    return basin_noise(tree, graph, landscape.batch_losses, batch_sizes=sizes)


def significant_tree(tree: MergeTree, noise: BasinNoise, *, rate: float = 0.05) -> MergeTree:
    """Return the tree without the basins that may be noise.

    Args:
        tree: the merge tree whose basins were tested.
        noise: what :func:`basin_noise` returned for it.
        rate: largest expected share of noise among the basins that stay, between 0 and 1.
            Default: 0.05.

    Raises:
        ValueError: for a rate out of range, or the noise of another tree.
        TypeError: if the rate is not a number.
    """
    return tree.with_branches(noise.q_value <= check_rate(rate))


def check_rate(rate: float) -> float:
    """Return a false discovery rate.

    Raises:
        ValueError: if it does not lie between 0 and 1.
        TypeError: if it is not a number.
    """
    if not 0 < checks.real(rate, name="rate") < 1:
        raise ValueError(f"rate must lie between 0 and 1, got {rate:g}")
    return rate


class _Basins:
    """The basins of a tree and their neighbours, for the range of errors in each of them."""

    def __init__(self, tree: MergeTree, pairs: Branches, graph: GridGraph | EdgeGraph) -> None:
        self._parent, self._top, self._graph = tree.parent, pairs.top_node, graph
        self._order = np.argsort(tree.vertex_arc, kind="stable")
        arcs = tree.vertex_arc[self._order]
        self._starts = np.flatnonzero(np.append(True, arcs[1:] != arcs[:-1]))
        self._arcs = arcs[self._starts]

    def ranges(self, errors: Values) -> Values:
        """Return, for errors (D, N), the largest minus the smallest in each basin, (D, B).

        The largest is over the basin and its neighbours, the smallest over the basin.
        """
        lowest = self._over_basins(errors, np.minimum, np.inf)
        highest = self._over_basins(_largest_around(errors, self._graph), np.maximum, -np.inf)
        return highest - lowest

    def _over_basins(self, values: Values, reduce: np.ufunc, start: float) -> Values:
        nodes = np.full((len(self._parent), len(values)), start)
        nodes[self._arcs] = reduce.reduceat(values[:, self._order], self._starts, axis=1).T
        for node, above in enumerate(self._parent[:-1].tolist()):  # parents have larger numbers
            reduce(nodes[above], nodes[node], out=nodes[above])
        return nodes[self._top].T


def _largest_around(values: Values, graph: GridGraph | EdgeGraph) -> Values:
    """Return the largest of the values at each sample and its neighbours, (D, N)."""
    largest = values.copy()
    if isinstance(graph, EdgeGraph):
        for one, other in (graph.edges.T, graph.edges.T[::-1]):
            for row, out in zip(values, largest):
                np.maximum.at(out, one, row[other])
        return largest
    on_grid = values.reshape(-1, *graph.shape)
    found = largest.reshape(on_grid.shape)
    for offset in graph.offsets.tolist():
        here = tuple(
            slice(max(0, -step), size - max(0, step)) for step, size in zip(offset, graph.shape)
        )
        there = tuple(
            slice(max(0, step), size - max(0, -step)) for step, size in zip(offset, graph.shape)
        )
        np.maximum(found[:, *here], on_grid[:, *there], out=found[:, *here])
    return largest


def _gumbel_tail(values: Values, mean: Values, deviation: Values) -> Values:
    """Return the probability that Gumbel variables of given moments reach given values.

    Their tail is heavier than that of the range of normal errors, so that it errs on the safe side.
    """
    scale = np.maximum(deviation * np.sqrt(6) / np.pi, np.finfo(float).tiny)
    return np.asarray(-np.expm1(-np.exp(-(values - mean) / scale - np.euler_gamma)))


def _standard_error(centered: Values, weights: Values, pairs: Branches) -> Values:
    differences = centered[:, pairs.saddle] - centered[:, pairs.minimum]
    return np.asarray(np.sqrt((weights[:, None] ** 2 * differences**2).sum(axis=0)))


def _q_values(p_value: Values, parent: npt.NDArray[np.int64]) -> Values:
    """Return the q-values of all branches; the first is not tested, and is certain."""
    q_value = np.zeros(len(p_value))
    order = 1 + np.argsort(p_value[1:])
    scaled = p_value[order] * len(order) / np.arange(1, len(order) + 1)
    q_value[order] = np.minimum(1.0, np.minimum.accumulate(scaled[::-1])[::-1])
    for branch in range(len(parent) - 1, 0, -1):  # a branch merges into a more persistent one
        q_value[parent[branch]] = min(q_value[parent[branch]], q_value[branch])
    return q_value


def _checked_losses(
    tree: MergeTree, batch_losses: npt.ArrayLike, batch_sizes: npt.ArrayLike | None
) -> tuple[Values, Values]:
    losses = np.asarray(batch_losses, dtype=np.float64)
    if len(losses) < MINIMUM_BATCHES:
        raise ValueError(
            f"losses of at least {MINIMUM_BATCHES} batches tell noise from basins, got "
            f"{len(losses)}; use smaller batches, and keep their losses (--batch-losses)"
        )
    losses = losses.reshape(len(losses), -1)
    if losses.shape[1] != len(tree.values):
        raise ValueError(
            f"losses of batches must be as many as the samples, {len(tree.values)}, got "
            f"{losses.shape[1]}"
        )
    finite = np.isfinite(tree.values)
    if not np.isfinite(losses[:, finite]).all():
        raise ValueError("losses of batches must be finite where the loss is")
    losses = np.where(finite, losses, 0.0)  # such a sample is above everything, in every draw
    sizes = np.ones(len(losses)) if batch_sizes is None else np.asarray(batch_sizes, np.float64)
    if sizes.shape != (len(losses),) or not (sizes > 0).all():
        raise ValueError(f"batch_sizes must be {len(losses)} numbers > 0, got {sizes.tolist()}")
    return losses, sizes
