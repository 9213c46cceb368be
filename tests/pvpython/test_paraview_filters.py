"""Tests of ParaView's own filters behind every output of the suite, and before its filters."""

import re

import pytest

from tests.paraview_programs import run_snippets

pytestmark = pytest.mark.paraview

HEAD = """
import numpy as np
from tlp_core import Landscape
from tlp_paraview import ensemble_views, pipeline
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkDataObject

import tempfile
folder = tempfile.mkdtemp(dir=".")
x, losses_at = np.linspace(-1, 1, 9), {}
for step in (0, 10):
    losses = (np.square(x)[:, None] - 0.3 - step / 100) ** 2 + np.square(x) + step
    Landscape(losses, np.ones(2), np.ones((9, 9), dtype=bool)).save(f"{folder}/step_{step}.zarr")
    losses_at[step] = losses.ravel()
reader = TLPLandscapeReader(FileName=[f"{folder}/step_0.zarr", f"{folder}/step_10.zarr"])


def leaves(port):
    # not by Fetch, which leaves tables out of collections in ParaView 6.1
    data = port.SMProxy.GetClientSideObject().GetOutputDataObject(port.Port)
    if not data.IsA("vtkCompositeDataSet"):
        return [data]
    iterator, found = data.NewIterator(), []
    iterator.InitTraversal()
    while not iterator.IsDoneWithTraversal():
        found.append(iterator.GetCurrentDataObject())
        iterator.GoToNextItem()
    return found


def values(port, name, kind="Point"):
    kinds = {"Point": vtkDataObject.POINT, "Cell": vtkDataObject.CELL, "Row": vtkDataObject.ROW}
    fields = [leaf.GetAttributes(kinds[kind]) for leaf in leaves(port)]
    arrays = [field.GetArray(name) for field in fields if field is not None]
    arrays = [vtk_to_numpy(array) for array in arrays if array is not None]
    return np.sort(np.concatenate(arrays)) if arrays else np.zeros(0)


def same(found, wanted):
    return len(found) == len(wanted) and np.allclose(found, wanted, rtol=1e-6)
"""

BEHIND = """
built = pipeline.build(reader)
implicit = TLPNeighborGraph(Input=reader, ImplicitGraph="on")
ensemble = ensemble_views.tree_ensemble([built])
pictures = TLPDistanceMap(Distances=OutputPort(ensemble, 1), Ensemble=OutputPort(ensemble, 0))
tracking = TLPBasinTracking(Input=OutputPort(ensemble, 0))
four = np.random.default_rng(0).random((2, 5, 5, 5, 5))
for step in (0, 10):
    Landscape(four[step // 10], np.ones(4), np.ones((5,) * 4, dtype=bool)).save(f"four_{step}.zarr")
several = pipeline.build(TLPLandscapeReader(FileName=["four_0.zarr", "four_10.zarr"]))
part = TLPLandscapeSlice(Input=OutputPort(several.simplification, 2))
rows = [f"{step},{group},{step + 4.0},l.zarr,k" for step in (0, 10) for group in ("a", "b")]
with open("blocks.csv", "w") as file:
    file.write("\\n".join(["step,group,loss,landscape,key", *rows, ""]))
blocks = TLPBlockTable(FileName="blocks.csv")

PORTS = {
    "samples": (reader, 0, "Loss", "Point"),
    "image": (reader, 1, "Loss", "Point"),
    "graph": (built.graph, 0, "Loss", "Point"),
    "implicit graph": (implicit, 0, "Loss", "Point"),
    "nodes": (built.tree, 0, "Scalar", "Point"),
    "arcs": (built.tree, 1, "RegionSize", "Cell"),
    "segmentation": (built.tree, 2, "Loss", "Point"),
    "simplified nodes": (built.simplification, 0, "Scalar", "Point"),
    "simplified arcs": (built.simplification, 1, "RegionSize", "Cell"),
    "simplified segmentation": (built.simplification, 2, "Loss", "Point"),
    "basins": (built.profile, 0, "AverageLoss", "Cell"),
    "critical points": (built.profile, 1, "Loss", "Point"),
    "samples of the profile": (built.profile, 2, "Loss", "Point"),
    "outline": (built.profile, 3, "Loss", "Point"),
    "tree": (built.profile, 4, "Persistence", "Cell"),
    "diagram": (built.profile, 5, "Persistence", "Row"),
    "network": (built.profile, 7, "Loss", "Point"),
    "network sample": (built.profile, 8, "Loss", "Point"),
    "descriptors": (built.descriptors, 0, "total_persistence", "Row"),
    "slice": (part, 0, "Loss", "Point"),
    "network of the slice": (part, 2, "Loss", "Point"),
    "ensemble": (ensemble, 0, "Scalar", "Point"),
    "distances": (ensemble, 1, "Tree1", "Row"),
    "distance map": (ensemble, 2, "TreeDistance", "Cell"),
    "embedding": (ensemble, 4, "Step", "Point"),
    "other map": (pictures, 0, "TreeDistance", "Cell"),
    "other embedding": (pictures, 2, "Step", "Point"),
    "tracks": (tracking, 0, "Step", "Point"),
    "relations": (tracking, 1, "SharedSamples", "Cell"),
    "heat map": (blocks, 0, "loss", "Cell"),
}
FIELDS = {"Point": ("POINTS", 0), "Cell": ("CELLS", 1), "Row": ("ROWS", 6)}


def behind(name, source, index, array, kind):
    port, (field, element) = OutputPort(source, index), FIELDS[kind]
    mode = f"{kind} Data"
    selected = ExtractSelection(Input=port)
    filters = {
        "Selection": selected,
        "Histogram": Histogram(Input=port, SelectInputArray=[field, array], BinCount=5),
        "Calculator": Calculator(
            Input=port, AttributeType=mode, Function=f"2*{array}", ResultArrayName="Twice"
        ),
    }
    if pipeline.steps_of(source):
        filters["Interpolator"] = TemporalInterpolator(Input=port)
    else:  # an ensemble is of all steps
        arrays = {"Point": "PointDataArrays", "Cell": "CellDataArrays", "Row": "RowDataArrays"}
        filters["Arrays"] = PassArrays(Input=port, **{arrays[kind]: [array]})
    if kind == "Row":
        filters |= {
            "Threshold": ThresholdTable(Input=port, Column=[field, array]),
            "Points": TableToPoints(Input=port, XColumn=array, YColumn=array, ZColumn=array),
            "Mask": ExtractSelection(
                Input=port,
                Selection=SelectionQuerySource(ElementType=element, QueryString="id == 0"),
            ),
            "Transpose": TransposeTable(Input=port),
        }
    else:
        convert = CellDatatoPointData if kind == "Cell" else PointDatatoCellData
        filters |= {
            "Threshold": Threshold(
                Input=port, Scalars=[field, array], ThresholdMethod="Between", AllScalars=0
            ),
            "Conversion": convert(Input=port),
            "Mask Points": MaskPoints(Input=port, OnRatio=1, MaximumNumberofPoints=10000),
        }
        if name != "ensemble":  # its blocks have different arrays, of which this filter warns
            filters["Statistics"] = DescriptiveStatistics(
                Input=port, AttributeMode=mode, VariablesofInterest=[array]
            )
    for step in losses_at:
        source.UpdatePipeline(step)
        whole = values(port, array, kind)
        middle = float(np.median(whole))
        few = whole[whole <= middle]
        selected.Selection = SelectionQuerySource(
            ElementType=element, QueryString=f"{array} <= {middle!r}"
        )
        limits = ("MinValue", "MaxValue") if kind == "Row" else ("LowerThreshold", "UpperThreshold")
        setattr(filters["Threshold"], limits[0], whole[0] - 1)
        setattr(filters["Threshold"], limits[1], middle)
        outputs = {}
        for label, proxy in filters.items():
            proxy.UpdatePipeline(step)
            outputs[label] = OutputPort(proxy, 0)
        found = {label: values(out, array, kind) for label, out in outputs.items()}
        counts = np.histogram(whole, 5)[0]
        checks = {
            "Selection": same(found["Selection"], few),
            "Histogram": same(values(outputs["Histogram"], "bin_values", "Row"), np.sort(counts)),
            "Calculator": same(values(outputs["Calculator"], "Twice", kind), 2 * whole),
        }
        for label in ("Interpolator", "Arrays"):
            if label in filters:
                checks[label] = same(found[label], whole)
        if kind == "Row":
            rows = [leaf.GetNumberOfRows() for leaf in leaves(outputs["Transpose"])]
            checks |= {
                "Threshold": same(found["Threshold"], few),
                "Points": outputs["Points"].GetDataInformation().GetNumberOfPoints() == len(whole),
                "Mask": len(found["Mask"]) == 1,
                "Transpose": rows[0] > 0,
            }
        else:
            own = [leaf for leaf in leaves(port) if leaf.GetAttributes(element).GetArray(array)]
            cells = sum(leaf.GetNumberOfCells() for leaf in own)
            points = sum(leaf.GetNumberOfPoints() for leaf in own)
            masked = sum(leaf.GetNumberOfPoints() for leaf in leaves(outputs["Mask Points"]))
            converted = values(outputs["Conversion"], array, "Cell" if kind == "Point" else "Point")
            kept = found["Threshold"]  # a cell is, if one of its points is
            checks |= {
                "Threshold": set(few) <= set(kept) <= set(whole)
                and (cells != len(whole) or same(kept, few)),
                "Conversion": len(converted) == (cells if kind == "Point" else points)
                and whole[0] <= converted[0]
                and converted[-1] <= whole[-1]
                and (cells != points or same(converted, whole)),
                "Mask Points": masked == sum(leaf.GetNumberOfPoints() for leaf in leaves(port)),
            }
            if "Statistics" in outputs:
                mean = values(outputs["Statistics"], "Mean", "Row")[0]
                checks["Statistics"] = np.isclose(mean, whole.mean())
        for label, is_right in checks.items():
            print("behind", name.replace(" ", "_"), step, label, "right" if is_right else "WRONG")


for name, port in PORTS.items():
    behind(name, *port)
"""

BEFORE = """
def basins(samples, array, step):
    graph = TLPNeighborGraph(Input=samples)
    tree = TLPMergeTree(Input=graph, ScalarField=["POINTS", array])
    ports = {name: OutputPort(tree, i) for i, name in enumerate(("Nodes", "Arcs", "Segmentation"))}
    profile = TLPLandscapeProfile(**ports, ScalarField=["POINTS", array])
    profile.UpdatePipeline(step)
    return [values(OutputPort(profile, 0), name, "Cell") for name in ("Size", "Birth", "Death")]


raised = Elevation(Input=reader, LowPoint=[-1, 0, 0], HighPoint=[1, 0, 0])  # 6.1: not flat
before = {
    "Calculator": Calculator(Input=reader, Function="Loss", ResultArrayName="Loss"),
    "Threshold": Threshold(Input=reader, Scalars=["POINTS", "Loss"], LowerThreshold=-1,
                           UpperThreshold=99, ThresholdMethod="Between"),
    "Transform": Transform(Input=reader, Transform="Transform"),
    "Pass Arrays": PassArrays(Input=reader, PointDataArrays=["Loss", "Coordinates"],
                              FieldDataArrays=["Shape", "Step"]),
    "Append": AppendAttributes(Input=[reader, raised]),
    "Interpolator": TemporalInterpolator(Input=reader),
    "Shift": TemporalShiftScale(Input=reader),
    "Elevation": raised,
}
before["Transform"].Transform.Translate = [1.0, 2.0, 3.0]
for name, proxy in before.items():
    for step in losses_at:
        own, direct = basins(proxy, "Loss", step), basins(reader, "Loss", step)
        is_right = all(np.array_equal(a, b) for a, b in zip(own, direct))
        print("before", name, step, len(own[0]), "right" if is_right else "WRONG")
doubled = Calculator(Input=reader, Function="2*Loss", ResultArrayName="Twice")
is_right = np.array_equal(2 * basins(reader, "Loss", 10)[1], basins(doubled, "Twice", 10)[1])
print("before twice", "right" if is_right else "WRONG")
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return the results of the snippets; one pvpython runs them all."""
    snippets = {"behind": HEAD + BEHIND, "before": HEAD + BEFORE}
    return run_snippets(snippets, tmp_path_factory.mktemp("filters"))


def test_paraviews_filters_work_behind_every_output(ran):
    done = ran["behind"]
    assert done.code == 0, done.text
    assert done.errors == []
    found = re.findall(r"behind (\S+) (\d+) (.*) (right|WRONG)", done.text)
    assert [line for line in found if line[-1] != "right"] == []
    assert len(found) == 2 * (30 * 8 - 1)


def test_the_suites_filters_work_behind_paraviews(ran):
    done = ran["before"]
    assert done.code == 0, done.text
    assert done.errors == []
    found = [line for line in done.text.splitlines() if line.startswith("before")]
    assert [line for line in found if not line.endswith("right")] == []
    assert len(found) == 2 * 8 + 1
    assert "before Interpolator 10 3 right" in found, "two wells make three basins"
