"""Basins through the steps of a training: which continue, appear, vanish, merge and split.

A basin here is that of one minimum, below the saddle where it meets its siblings: a leaf arc of the
merge tree. Basins of consecutive steps are related if they share enough samples, so all steps must
have the same samples. The basins above saddles, which contain others, are not tracked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

from tlp_core import checks
from tlp_core.topology.branches import Branches
from tlp_core.topology.merge_tree import MergeTree

EventKind = Literal["birth", "death", "merge", "split"]
EVENT_KINDS: tuple[EventKind, ...] = get_args(EventKind)

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Event:
    """Something that happens to basins between two steps.

    Attributes:
        kind: ``birth``: a basin shares too few samples with any basin of the step before;
            ``death``: with any of the step after; ``merge``: it follows from several; ``split``:
            several follow from it.
        place: index of the later step of a birth or merge, and of the earlier one of a death or
            split.
        basin: the basin, its index in :class:`Tracking`.
        others: basins that merge into it, or into which it splits.
    """

    kind: EventKind
    place: int
    basin: int
    others: tuple[int, ...]


@dataclass(frozen=True)
class Tracking:
    """The tracking graph of the basins of T steps.

    Attributes:
        place: (B,) int64, index of the step of each basin, ascending.
        arc: (B,) int64, the basin in the profile of its step, see :class:`tlp_core.profile.Basins`.
        minimum: (B,) int64, sample id of the minimum.
        birth: (B,) float64, level of the minimum, in units of the loss.
        persistence: (B,) float64, persistence of its branch.
        size: (B,) int64, number of samples.
        track: (B,) int64, number of the track: a basin and the one that continues it share it.
            Of a merge and of a split, the pair with the most shared samples continues.
        edges: (E, 2) int64, related basins, of a step and of the next.
        shared: (E,) int64, number of samples that they share.
        events: births, deaths, merges and splits, by step. The basins of the first step are no
            births, and those of the last no deaths.
    """

    place: Integers
    arc: Integers
    minimum: Integers
    birth: npt.NDArray[np.float64]
    persistence: npt.NDArray[np.float64]
    size: Integers
    track: Integers
    edges: Integers
    shared: Integers
    events: tuple[Event, ...]


def track_basins(trees: Sequence[MergeTree], *, overlap: float = 0.25) -> Tracking:
    """Relate the basins of consecutive steps.

    Args:
        trees: T merge trees of the same samples, simplified or not; noise makes events.
        overlap: smallest number of shared samples of related basins, as a fraction, above 0 to 1,
            of the smaller of the two. Default: 0.25.

    Returns:
        The tracking graph.

    Raises:
        ValueError: if there is no tree, the trees have different numbers of samples, or the overlap
            is out of range.
        TypeError: if the overlap is not a number.
    """
    overlap = checks.real(overlap, name="overlap")
    if not 0 < overlap <= 1:
        raise ValueError(f"overlap must be a fraction above 0 and at most 1, got {overlap:g}")
    counts = {len(tree.values) for tree in trees}
    if len(counts) != 1:
        raise ValueError(
            "basins are tracked by their samples, which must be the same at each step, got "
            f"{len(trees)} trees of {', '.join(map(str, sorted(counts))) or 'no'} samples"
        )
    steps = [_basins_of(tree) for tree in trees]
    starts = np.cumsum([0, *(len(step.pairs) for step in steps)])
    edges, shared = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for (one, other), start, next_start in zip(pairwise(steps), starts, starts[1:]):
        ends, common = _related(one, other, overlap)
        edges.append(ends + np.array([start, next_start]))
        shared.append(common)
    all_edges, all_shared = np.concatenate(edges), np.concatenate(shared)
    place = np.repeat(np.arange(len(steps)), np.diff(starts))
    return Tracking(
        place=place,
        arc=np.concatenate([step.pairs.minimum_node for step in steps]),
        minimum=np.concatenate([step.pairs.minimum for step in steps]),
        birth=np.concatenate([step.pairs.birth for step in steps]),
        persistence=np.concatenate([step.pairs.persistence for step in steps]),
        size=np.concatenate([step.size for step in steps]),
        track=_tracks(len(place), all_edges, all_shared),
        edges=all_edges,
        shared=all_shared,
        events=_events(place, all_edges),
    )


@dataclass(frozen=True)
class _Step:
    pairs: Branches
    size: Integers
    """(B,) number of samples of the basin of each minimum."""
    label: Integers
    """(N,) number of the basin of each sample, -1 above saddles."""


def _basins_of(tree: MergeTree) -> _Step:
    pairs = tree.branches()
    number = np.full(len(tree.parent), -1, dtype=np.int64)
    number[pairs.minimum_node] = np.arange(len(pairs))
    label = number[tree.vertex_arc]
    return _Step(pairs, np.bincount(label[label >= 0], minlength=len(pairs)), label)


def _related(one: _Step, other: _Step, overlap: float) -> tuple[Integers, Integers]:
    """Return the related basins of two steps (E, 2), and the number of samples they share (E,)."""
    both = (one.label >= 0) & (other.label >= 0)
    shape = len(one.pairs), len(other.pairs)
    ends = one.label[both], other.label[both]
    common = coo_array((np.ones(both.sum(), dtype=np.int64), ends), shape=shape).tocsr().tocoo()
    smaller = np.minimum(one.size[common.row], other.size[common.col])
    kept = common.data >= overlap * smaller
    found = np.stack([common.row[kept], common.col[kept]], axis=1).astype(np.int64)
    return found, common.data[kept].astype(np.int64)


def _tracks(count: int, edges: Integers, shared: Integers) -> Integers:
    """Return the track of each basin: each continues at most one, and by at most one."""
    before = np.full(count, -1, dtype=np.int64)
    is_continued = np.zeros(count, dtype=np.bool_)
    for edge in np.lexsort((edges[:, 1], edges[:, 0], -shared)):
        first, last = edges[edge]
        if not is_continued[first] and before[last] < 0:
            is_continued[first], before[last] = True, first
    track = np.empty(count, dtype=np.int64)
    number = 0
    for basin in range(count):
        if before[basin] >= 0:
            track[basin] = track[before[basin]]
        else:
            track[basin], number = number, number + 1
    return track


def _events(place: Integers, edges: Integers) -> tuple[Event, ...]:
    last_place = int(place.max())
    before: dict[int, list[int]] = {basin: [] for basin in range(len(place))}
    after: dict[int, list[int]] = {basin: [] for basin in range(len(place))}
    for first, last in edges.tolist():
        after[first].append(last)
        before[last].append(first)
    found: list[Event] = []
    for basin, step in enumerate(place.tolist()):
        if step > 0 and not before[basin]:
            found.append(Event("birth", step, basin, ()))
        if len(before[basin]) > 1:
            found.append(Event("merge", step, basin, tuple(before[basin])))
        if step < last_place and not after[basin]:
            found.append(Event("death", step, basin, ()))
        if len(after[basin]) > 1:
            found.append(Event("split", step, basin, tuple(after[basin])))
    return tuple(found)
