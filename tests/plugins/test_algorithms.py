"""The classes behind the proxies, in process and without ParaView's server manager."""

import numpy as np
import pytest

pytest.importorskip("paraview")

from tlp_paraview.landscape_descriptors import TLPLandscapeDescriptors
from tlp_paraview.landscape_profile import TLPLandscapeProfile
from tlp_paraview.landscape_reader import TLPLandscapeReader
from tlp_paraview.landscape_source import TLPLossLandscape
from tlp_paraview.merge_tree import TLPMergeTree
from tlp_paraview.neighbor_graph import TLPNeighborGraph
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonDataModel import vtkPolyData, vtkUnstructuredGrid

from tlp_core import array_names as names
from tlp_core import vtk_bridge


@pytest.fixture
def messages(monkeypatch):
    """What is printed as errors and warnings."""
    told = []
    monkeypatch.setattr("paraview.print_error", lambda text: told.append(("error", text)))
    monkeypatch.setattr("paraview.print_warning", lambda text: told.append(("warning", text)))
    return told


def wells(resolution=9):
    source = TLPLossLandscape()
    source.SetResolution(resolution)
    return source


def chain(source):
    graph, tree, profile = TLPNeighborGraph(), TLPMergeTree(), TLPLandscapeProfile()
    descriptors = TLPLandscapeDescriptors()
    graph.SetInputConnection(source.GetOutputPort(0))
    tree.SetInputConnection(graph.GetOutputPort(0))
    for last in (tree, profile, descriptors):
        last.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    for last in (profile, descriptors):
        for port in range(3):
            last.SetInputConnection(port, tree.GetOutputPort(port))
    return graph, tree, profile, descriptors


def run(*algorithms):
    for algorithm in algorithms:
        algorithm.Update()


def test_two_wells_from_source_to_profile(messages):
    source = wells(21)
    _graph, _tree, profile, descriptors = chain(source)
    run(profile, descriptors)
    assert messages == []
    basins = profile.GetOutputDataObject(0)
    assert basins.GetNumberOfCells() == 3
    outermost = vtk_to_numpy(basins.GetCellData().GetArray(names.PARENT_ID)) == -1
    sizes = vtk_to_numpy(basins.GetCellData().GetArray(names.SIZE))
    assert sizes[outermost].sum() == 21 * 21
    kinds = vtk_to_numpy(profile.GetOutputDataObject(1).GetPointData().GetArray("CriticalType"))
    assert sorted(kinds) == [0, 0, 1]
    assert profile.GetOutputDataObject(2).GetPointData().GetArray(names.BASIN_ID) is not None
    assert profile.GetOutputDataObject(3).GetNumberOfCells() == 1
    table = descriptors.GetOutputDataObject(0)
    assert table.GetColumnByName("number_of_minima").GetValue(0) == 2
    assert table.GetColumnByName("problem").GetValue(0) == "two wells, 2 parameters"
    assert source.GetOutputDataObject(1).GetDimensions() == (21, 21, 1)


def test_a_failure_empties_everything_downstream_and_is_told_once(messages):
    source = wells()
    algorithms = chain(source)
    run(*algorithms)
    assert algorithms[2].GetOutputDataObject(0).GetNumberOfCells() > 0
    source.SetResolution(8)
    run(*algorithms)
    run(source)
    assert [kind for kind, _ in messages] == ["error"]
    assert "resolution must be odd" in messages[0][1]
    for algorithm in (source, *algorithms):
        for port in range(algorithm.GetNumberOfOutputPorts()):
            data = algorithm.GetOutputDataObject(port)
            rows = data.GetNumberOfRows() if data.IsA("vtkTable") else data.GetNumberOfPoints()
            assert rows == 0
    source.SetResolution(9)
    run(*algorithms)
    assert algorithms[2].GetOutputDataObject(0).GetNumberOfCells() > 0
    assert source.GetOutputDataObject(1).GetDimensions() == (9, 9, 1)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"SetResolution": 1}, "resolution must be odd and >= 3, got 1"),
        ({"SetNumberOfDirections": 3}, "n must be at most the number of parameters, 2, got 3"),
        ({"SetDistance": 0.0}, "distance must be > 0"),
        ({"SetProblem": "file"}, "Problem File must name a Python file"),
        ({"SetProblem": "file", "SetProblemFile": "no.py"}, "found no file 'no.py'"),
        ({"SetProblem": None}, "a problem must be one of"),
        ({"SetArguments": "beta"}, "arguments must be like"),
        ({"SetCheckpoint": "no.pt"}, "a checkpoint must be a file, found none at no.pt"),
        ({"SetProblem": "pinn-convection", "SetArguments": "speed=3"}, "must fit make_problem"),
    ],
)
def test_wrong_settings_of_the_source_are_one_sentence(messages, setting, message):
    source = wells()
    for command, value in setting.items():
        getattr(source, command)(value)
    run(source)
    ((kind, text),) = messages
    assert kind == "error"
    assert text.startswith("TLP Loss Landscape: ")
    assert message in text
    assert "\n" not in text


def test_a_users_file_and_checkpoint(messages, tmp_path):
    import torch

    (tmp_path / "net.py").write_text(
        "import torch\nfrom tlp_core import Problem\n"
        "def mine(width=2):\n"
        "    model = torch.nn.Linear(width, 1)\n"
        "    x = torch.eye(width)\n"
        "    return Problem(model, lambda m, b: m(b).square().mean(), [x], name='mine')\n"
    )
    torch.save({"weight": torch.ones(1, 4), "bias": torch.zeros(1)}, tmp_path / "w.pt")
    source = wells(5)
    source.SetProblem("file")
    source.SetProblemFile(str(tmp_path / "net.py"))
    source.SetProblemFunction("mine")
    source.SetArguments("width=4")
    source.SetCheckpoint(str(tmp_path / "w.pt"))
    source.SetDistance(0.5)
    run(source)
    assert messages == []
    loss = vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS))
    assert loss[12] == 1.0
    source.SetCheckpoint(str(tmp_path / "net.py"))
    run(source)
    assert "must be readable as plain tensors" in messages[-1][1]


def test_progress_rises_while_sampling(messages):
    source, told = wells(), []
    source.AddObserver("ProgressEvent", lambda caller, _: told.append(caller.GetProgress()))
    run(source)
    sampling = [share for share in told if share > 0.1]
    assert len(sampling) >= 9
    assert told == sorted(told)


def test_an_abort_stops_at_the_next_chunk_and_says_so(messages):
    source, told = wells(), []

    def abort(caller, _):
        told.append(caller.GetProgress())
        if caller.GetProgress() > 0.4:
            caller.SetAbortExecute(1)

    source.AddObserver("ProgressEvent", abort)
    run(source)
    assert any("sampling stopped with 36 of 81 samples" in text for _, text in messages)
    finite = vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.IS_FINITE))
    assert finite.sum() == 36


def test_a_spent_budget_says_so_and_a_larger_one_goes_on(messages):
    source = wells()
    source.SetTimeBudget(1e-9)
    run(source)
    ((kind, text),) = messages
    assert kind == "warning"
    assert "sampling stopped with 9 of 81 samples" in text
    source.SetTimeBudget(0.0)
    run(source)
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 81
    finite = vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.IS_FINITE))
    assert finite.all()


def test_the_reader_reads_what_the_source_stored(messages, tmp_path):
    source = wells()
    source.SetStore(str(tmp_path / "wells.zarr"))
    run(source)
    reader = TLPLandscapeReader()
    for name in ("wells.zarr", "wells.zarr/zarr.json"):
        reader.SetFileName(str(tmp_path / name))
        run(reader)
        np.testing.assert_array_equal(
            vtk_to_numpy(reader.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS)),
            vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS)),
        )
        assert reader.GetOutputDataObject(1).GetDimensions() == (9, 9, 1)
    assert messages == []
    reader.SetFileName(str(tmp_path / "missing.zarr"))
    run(reader)
    assert "a landscape must exist to be opened" in messages[-1][1]
    reader.SetFileName(None)
    run(reader)
    assert "File Name must name a landscape" in messages[-1][1]


def test_points_anywhere_get_a_knn_graph(messages):
    points = np.random.default_rng(0).random((50, 3))
    scattered = vtkUnstructuredGrid()
    scattered.SetPoints(vtk_bridge._points(points))
    graph = TLPNeighborGraph()
    graph.SetInputDataObject(scattered)
    run(graph)
    assert graph.GetOutputDataObject(0).GetNumberOfCells() > 50
    graph.SetGraph(1)
    run(graph)
    assert "a grid graph needs field data 'Shape'" in messages[-1][1]


def test_inputs_are_not_changed(messages):
    source = wells()
    graph, tree, profile, descriptors = chain(source)
    run(graph)
    arrays = graph.GetOutputDataObject(0).GetPointData().GetNumberOfArrays()
    run(profile, descriptors)
    assert graph.GetOutputDataObject(0).GetPointData().GetNumberOfArrays() == arrays
    segmentation = tree.GetOutputDataObject(2).GetPointData()
    assert segmentation.GetArray(names.BASIN_ID) is None
    assert messages == []


def test_a_missing_array_and_other_trees_are_told(messages):
    _graph, tree, profile, _ = chain(wells())
    tree.SetInputArrayToProcess(0, 0, 0, 0, "Cost")
    run(tree)
    assert "TLP Merge Tree: the input must have a point array 'Cost'" in messages[-1][1]
    tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    _, other, _, _ = chain(wells(11))
    profile.SetInputConnection(0, other.GetOutputPort(0))
    run(profile)
    assert "must come from one merge tree" in messages[-1][1]


def test_a_source_without_lines_is_told(messages):
    source, tree = wells(), TLPMergeTree()
    tree.SetInputConnection(source.GetOutputPort(0))
    tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    run(tree)
    assert "put TLP Neighbor Graph before it" in messages[-1][1]
    image_tree = TLPMergeTree()
    image_tree.SetInputConnection(source.GetOutputPort(1))
    image_tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    run(image_tree)
    assert image_tree.GetOutputDataObject(2).IsA("vtkImageData")


def test_an_input_of_a_wrong_type_is_told(messages):
    profile = TLPLandscapeProfile()
    for port in range(3):
        profile.SetInputDataObject(port, vtkPolyData())
    profile.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    assert not profile.GetExecutive().Update() or messages


def test_the_threshold_fills_basins_without_sampling_again(messages):
    source = wells(21)
    _, _, profile, _ = chain(source)
    run(profile)
    time = source.GetOutputDataObject(0).GetMTime()
    profile.SetPersistenceThreshold(0.9)
    run(profile)
    assert profile.GetOutputDataObject(0).GetNumberOfCells() == 1
    assert source.GetOutputDataObject(0).GetMTime() == time
    profile.SetPersistenceThreshold(1.5)
    run(profile)
    assert "a relative threshold must be from 0 to 1" in messages[-1][1]
