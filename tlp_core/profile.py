"""Stage 4: the topological landscape profile.

A basin is an arc of the merge tree and everything below it. At height h it is as wide as the
number of its samples at or below h, so it never gets narrower upwards; children of a saddle stand
side by side, without gaps, in the middle of their parent (Geniesse et al. 2024, arXiv 2411.12136,
section 3; the layout is that of Weber, Bremer, Pascucci 2007, "Topological landscapes", in one
dimension). Read as one function of x, the outline has exactly the merge tree of the landscape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.choices import SIBLING_ORDERS, SiblingOrder
from tlp_core.topology.branches import elder_minimum, sum_upward
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.topology.sweep import sweep_order


@dataclass(frozen=True)
class Basins:
    """Basins, one per arc of the merge tree and with its number, lower ones first.

    A basin is drawn as a ladder of rungs, bottom to top, each centred at ``center``; basin b owns
    the rungs ``rung_start[b]`` to ``rung_start[b + 1]``.

    Attributes:
        parent: (A,) int64, the basin around each basin; -1 for an outermost one.
        minimum: (A,) int64, sample id of the lowest sample.
        saddle: (A,) int64, sample id of the upper node: the saddle where the basin meets its
            siblings, or the root.
        birth: (A,) float64, level of the minimum.
        death: (A,) float64, level of the upper node.
        persistence: (A,) float64, death - birth, the basin's depth.
        size: (A,) int64, number of samples, 1 to N.
        average_loss: (A,) float64, mean loss of all samples, non-finite ones at the largest
            finite loss.
        nesting_depth: (A,) int64, number of basins around each basin.
        center: (A,) float64, x of the middle, in units of the width.
        rung_start: (A + 1,) int64.
        rung_height: (R,) float64, in units of the loss.
        rung_width: (R,) float64, in samples, 0 to N; of a profile of roots as said there.
    """

    parent: npt.NDArray[np.int64]
    minimum: npt.NDArray[np.int64]
    saddle: npt.NDArray[np.int64]
    birth: npt.NDArray[np.float64]
    death: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    size: npt.NDArray[np.int64]
    average_loss: npt.NDArray[np.float64]
    nesting_depth: npt.NDArray[np.int64]
    center: npt.NDArray[np.float64]
    rung_start: npt.NDArray[np.int64]
    rung_height: npt.NDArray[np.float64]
    rung_width: npt.NDArray[np.float64]

    def __len__(self) -> int:
        """Return A, the number of basins."""
        return len(self.size)

    @property
    def top_width(self) -> npt.NDArray[np.float64]:
        """Width of each basin where it meets its siblings, (A,) float64."""
        return np.asarray(self.rung_width[self.rung_start[1:] - 1])

    @property
    def floor(self) -> npt.NDArray[np.float64]:
        """Level of the lower node of each basin, where its children meet, (A,) float64."""
        return np.asarray(self.rung_height[self.rung_start[:-1]])


@dataclass(frozen=True)
class CriticalPoints:
    """Minima at the bottom of their basins, and a saddle between each two neighbouring children.

    Attributes:
        sample: (C,) int64, sample id; a saddle of k children comes k - 1 times.
        type: (C,) uint8, ``CriticalType``; the root where it joins several basins.
        x: (C,) float64, in units of the width.
        height: (C,) float64, in units of the loss.
        persistence: (C,) float64, of the minimum's branch, or of the most persistent branch that
            dies at the saddle.
        basin: (C,) int64, the basin to which the sample belongs.
    """

    sample: npt.NDArray[np.int64]
    type: npt.NDArray[np.uint8]
    x: npt.NDArray[np.float64]
    height: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    basin: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """The basins of a landscape, drawn in the plane.

    Attributes:
        basins: every basin and its polygon.
        critical_points: minima and saddles.
        outline: (P, 2) float64, x in samples and height, P >= 2, x from 0 to N never decreasing.
        total_width: N, the number of samples; 1 where widths are roots.
    """

    basins: Basins
    critical_points: CriticalPoints
    outline: npt.NDArray[np.float64]
    total_width: float


def landscape_profile(
    tree: MergeTree,
    *,
    order: SiblingOrder = "width",
    places: npt.ArrayLike | None = None,
    root: int = 1,
    tolerance: float = 0.0,
) -> Profile:
    """Lay out the basins of a merge tree.

    Args:
        tree: the merge tree, simplified or not; samples of removed basins count at the level of
            the saddle to which they were filled.
        order: which of the children of a saddle stands on the left: the widest or the deepest.
        places: (N,) x of each sample in another profile of the same samples, such as
            :func:`sample_places` of the training step before; instead of ``order``, children then
            stand by the mean place of their samples, so that basins that continue keep their
            places.
        root: n > 1 draws widths as n-th roots of shares, (w / N)^(1/n), of a total width 1, under
            which a quadratic bowl in n directions is the same parabola for every n. Children share
            the width of their parent in proportion to their roots, so that small basins stay
            visible; widths then no longer add up.
        tolerance: largest error of a width, as a share of the total, >= 0. A basin has up to two
            rungs for every loss in it; with a tolerance the rungs at which its width has hardly
            grown are left out, and the tree of the outline stays the same.

    Returns:
        The profile: total width N samples, heights in units of the loss.

    Raises:
        ValueError: for an unknown order, places that are not finite or not one for each sample, a
            root below 1 or a negative tolerance.
    """
    tolerance = checks.non_negative(tolerance, name="tolerance")
    root = checks.integer(root, name="root", minimum=1)
    siblings = _sibling_order(tree, order, places)
    size = tree.subtree_sizes()
    drawn = _drawn_widths(len(tree.values), root)
    factor = _factors(tree, size, root)
    center = _centers(tree, siblings, factor * drawn[size[:-1]], drawn[-1])
    basins = _basins(tree, center, factor, drawn, tolerance * drawn[-1])
    return Profile(
        basins=basins,
        critical_points=_critical_points(tree, basins, siblings),
        outline=_outline(tree, basins, siblings),
        total_width=float(drawn[-1]),
    )


def sample_places(tree: MergeTree, profile: Profile) -> npt.NDArray[np.float64]:
    """Return the middle of the basin of each sample, (N,) float64, as ``places`` of another."""
    return np.asarray(profile.basins.center[tree.vertex_arc])


def _sibling_order(
    tree: MergeTree, order: SiblingOrder, places: npt.ArrayLike | None
) -> npt.NDArray[np.int64]:
    """Return arcs grouped by upper node, left to right; ties: wider, then with lower minimum."""
    checks.choice(order, SIBLING_ORDERS, name="order")
    arcs = np.arange(tree.number_of_arcs)
    sizes, elder = (
        tree.subtree_sizes()[arcs],
        elder_minimum(tree.parent)[arcs],
    )
    if places is not None:
        first = _mean_places(tree, places)[arcs]
    else:
        first = -sizes if order == "width" else tree.node_level[elder]
    return np.asarray(np.lexsort((elder, -sizes, first, tree.parent[arcs])))


def _mean_places(tree: MergeTree, places: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the mean place of the samples of each subtree, (M,)."""
    x = np.asarray(places, dtype=np.float64)
    if x.shape != tree.values.shape or not np.isfinite(x).all():
        raise ValueError(
            f"places must be {len(tree.values)} finite numbers, one for each sample, got shape "
            f"{x.shape}"
        )
    own = np.bincount(tree.vertex_arc, weights=x, minlength=len(tree.parent))
    return np.asarray(sum_upward(tree.parent, own) / np.maximum(tree.subtree_sizes(), 1))


def _drawn_widths(count: int, root: int) -> npt.NDArray[np.float64]:
    """Return how wide k of ``count`` samples are drawn, for k from 0, (N + 1,)."""
    samples = np.arange(count + 1, dtype=np.float64)
    return samples if root == 1 else (samples / count) ** (1 / root)


def _factors(tree: MergeTree, size: npt.NDArray[np.int64], root: int) -> npt.NDArray[np.float64]:
    """Return by what each basin is narrower than its own root, so that siblings fit, (A,)."""
    if root == 1:
        return np.ones(tree.number_of_arcs)
    upper = tree.parent[:-1]
    inside = np.bincount(upper, weights=size[:-1], minlength=len(size))
    roots = np.bincount(upper, weights=size[:-1] ** (1 / root), minlength=len(size))
    shrink = inside[upper] ** (1 / root) / roots[upper]
    return np.asarray(np.exp(_add_downward(tree.parent, np.log(shrink), 0.0)))


def _centers(
    tree: MergeTree,
    siblings: npt.NDArray[np.int64],
    width: npt.NDArray[np.float64],
    total_width: float,
) -> npt.NDArray[np.float64]:
    right = np.cumsum(width[siblings])
    upper = tree.parent[siblings]
    first = np.flatnonzero(np.append(True, upper[1:] != upper[:-1]))
    group = np.repeat(first, np.diff(np.append(first, len(siblings))))
    start = right[group] - width[siblings[group]]
    together = np.bincount(upper, weights=width[siblings], minlength=len(tree.parent))
    from_middle = np.empty(len(siblings))
    from_middle[siblings] = right - width[siblings] / 2 - start - together[upper] / 2
    return np.asarray(_add_downward(tree.parent, from_middle, total_width / 2))


@numba.njit(cache=True)
def _add_downward(parent, step, start):  # type: ignore[no-untyped-def]
    place = np.empty(len(parent))
    place[-1] = start
    for node in range(len(parent) - 2, -1, -1):
        place[node] = place[parent[node]] + step[node]
    return place[:-1]


def _basins(
    tree: MergeTree,
    center: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.float64],
    unseen: float,
) -> Basins:
    arcs = np.arange(tree.number_of_arcs)
    upper = tree.parent[arcs]
    minimum = tree.node_vertex[elder_minimum(tree.parent)[arcs]]
    size = tree.subtree_sizes()[arcs]
    start, height, width = _rungs(tree, size, factor, drawn, unseen)
    birth, death = tree.levels[minimum], tree.node_level[upper]
    return Basins(
        parent=np.where(upper == tree.number_of_arcs, -1, upper),
        minimum=minimum,
        saddle=tree.node_vertex[upper],
        birth=birth,
        death=death,
        persistence=death - birth,
        size=size,
        average_loss=_loss_sums(tree)[arcs] / size,
        nesting_depth=_add_downward(tree.parent, np.ones(len(arcs)), -1.0).astype(np.int64),
        center=center,
        rung_start=start,
        rung_height=height,
        rung_width=width,
    )


def _loss_sums(tree: MergeTree) -> npt.NDArray[np.float64]:
    shown = np.where(np.isfinite(tree.values), tree.values, tree.levels.max())
    own = np.bincount(tree.vertex_arc, weights=shown, minlength=len(tree.parent))
    return np.asarray(sum_upward(tree.parent, own))


def _rungs(
    tree: MergeTree,
    size: npt.NDArray[np.int64],
    factor: npt.NDArray[np.float64],
    drawn: npt.NDArray[np.float64],
    unseen: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return where each basin's rungs start, their heights, and their widths.

    The width is a step function of the height, so each level but the lowest has two rungs: one as
    wide as before its samples, one as wide as with them. The upper node closes the ladder. Steps
    that together are no wider than ``unseen`` are left out.
    """
    own = np.bincount(tree.vertex_arc, minlength=len(size))
    ends = np.cumsum(own)
    samples = _by_arc(sweep_order(tree.levels), tree.vertex_arc, ends - own)
    upper_level = tree.node_level[tree.parent[: len(size)]]
    return tuple(
        _ladders(samples, ends, size - own, tree.levels, upper_level, drawn, factor, unseen)
    )


@numba.njit(cache=True)
def _by_arc(order, vertex_arc, starts):  # type: ignore[no-untyped-def]
    """Return samples grouped by arc and in order within each, (N,)."""
    place = starts.copy()
    grouped = np.empty_like(order)
    for sample in order:
        arc = vertex_arc[sample]
        grouped[place[arc]] = sample
        place[arc] += 1
    return grouped


@numba.njit(cache=True)
def _ladders(  # type: ignore[no-untyped-def]
    samples, ends, below, levels, upper_level, widths, factor, unseen
):
    start = np.zeros(len(ends) + 1, dtype=np.int64)
    height, width = np.empty(1024), np.empty(1024)
    rung, first = 0, 0
    for arc in range(len(ends)):
        drawn, before = -1.0, 0.0
        for k in range(first, ends[arc]):
            level, wide = levels[samples[k]], factor[arc] * widths[below[arc] + k + 1 - first]
            closes = k + 1 == ends[arc]
            if not closes and levels[samples[k + 1]] == level:
                continue
            if rung + 3 > len(height):
                height = np.concatenate((height, np.empty_like(height)))
                width = np.concatenate((width, np.empty_like(width)))
            if drawn < 0 or closes or wide - drawn > unseen:
                if drawn >= 0:
                    height[rung], width[rung] = level, before
                    rung += 1
                height[rung], width[rung] = level, wide
                rung, drawn = rung + 1, wide
            before = wide
            if closes and level < upper_level[arc]:
                height[rung], width[rung] = upper_level[arc], wide
                rung += 1
        first = ends[arc]
        start[arc + 1] = rung
    return start, height[:rung].copy(), width[:rung].copy()


def _critical_points(
    tree: MergeTree, basins: Basins, siblings: npt.NDArray[np.int64]
) -> CriticalPoints:
    pairs = tree.branches()
    persistence = np.zeros(len(tree.parent))
    np.maximum.at(persistence, pairs.saddle_node, pairs.persistence)
    persistence[pairs.minimum_node] = pairs.persistence

    upper = tree.parent[siblings]
    left_of_junction = siblings[np.flatnonzero(upper[1:] == upper[:-1])]
    minima = np.sort(pairs.minimum_node)
    nodes = np.concatenate([minima, tree.parent[left_of_junction]])
    junction = basins.center[left_of_junction] + basins.top_width[left_of_junction] / 2
    return CriticalPoints(
        sample=tree.node_vertex[nodes],
        type=tree.node_type[nodes],
        x=np.concatenate([basins.center[minima], junction]),
        height=tree.node_level[nodes],
        persistence=persistence[nodes],
        basin=tree.vertex_arc[tree.node_vertex[nodes]],
    )


def _outline(
    tree: MergeTree, basins: Basins, siblings: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Walk around the basins from left to right: down a left side, the children, up the right."""
    children = np.searchsorted(tree.parent[siblings], np.arange(len(tree.parent) + 1))
    rungs, side = _walk(siblings, children, basins.rung_start)
    center = np.repeat(basins.center, np.diff(basins.rung_start))
    return np.stack(
        [center[rungs] + side * basins.rung_width[rungs] / 2, basins.rung_height[rungs]], axis=1
    )


@numba.njit(cache=True)
def _walk(siblings, children, rung_start):  # type: ignore[no-untyped-def]
    """Return the rungs in the order of the walk, and -1 on left sides, 1 on right sides."""
    rungs = np.empty(2 * rung_start[-1], dtype=np.int64)
    side = np.empty(len(rungs))
    ahead = np.empty(2 * len(siblings), dtype=np.int64)  # an arc, or ~arc on the way up
    root, count, place = len(children) - 2, 0, 0
    for k in range(children[root + 1] - 1, children[root] - 1, -1):
        ahead[count] = siblings[k]
        count += 1
    while count:
        count -= 1
        rises = ahead[count] < 0
        arc = ~ahead[count] if rises else ahead[count]
        for step in range(rung_start[arc + 1] - rung_start[arc]):
            rungs[place] = rung_start[arc] + step if rises else rung_start[arc + 1] - 1 - step
            side[place] = 1.0 if rises else -1.0
            place += 1
        if not rises:
            ahead[count] = ~arc
            count += 1
            for k in range(children[arc + 1] - 1, children[arc] - 1, -1):
                ahead[count] = siblings[k]
                count += 1
    return rungs, side
