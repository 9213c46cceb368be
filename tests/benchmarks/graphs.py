"""Benchmark of graphs and of what is computed on them, against other ways, in one run.

    build/venv/bin/python tests/benchmarks/graphs.py

Twenty million edges: the tree from edges against the tree from offsets, and lines for VTK.
A hundred thousand points in five dimensions: k-NN graphs by KD-tree against nn-descent. 90,000
branches: simplification against a new merge tree. The order of a sweep: radix sort against NumPy's
sort.
"""

import time
from functools import partial

import numpy as np

from tlp_core import grid_graph, knn_graph, merge_tree
from tlp_core.topology.sweep import sweep_order


def seconds(task, repeats=1):
    task()  # compiles, or loads compiled code
    start = time.perf_counter()
    for _ in range(repeats):
        task()
    return (time.perf_counter() - start) / repeats


def report(what, took):
    print(f"{what:<62} {took:8.3f} s", flush=True)


def explicit_edges():
    graph = grid_graph((34,) * 4)
    edges, values = graph.edges(), np.random.default_rng(0).random(graph.number_of_samples)
    report(f"merge tree from {len(edges):,} edges", seconds(lambda: merge_tree(values, edges)))
    report("merge tree from the offsets of the same", seconds(lambda: merge_tree(values, graph)))
    random = np.random.default_rng(1).integers(0, len(values), edges.shape)
    random[: len(values) - 1] = np.stack([np.arange(len(values) - 1), np.arange(1, len(values))], 1)
    report("merge tree from as many edges at random", seconds(lambda: merge_tree(values, random)))


def lines():
    try:
        from tlp_core.vtk_bridge.graphs import graph_lines
    except ImportError:
        print("VTK was not found: lines are omitted")
        return
    graph = grid_graph((34,) * 4)
    report(f"{graph.number_of_edges:,} lines for VTK", seconds(lambda: graph_lines(graph)))
    report("the same edges as an array", seconds(graph.edges))


def neighbors():
    points = np.random.default_rng(0).random((100_000, 5))
    for method in ("exact", "nn-descent"):
        for rule in ("mutual", "union"):
            task = partial(knn_graph, points, k=20, rule=rule, method=method)
            graph = task()
            took = seconds(task)
            report(f"k-NN graph, {rule}, {method}, recall {graph.recall:.4f}", took)


def simplification():
    values = np.random.default_rng(0).random((41,) * 4)
    graph = grid_graph(values.shape)
    tree = merge_tree(values, graph)
    count = len(tree.branches())
    for threshold in (1e-6, 0.1, 0.5):
        took = seconds(partial(tree.simplified, threshold, relative=True))
        report(f"simplification of {count:,} branches, threshold {threshold:g}", took)
    report("the tree of the same 41^4 values", seconds(lambda: merge_tree(values, graph)))


def order():
    values = np.random.default_rng(0).random(41**4)
    report("radix sort of 41^4 values", seconds(lambda: sweep_order(values)))
    report("NumPy's stable sort of the same", seconds(lambda: np.argsort(values, kind="stable")))


for part in (explicit_edges, lines, neighbors, simplification, order):
    part()
