"""Slow, simple implementations and results of other libraries, as oracles of the tests."""

from __future__ import annotations

import gudhi
import numpy as np
import torch

from tlp_core.problem import convert_problem
from tlp_core.topology.merge_tree import MergeTree
from tlp_core.topology.sweep import sweep_order


def gudhi_pairs(values: np.ndarray, edges: np.ndarray) -> list[tuple[float, float]]:
    """0-dimensional persistence pairs of positive persistence, the essential one to the top."""
    complex_ = gudhi.SimplexTree()
    for sample, value in enumerate(values):
        complex_.insert([sample], filtration=value)
    for i, j in edges:
        if i != j:
            complex_.insert([i, j], filtration=max(values[i], values[j]))
    complex_.compute_persistence(homology_coeff_field=2, min_persistence=0.0)
    pairs = complex_.persistence_intervals_in_dimension(0)
    top = float(np.max(values))
    return sorted((float(b), min(float(d), top)) for b, d in pairs if min(d, top) > b)


def branch_pairs(tree: MergeTree) -> list[tuple[float, float]]:
    """Pairs of positive persistence in a merge tree."""
    pairs = tree.branches()
    return sorted((b, d) for b, d in zip(pairs.birth, pairs.death) if d > b)


def components_below(order: np.ndarray, edges: np.ndarray, count: int) -> list[frozenset[int]]:
    """Components of the first ``count`` samples in the order, by repeated relabelling."""
    inside = set(order[:count].tolist())
    label = {sample: sample for sample in inside}
    changed = True
    while changed:
        changed = False
        for i, j in edges.tolist():
            if i in inside and j in inside and label[i] != label[j]:
                label[i] = label[j] = min(label[i], label[j])
                changed = True
    groups: dict[int, set[int]] = {}
    for sample, name in label.items():
        groups.setdefault(name, set()).add(sample)
    return [frozenset(group) for group in groups.values()]


def brute_force_arcs(values: np.ndarray, edges: np.ndarray) -> set[tuple[int, int, frozenset[int]]]:
    """Arcs as (lower sample, upper sample, samples), from components at every level."""
    order = sweep_order(np.asarray(values, dtype=float))
    arcs: set[tuple[int, int, frozenset[int]]] = set()
    open_arcs: dict[frozenset[int], tuple[int, set[int]]] = {}
    for count in range(1, len(order) + 1):
        sample = int(order[count - 1])
        component = next(c for c in components_below(order, edges, count) if sample in c)
        met = [below for below in open_arcs if below < component]
        if len(met) == 1 and count < len(order):
            lower, samples = open_arcs.pop(met[0])
            open_arcs[component] = (lower, samples | {sample})
            continue
        ended = [open_arcs.pop(below) for below in met]
        if count == len(order):
            rank = {int(s): k for k, s in enumerate(order)}
            last = max(ended, key=lambda arc: rank[arc[0]])
            last[1].add(sample)
        arcs |= {(lower, sample, frozenset(samples)) for lower, samples in ended}
        open_arcs[component] = (sample, {sample})
    return arcs


def arcs_of(tree: MergeTree) -> set[tuple[int, int, frozenset[int]]]:
    """The same description of a tree."""
    return {
        (
            int(tree.node_vertex[arc]),
            int(tree.node_vertex[tree.parent[arc]]),
            frozenset(np.flatnonzero(tree.vertex_arc == arc).tolist()),
        )
        for arc in range(tree.number_of_arcs)
    }


def shortest_joining_length(points: np.ndarray, edges: np.ndarray) -> float:
    """Total length of the shortest edges that join the components, by Kruskal over all pairs."""
    label = list(range(len(points)))

    def name(i: int) -> int:
        while label[i] != i:
            i = label[i]
        return i

    for i, j in edges.tolist():
        label[name(i)] = name(j)
    pairs = [
        (float(np.linalg.norm(points[i] - points[j])), i, j)
        for i in range(len(points))
        for j in range(i)
    ]
    total = 0.0
    for length, i, j in sorted(pairs):
        if name(i) != name(j):
            label[name(i)] = name(j)
            total += length
    return total


def finite_difference(loss, parameter, place, step=1e-6):
    """The slope of a loss along one entry of a parameter, from its values on both sides."""
    ends = []
    for move in (step, -step):
        with torch.no_grad():
            parameter[place] += move
            ends.append(loss().item())
            parameter[place] -= move
    return (ends[0] - ends[1]) / (2 * step)


def assert_gradient(problem):
    """Compare a loss's gradient with finite differences, at one entry of each parameter."""
    problem = convert_problem(problem, dtype="float64")
    model, batch = problem.model, next(iter(problem.batches))
    problem.loss(model, batch).backward()
    rng = np.random.default_rng(0)
    for name, parameter in model.named_parameters():
        place = tuple(int(rng.integers(size)) for size in parameter.shape)
        wanted = finite_difference(lambda: problem.loss(model, batch), parameter, place)
        assert np.isclose(parameter.grad[place].item(), wanted, rtol=1e-4, atol=1e-8), name
