"""Stage 4: the topological landscape profile.

A basin is an arc of the merge tree and everything below it. The width of a basin at height h is the
number of its samples with a loss <= h, so the width never decreases upwards; samples of a geometric
grid count by the volume that they stand for, with mean 1. The children of a
saddle are placed side by side, without gaps, in the middle of their parent (Geniesse et al. 2024,
arXiv 2411.12136, section 3). The layout is the one-dimensional form of Weber, Bremer, Pascucci
2007, "Topological landscapes". The outline is a function of x and has exactly the merge tree of
the landscape.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import numba
import numpy as np
import numpy.typing as npt

from tlp_core import checks
from tlp_core.array_names import CriticalType
from tlp_core.choices import SIBLING_ORDERS, SiblingOrder
from tlp_core.profile.basins import Basins, CriticalPoints
from tlp_core.topology.branches import elder_minimum, node_persistence, sum_upward
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.topology.sweep import sweep_order

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOLDEN_RATIO = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Profile:
    """The basins of a landscape, drawn in the plane.

    Attributes:
        basins: all basins and their polygons.
        critical_points: minima and saddles.
        outline: (P, 2) float64, P >= 2, x and height (in units of the loss) of each corner. x runs
            from 0 to the total width and never decreases.
        total_width: N, the number of samples; 1 if the profile is drawn with ``degree`` > 1 or
            ``relative``.
        has_volumes: widths are volumes of a geometric grid, in samples of mean volume, instead of
            numbers of samples.
    """

    basins: Basins
    critical_points: CriticalPoints
    outline: npt.NDArray[np.float64]
    total_width: float
    has_volumes: bool = False

    @property
    def width_title(self) -> str:
        """Title of the axis of the widths."""
        return width_title(is_fraction=self.total_width <= 1, has_volumes=self.has_volumes)

    def plot(
        self,
        axes: Axes | None = None,
        *,
        logarithmic: bool = False,
        loss_range: tuple[float, float] | None = None,
        color_range: tuple[float, float] | None = None,
        faint: npt.NDArray[np.bool_] | None = None,
        legend: bool = True,
    ) -> Axes:
        """Draw the profile with matplotlib, as ParaView shows it.

        Basins are blue, a darker blue for a lower average loss; minima are red, saddles orange.

        Args:
            axes: the axes to draw into. Default: None, axes of a new figure.
            logarithmic: draw the loss axis and the colours logarithmically. Default: False.
            loss_range: lowest and highest loss of the axis, such as a range that several profiles
                share. Default: None, the range of this profile.
            color_range: lowest and highest average loss of the colours. Default: None, the range
                of this profile.
            faint: (A,) whether each basin is drawn faint, such as one that may be noise. Default:
                None, none is.
            legend: add the legend of minima and saddles, and the colour bar. Default: True.

        Returns:
            The axes; ``axes.figure.savefig("profile.svg")`` writes the picture.

        Raises:
            ModuleNotFoundError: if matplotlib is not installed.
            ValueError: if a logarithmic axis has a loss that is not positive.
        """
        from matplotlib.figure import Figure

        from tlp_core.profile.plot import add_legend, draw_profile

        if axes is None:
            axes = Figure(figsize=(6.4, 4.8), layout="constrained").subplots()
        average = self.basins.average_loss
        colors = color_range or (float(average.min()), float(average.max()))
        drawn = draw_profile(
            axes,
            self.basins,
            self.critical_points,
            self.outline,
            self.total_width,
            self.width_title,
            logarithmic=logarithmic,
            loss_range=loss_range,
            color_range=colors,
            faint=faint,
        )
        if legend:
            add_legend(axes, drawn, colors, logarithmic=logarithmic)
        return axes

    def _repr_html_(self) -> str:
        """Return the picture and its facts, which notebooks show; the facts without matplotlib."""
        basins = self.basins
        minima = int((self.critical_points.type == CriticalType.MINIMUM).sum())
        facts = (
            f"{minima:,} minima, {len(basins):,} basins, {basins.size.max():,} samples, "
            f"losses from {basins.birth.min():.4g} to {basins.death.max():.4g}"
        )
        try:
            figure = self.plot().figure
        except ModuleNotFoundError:
            return f"<p>{facts}</p>"
        image = BytesIO()
        figure.savefig(image, dpi=100)
        source = base64.b64encode(image.getvalue()).decode("ascii")
        return f'<img src="data:image/png;base64,{source}" alt="{facts}"><p>{facts}</p>'


def landscape_profile(
    tree: MergeTree,
    *,
    order: SiblingOrder = "width",
    places: npt.ArrayLike | None = None,
    degree: int = 1,
    relative: bool = False,
    tolerance: float = 0.0,
) -> Profile:
    """Return the profile of a merge tree.

    Args:
        tree: the merge tree, simplified or not. The samples of a removed basin count at the level
            of the saddle to which the basin was filled.
        order: which child of a saddle is placed first from the left: the widest (``width``) or the
            deepest (``depth``). Default: ``width``.
        places: (N,) finite place of each sample, such as :func:`position_places`. If given,
            children are sorted by the mean place of their samples instead of by ``order``, so that
            a basin that persists over training keeps its place. Default: None.
        degree: n >= 1; widths are n-th roots. If n > 1, a basin of w samples is
            drawn with the width (w / N)^(1/n), and the total width is 1; a quadratic bowl in n
            directions then becomes the same parabola for every n. Siblings divide the width of
            their parent in proportion to their roots, so small basins stay visible; the widths of
            siblings then do not add up. Default: 1, widths in samples.
        relative: widths are fractions of the number of samples also for degree 1, so that
            landscapes of one and of more directions can be compared. Default: False.
        tolerance: largest error of a width, as a fraction of the total width, >= 0. A basin has up
            to two steps for each distinct loss in it. Steps are omitted while the width has grown
            by no more than the tolerance; the merge tree of the outline does not change.
            Default: 0.

    Returns:
        The profile. Its total width is N samples (or 1, see ``degree``), heights are in units of
        the loss.

    Raises:
        ValueError: if the order is unknown, the places are not N finite numbers, the degree is
            below 1, or the tolerance is negative or not finite.
        TypeError: if the degree is not an integer or the tolerance is not a number.
    """
    tolerance = checks.non_negative(tolerance, name="tolerance")
    degree = checks.integer(degree, name="degree", minimum=1)
    volume = tree.subtree_volumes()
    siblings = _sibling_order(tree, volume, order, places)
    draw = partial(_drawn_widths, count=len(tree.values), degree=degree, relative=relative)
    (total_width,) = draw(np.array([float(len(tree.values))]))
    factor = _width_factors(tree, volume, degree)
    center = _centers(tree, siblings, factor * draw(volume[:-1]), total_width)
    basins = _basins(tree, volume, center, factor, draw, tolerance * total_width)
    return Profile(
        basins=basins,
        critical_points=_critical_points(tree, basins, siblings),
        outline=_outline(tree, basins, siblings),
        total_width=float(total_width),
        has_volumes=tree.volumes is not None,
    )


def width_title(*, is_fraction: bool, has_volumes: bool) -> str:
    """Return the title of the axis of the widths.

    Args:
        is_fraction: widths are n-th roots of fractions, not numbers.
        has_volumes: widths are volumes, see :class:`Profile`.
    """
    if is_fraction:
        return f"n-th root of fraction of {'volume' if has_volumes else 'samples'}"
    return "volume, in mean samples" if has_volumes else "number of samples"


def position_places(coordinates: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return places of samples that depend on their coordinates only.

    With these places, basins are ordered from left to right along a fixed line in the landscape,
    close to the first direction. A basin that persists over the steps of a training therefore keeps
    its place, and the picture of a step does not depend on other steps.

    Args:
        coordinates: (N, n), coordinates α of the samples.

    Returns:
        (N,) float64, the sum of the coordinates with the weights 1, φ, φ², … . φ = 0.618 is the
        golden ratio, so that basins at symmetric positions have different places.
    """
    alphas = np.asarray(coordinates, dtype=np.float64)
    return np.asarray(alphas @ _GOLDEN_RATIO ** np.arange(alphas.shape[1]))


def _sibling_order(
    tree: MergeTree,
    volume: npt.NDArray[np.float64],
    order: SiblingOrder,
    places: npt.ArrayLike | None,
) -> npt.NDArray[np.int64]:
    """Return the arcs, grouped by upper node, each group from left to right, (A,).

    Ties are broken by width, widest first, and then by minimum, lowest first.
    """
    checks.choice(order, SIBLING_ORDERS, name="order")
    arcs = np.arange(tree.number_of_arcs)
    sizes, elder = volume[arcs], elder_minimum(tree.parent)[arcs]
    if places is not None:
        key = _mean_places(tree, places)[arcs]
    else:
        key = -sizes if order == "width" else tree.node_level[elder]
    return np.asarray(np.lexsort((elder, -sizes, key, tree.parent[arcs])))


def _mean_places(tree: MergeTree, places: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the mean place of the samples of each subtree, (M,)."""
    x = np.asarray(places, dtype=np.float64)
    if x.shape != tree.values.shape or not np.isfinite(x).all():
        raise ValueError(
            f"places must be {len(tree.values)} finite numbers, one for each sample, got an array "
            f"of shape {x.shape}; use position_places of their coordinates"
        )
    own = np.bincount(tree.vertex_arc, weights=x, minlength=len(tree.parent))
    return np.asarray(sum_upward(tree.parent, own) / np.maximum(tree.subtree_sizes(), 1))


def _drawn_widths(
    volumes: npt.NDArray[np.float64], *, count: int, degree: int, relative: bool
) -> npt.NDArray[np.float64]:
    """Return the widths at which volumes are drawn, of which all samples have ``count``."""
    return (volumes / count) ** (1 / degree) if relative or degree > 1 else volumes


def _width_factors(
    tree: MergeTree, size: npt.NDArray[np.float64], degree: int
) -> npt.NDArray[np.float64]:
    """Return the factor by which the width of each basin is reduced so that siblings fit, (A,)."""
    if degree == 1:
        return np.ones(tree.number_of_arcs)
    upper = tree.parent[:-1]
    inside = np.bincount(upper, weights=size[:-1], minlength=len(size))
    width_sum = np.bincount(upper, weights=size[:-1] ** (1 / degree), minlength=len(size))
    reduction = inside[upper] ** (1 / degree) / width_sum[upper]
    return np.asarray(np.exp(_add_downward(tree.parent, np.log(reduction), 0.0)))


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
    group_width = np.bincount(upper, weights=width[siblings], minlength=len(tree.parent))
    offset = np.empty(len(siblings))
    offset[siblings] = right - width[siblings] / 2 - start - group_width[upper] / 2
    return np.asarray(_add_downward(tree.parent, offset, total_width / 2))


@numba.njit(cache=True)
def _add_downward(parent, step, start):  # type: ignore[no-untyped-def]
    """Return, per arc, ``start`` plus the steps on the path from the root to the arc, (A,)."""
    total = np.empty(len(parent))
    total[-1] = start
    for node in range(len(parent) - 2, -1, -1):
        total[node] = total[parent[node]] + step[node]
    return total[:-1]


def _basins(
    tree: MergeTree,
    volume: npt.NDArray[np.float64],
    center: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
    draw: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    max_error: float,
) -> Basins:
    arcs = np.arange(tree.number_of_arcs)
    upper = tree.parent[arcs]
    minimum = tree.node_vertex[elder_minimum(tree.parent)[arcs]]
    size = tree.subtree_sizes()[arcs]
    start, height, width = _basin_steps(tree, volume, factor, draw, max_error)
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
        step_start=start,
        step_height=height,
        step_width=width,
    )


def _loss_sums(tree: MergeTree) -> npt.NDArray[np.float64]:
    losses = np.where(np.isfinite(tree.values), tree.values, tree.levels.max())
    own = np.bincount(tree.vertex_arc, weights=losses, minlength=len(tree.parent))
    return np.asarray(sum_upward(tree.parent, own))


def _basin_steps(
    tree: MergeTree,
    volume: npt.NDArray[np.float64],
    factor: npt.NDArray[np.float64],
    draw: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]],
    max_error: float,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the index of the first step of each basin, and the heights and widths of all steps.

    The width is a step function of the height. Each level but the lowest therefore has two steps:
    the width without and the width with the samples at this level. The last step is at the upper
    node. Steps are omitted while the width has grown by no more than ``max_error``.
    """
    own = np.bincount(tree.vertex_arc, minlength=tree.number_of_arcs)
    ends = np.cumsum(own)
    samples = _by_arc(sweep_order(tree.levels), tree.vertex_arc, ends - own)
    upper_level = tree.node_level[tree.parent[: len(own)]]
    widths = np.repeat(factor, own) * draw(_volumes_so_far(tree, volume, samples, own))
    return tuple(_steps(samples, ends, tree.levels, upper_level, widths, max_error))


def _volumes_so_far(
    tree: MergeTree,
    volume: npt.NDArray[np.float64],
    samples: npt.NDArray[np.int64],
    own: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """Return the volume of a basin up to each of its arc's samples, with what lies below, (N,).

    Args:
        tree: the merge tree.
        volume: (M,) volume of the samples at or below each node.
        samples: (N,) samples grouped by arc, each group from bottom to top.
        own: (A,) number of samples of each arc.
    """
    volumes = tree.sample_volumes()
    each = volumes[samples]
    in_arc = np.bincount(tree.vertex_arc, volumes, minlength=len(own))
    below = volume[: len(own)] - in_arc
    so_far = np.cumsum(each)
    before_arc = np.append(0.0, so_far)[np.cumsum(own) - own]
    return np.asarray(np.repeat(below - before_arc, own) + so_far)


@numba.njit(cache=True)
def _by_arc(order, vertex_arc, starts):  # type: ignore[no-untyped-def]
    """Return the samples grouped by arc, in the given order within each group, (N,)."""
    place = starts.copy()
    groups = np.empty_like(order)
    for sample in order:
        arc = vertex_arc[sample]
        groups[place[arc]] = sample
        place[arc] += 1
    return groups


@numba.njit(cache=True)
def _steps(  # type: ignore[no-untyped-def]
    samples, ends, levels, upper_level, widths, max_error
):
    start = np.zeros(len(ends) + 1, dtype=np.int64)
    step_height, step_width = np.empty(1024), np.empty(1024)
    step, first = 0, 0
    for arc in range(len(ends)):
        last_width, lower_width = -1.0, 0.0
        for k in range(first, ends[arc]):
            level, width = levels[samples[k]], widths[k]
            is_last = k + 1 == ends[arc]
            if not is_last and levels[samples[k + 1]] == level:
                continue
            if step + 3 > len(step_height):
                step_height = np.concatenate((step_height, np.empty_like(step_height)))
                step_width = np.concatenate((step_width, np.empty_like(step_width)))
            if last_width < 0 or is_last or width - last_width > max_error:
                if last_width >= 0:
                    step_height[step], step_width[step] = level, lower_width
                    step += 1
                step_height[step], step_width[step] = level, width
                step, last_width = step + 1, width
            lower_width = width
            if is_last and level < upper_level[arc]:
                step_height[step], step_width[step] = upper_level[arc], width
                step += 1
        first = ends[arc]
        start[arc + 1] = step
    return start, step_height[:step].copy(), step_width[:step].copy()


def _critical_points(
    tree: MergeTree, basins: Basins, siblings: npt.NDArray[np.int64]
) -> CriticalPoints:
    pairs = tree.branches()
    persistence = node_persistence(pairs, len(tree.parent))

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
    """Return the corners of the outline from left to right, (P, 2).

    The outline of a basin is its left side downward, then its children, then its right side upward.
    """
    children = np.searchsorted(tree.parent[siblings], np.arange(len(tree.parent) + 1))
    steps, side = _walk(siblings, children, basins.step_start)
    center = np.repeat(basins.center, np.diff(basins.step_start))
    return np.stack(
        [center[steps] + side * basins.step_width[steps] / 2, basins.step_height[steps]], axis=1
    )


@numba.njit(cache=True)
def _walk(siblings, children, step_start):  # type: ignore[no-untyped-def]
    """Return the steps in the order of the outline, and -1 on left sides, 1 on right sides."""
    steps = np.empty(2 * step_start[-1], dtype=np.int64)
    side = np.empty(len(steps))
    stack = np.empty(2 * len(siblings), dtype=np.int64)  # arc: left side, ~arc: right side
    root, count, place = len(children) - 2, 0, 0
    for k in range(children[root + 1] - 1, children[root] - 1, -1):
        stack[count] = siblings[k]
        count += 1
    while count:
        count -= 1
        is_right = stack[count] < 0
        arc = ~stack[count] if is_right else stack[count]
        for k in range(step_start[arc + 1] - step_start[arc]):
            steps[place] = step_start[arc] + k if is_right else step_start[arc + 1] - 1 - k
            side[place] = 1.0 if is_right else -1.0
            place += 1
        if not is_right:
            stack[count] = ~arc
            count += 1
            for k in range(children[arc + 1] - 1, children[arc] - 1, -1):
                stack[count] = siblings[k]
                count += 1
    return steps, side
