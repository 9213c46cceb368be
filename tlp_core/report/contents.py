"""What a page shows, as JSON values: landscapes of steps, series of numbers, facts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt

from tlp_core.analysis.change_points import MINIMUM_POINTS, find_transitions
from tlp_core.analysis.descriptors import describe
from tlp_core.analysis.tree_settings import TreeSettings
from tlp_core.array_names import CriticalType
from tlp_core.landscape.landscape import Landscape
from tlp_core.landscape.series import find_landscapes
from tlp_core.landscape.table import read_series
from tlp_core.profile import landscape_profile
from tlp_core.profile.plot import basin_polygons
from tlp_core.topology.merge_tree import MergeTree, shown_levels

_PIXEL = 1 / 600
"""Fraction of the width and of the height of a profile below which a basin is not drawn."""

_MOST_BASINS = 300
"""Largest number of basins that are drawn of one step."""

_SIGNIFICANCE = 0.05
"""Largest p-value of a transition that is shown."""

_DIGITS = 6
"""Digits of a number in the page, which keep it small."""

_FACTS = ("problem", "method", "normalization", "parameters", "seed", "dtype", "device", "autocast")
"""Facts of the first landscape that are shown, where they exist."""

Values = dict[str, Any]


def page_contents(places: Sequence[str], settings: TreeSettings, table: str = "") -> Values:
    """Return all that a page shows.

    Args:
        places: landscapes of the steps of one training: stores, folders of them, or patterns.
        settings: how trees are made.
        table: a .csv file with a column ``step`` and more columns of numbers, such as that of a
            recorder; they are shown beside the descriptors.

    Raises:
        FileNotFoundError: if there are no landscapes, or no such table.
        ValueError: for a landscape without a finite loss, or a table without steps.
    """
    members = find_landscapes(places)
    steps, rows, first = [], [], None
    for member in members:
        landscape = Landscape.open(member.path).of_loss(settings.loss)
        first = landscape if first is None else first
        tree = settings.tree(landscape)
        steps.append(_step(member.step, landscape, tree))
        rows.append({"loss": landscape.center, **describe(settings.measured(tree)).as_dict()})
    assert first is not None
    at = [member.step for member in members]
    series = {name: [row[name] for row in rows] for name in rows[0]}
    more = read_series(table) if table else {}
    every = {
        **{name: _series(at, values) for name, values in series.items()},
        **{
            name: _series(one.steps, one.values) for name, one in more.items() if name not in series
        },
    }
    every = {n: one for n, one in every.items() if any(v is not None for v in one["values"])}
    losses = [name for name in every if "loss" in name.lower() and not name.endswith("um_loss")]
    return {
        "title": str(first.provenance.get("problem", "landscapes")),
        "axes": [_axis(first, i) for i in range(min(2, first.number_of_directions))],
        "steps": steps,
        "series": every,
        "losses": losses,
        "facts": _facts(first, len(members), settings),
    }


def _step(step: float, landscape: Landscape, tree: MergeTree) -> Values:
    profile = landscape_profile(tree)
    basins, points = profile.basins, profile.critical_points
    low, high = float(profile.outline[:, 1].min()), float(profile.outline[:, 1].max())
    is_seen = (basins.top_width >= _PIXEL * profile.total_width) & (
        basins.death - basins.birth >= _PIXEL * (high - low)
    )
    by_size = np.argsort(-basins.size, kind="stable")
    shown = [int(b) for b in by_size if is_seen[b] or basins.parent[b] < 0][:_MOST_BASINS]
    polygons = basin_polygons(basins, _PIXEL * profile.total_width / 2)
    kinds = np.where(points.type == CriticalType.MINIMUM, "minimum", "saddle")
    chosen = np.argsort(-points.persistence, kind="stable")[: 2 * _MOST_BASINS]
    return {
        "step": step,
        "samples": int(profile.total_width),
        "minima": int((kinds == "minimum").sum()),
        "hidden": len(basins) - len(shown),
        "basins": [
            {
                "id": b,
                "birth": _short(basins.birth[b]),
                "death": _short(basins.death[b]),
                "persistence": _short(basins.persistence[b]),
                "size": int(basins.size[b]),
                "average": _short(basins.average_loss[b]),
                "x": _list(polygons[b][:, 0]),
                "y": _list(polygons[b][:, 1]),
            }
            for b in shown
        ],
        "parents": basins.parent.tolist(),
        "points": {
            "x": _list(points.x[chosen]),
            "y": _list(points.height[chosen]),
            "kind": kinds[chosen].tolist(),
        },
        **_plane(landscape, tree),
    }


def _plane(landscape: Landscape, tree: MergeTree) -> Values:
    """Return the losses of one or two directions with the basin of each sample.

    Of more directions, they are those of the slice through the model along the first two.
    """
    losses = shown_levels(landscape.loss)
    arcs = tree.vertex_arc.reshape(landscape.loss.shape)
    if landscape.points is not None:
        return {"plane": None, "arcs": None}
    middle = tuple(size // 2 for size in landscape.shape[2:])
    across: tuple[Any, ...] = (slice(None), slice(None), *middle)[: len(landscape.shape)]
    plane, basins = losses[across], arcs[across]
    if plane.ndim == 1:
        return {"plane": _list(plane), "arcs": basins.tolist()}
    return {"plane": [_list(row) for row in plane.T], "arcs": basins.T.tolist()}


def _axis(landscape: Landscape, i: int) -> list[float | None]:
    return _list(landscape.axis(i)) if landscape.points is None else []


def _series(steps: Sequence[float], values: Sequence[float]) -> Values:
    """Return a series with its transitions, where it has enough values for a test."""
    numbers = np.asarray(values, dtype=np.float64)
    transitions = []
    if np.isfinite(numbers).sum() >= MINIMUM_POINTS:
        found = find_transitions(numbers, steps, significance=_SIGNIFICANCE)
        transitions = [{"step": t.step, "p": _short(t.p_value)} for t in found]
    return {"steps": list(steps), "values": _list(numbers), "transitions": transitions}


def _facts(landscape: Landscape, count: int, settings: TreeSettings) -> list[list[str]]:
    provenance: Mapping[str, Any] = landscape.provenance
    size = " x ".join(map(str, landscape.shape))
    named = [[name, str(provenance[name])] for name in _FACTS if provenance.get(name) is not None]
    every = asdict(settings).items()
    used = {name: value for name, value in every if value not in ("", None) and value is not False}
    own = [f"{name} = {value}" for name, value in used.items()]
    versions = provenance.get("versions", {})
    return [
        *named,
        ["samples of a step", size],
        ["half-widths", ", ".join(f"{d:.6g}" for d in landscape.distance)],
        ["steps", str(count)],
        ["trees", ", ".join(own)],
        ["versions", ", ".join(f"{name} {value}" for name, value in versions.items())],
    ]


def _short(number: float) -> float | None:
    """Return a number with few digits; None where it is not finite, as JSON has no such number."""
    return float(f"{number:.{_DIGITS}g}") if math.isfinite(number) else None


def _list(numbers: npt.NDArray[np.float64]) -> list[float | None]:
    return [_short(float(number)) for number in numbers]
