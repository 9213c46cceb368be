"""Benchmark of a profile of 10⁵ basins: layout, VTK data and one frame, against other drawings.

    pvpython tests/benchmarks/profiles.py      (under xvfb-run without a screen)

The landscape is white noise on 41⁴ samples. The benchmark compares all steps and the default
tolerance; widths in samples and in roots; basins as triangle strips and as polygons, as other
programs draw them.
"""

import sys
import time

import numpy as np
from paraview import simple
from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData

from tlp_core import grid_graph, landscape_profile, merge_tree, vtk_bridge


def seconds(work, repeats=3):
    took = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = work()
        took.append(time.perf_counter() - start)
    return min(took), result


def report(text, took):
    print(f"{text:<58}{took:8.3f} s", flush=True)


def polygons(basins):
    """Return the same basins as one polygon each, which VTK must triangulate."""
    strips = basins.GetStrips()
    sizes = [strips.GetCellSize(i) for i in range(strips.GetNumberOfCells())]
    ends = np.cumsum(sizes)
    cells = vtkCellArray()
    for first, last in zip(ends - sizes, ends):
        around = [*range(first, last, 2), *range(last - 1, first, -2)]
        cells.InsertNextCell(len(around), around)
    outline = vtkPolyData()
    outline.SetPoints(basins.GetPoints())
    outline.SetPolys(cells)
    return outline


def frame(data):
    source = simple.TrivialProducer()
    source.GetClientSideObject().SetOutput(data)
    view = simple.CreateView("RenderView")
    view.ViewSize = [1600, 900]
    simple.Show(source, view)
    view.InteractionMode = "2D"
    simple.ResetCamera(view)
    simple.Render(view)

    def again():
        view.CameraParallelScale *= 0.99
        simple.Render(view)

    took, _ = seconds(again)
    simple.Delete(view)
    return took


def main():
    noise = np.random.default_rng(0).random((41,) * 4)
    tree = merge_tree(noise, grid_graph(noise.shape))
    landscape_profile(merge_tree([0.0, 1.0], [[0, 1]]))  # compiles
    print(f"{len(tree.branches()):,} minima of {noise.size:,} samples")
    for text, options in (
        ("layout, all steps", {"tolerance": 0.0}),
        ("layout, tolerance 1e-4", {"tolerance": 1e-4}),
        ("layout, tolerance 1e-4, roots", {"tolerance": 1e-4, "degree": 4}),
    ):
        took, profile = seconds(lambda options=options: landscape_profile(tree, **options))
        report(f"{text}: {len(profile.basins):,} basins, {len(profile.outline):,} points", took)
    profile = landscape_profile(tree, tolerance=1e-4)
    drawing = vtk_bridge.drawing(profile)
    took, basins = seconds(lambda: vtk_bridge.profile_to_basins(profile, drawing))
    report("basins to VTK", took)
    report("frame, strips", frame(basins))
    report("frame, polygons", frame(polygons(basins)))


if __name__ == "__main__":
    main()
    sys.stdout.flush()
