"""Benchmark of merge trees of grids: the built-in one, GUDHI, topopy and TTK, in one run.

    build/venv/bin/python tests/benchmarks/merge_trees.py [--limit SECONDS] [--largest SAMPLES]

Each line is a separate process, so that its memory can be measured: the peak, minus the memory of
the process after the values were made. Graphs have the rule ``diagonal``. All tools must find the
same number of minima; otherwise the line ends with DIFFERS. GUDHI computes pairs only, and no
partition of the samples. topopy reads the graph in Python, and gets the same edges. TTK's filter
runs in pvpython if its plugin is found (TLP_TTK_PLUGIN), on a graph in memory. The line of a tool
that fails, runs out of memory or reaches the limit says so.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHAPES = ((41,) * 2, (15,) * 3, (41,) * 3, (41,) * 4, (41,) * 5)
KINDS = ("noise", "smooth")
LARGEST = {"tlp": 200_000_000, "gudhi": 3_000_000, "topopy": 100_000, "ttk": 3_000_000}
"""Largest number of samples for each tool; with 24 GiB, topopy was killed at 41^4."""


def losses(shape, kind):
    """White noise, or a bowl with ripples along every axis."""
    if kind == "noise":
        return np.random.default_rng(0).random(shape)
    values = np.zeros(shape)
    for axis, size in enumerate(shape):
        x = np.linspace(-1, 1, size).reshape([-1 if i == axis else 1 for i in range(len(shape))])
        values += (axis + 1) * x**2 + 0.3 * np.sin(9 * x + axis)
    return values


def run_tlp(values):
    from tlp_core import grid_graph, merge_tree

    merge_tree(losses((3, 3), "noise"), grid_graph((3, 3))).branches()  # loads compiled code
    yield
    yield len(merge_tree(values, grid_graph(values.shape)).branches())


def run_gudhi(values):
    import gudhi

    from tlp_core import grid_graph

    edges = grid_graph(values.shape).edges().T
    yield
    tree = gudhi.SimplexTree()
    flat = values.ravel()
    tree.insert_batch(np.arange(flat.size, dtype=np.int32)[None], flat)
    tree.insert_batch(edges.astype(np.int32), flat[edges].max(axis=0))
    tree.compute_persistence(homology_coeff_field=2, min_persistence=0)
    yield len(tree.persistence_intervals_in_dimension(0))


def run_topopy(values):
    import nglpy
    import topopy

    from tlp_core import grid_graph

    edges = [tuple(edge) for edge in grid_graph(values.shape).edges().tolist()]
    points = np.indices(values.shape).reshape(values.ndim, -1).T.astype(float)
    yield
    tree = topopy.MergeTree(graph=nglpy.PrebuiltGraph(edges))
    tree.build(points, values.ravel())
    yield len(tree.leaves)


def run_ttk(values):
    from paraview import servermanager, simple
    from tlp_paraview import pipeline
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

    from tlp_core import grid_graph, vtk_bridge

    data = vtkUnstructuredGrid()
    data.SetPoints(vtk_bridge.make_points(np.zeros((values.size, 3))))
    vtk_bridge.add_array(data.GetPointData(), "Loss", values.ravel())
    data = vtk_bridge.with_graph(data, grid_graph(values.shape), "diagonal")
    pipeline.load_plugin()
    make = pipeline.ttk_filter()
    source = simple.TrivialProducer()
    source.GetClientSideObject().SetOutput(data)
    yield
    tree = make(Input=source, ScalarField=["POINTS", "Loss"], TreeType="Join Tree", DebugLevel=0)
    tree.UpdatePipeline()
    nodes = servermanager.Fetch(tree, idx=0)
    yield int((vtk_to_numpy(nodes.GetPointData().GetArray("CriticalType")) == 0).sum())


TOOLS = {"tlp": run_tlp, "gudhi": run_gudhi, "topopy": run_topopy, "ttk": run_ttk}


def peak_megabytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_one(tool, shape, kind):
    """Run one tool, and print time and memory as a line of JSON."""
    steps = TOOLS[tool](losses(shape, kind))
    next(steps)
    before, start = peak_megabytes(), time.perf_counter()
    minima = next(steps)
    seconds = time.perf_counter() - start
    found = {"seconds": seconds, "megabytes": peak_megabytes() - before, "minima": minima}
    print("RESULT", json.dumps(found), flush=True)


def command(tool, shape, kind):
    program = [sys.executable]
    if tool == "ttk":
        program = [str(ROOT / "build" / "bin" / "pvpython"), "--dr", "--"]
    return [*program, __file__, "--one", tool, "x".join(map(str, shape)), kind]


def evaluate_metrics(tool, shape, kind, limit):
    """Return time and memory of a tool in a separate process, or the reason why it failed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    if tool == "ttk":
        environment.pop("PYTHONPATH")  # the launcher sets it
        if not os.environ.get("TLP_TTK_PLUGIN"):
            return "TLP_TTK_PLUGIN is not set"
    try:
        done = subprocess.run(
            command(tool, shape, kind),
            env=environment,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"more than {limit} s"
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if lines:
        return json.loads(lines[-1].removeprefix("RESULT"))
    reason = done.stderr.strip().splitlines()[-1:] or [""]
    return f"ended with {done.returncode}: {reason[0][:60]}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=float, default=600, help="seconds for one line")
    parser.add_argument("--largest", type=int, default=200_000_000, help="samples")
    options = parser.parse_args()
    if options.one:
        tool, shape, kind = options.one
        run_one(tool, tuple(map(int, shape.split("x"))), kind)
        return
    print(f"{'grid':>8} {'values':>7} {'tool':>7} {'seconds':>9} {'us/sample':>9} {'MB':>7} minima")
    for shape in SHAPES:
        for kind in KINDS:
            compare(shape, kind, options)


def compare(shape, kind, options):
    count = int(np.prod(shape))
    minima = None
    for tool in TOOLS:
        if count > min(LARGEST[tool], options.largest):
            continue
        found = evaluate_metrics(tool, shape, kind, options.limit)
        case = f"{shape[0]:>6}^{len(shape)} {kind:>7} {tool:>7}"
        if isinstance(found, str):
            print(case, found, flush=True)
            continue
        minima = minima or found["minima"]
        differs = "" if minima == found["minima"] else "  DIFFERS"
        print(
            f"{case} {found['seconds']:9.3f} {found['seconds'] / count * 1e6:9.2f} "
            f"{found['megabytes']:7.0f} {found['minima']}{differs}",
            flush=True,
        )


if __name__ == "__main__":
    main()
