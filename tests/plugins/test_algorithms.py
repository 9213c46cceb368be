"""Tests of the classes of the proxies, without ParaView's server manager."""

import itertools
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

pytest.importorskip("paraview")

from tlp_paraview.basin_tracking import TLPBasinTracking
from tlp_paraview.distance_map import TLPDistanceMap
from tlp_paraview.landscape_descriptors import TLPLandscapeDescriptors
from tlp_paraview.landscape_profile import TLPLandscapeProfile
from tlp_paraview.landscape_reader import TLPLandscapeReader
from tlp_paraview.landscape_slice import TLPLandscapeSlice
from tlp_paraview.landscape_source import PRESETS, SAMPLINGS, TLPLossLandscape
from tlp_paraview.merge_tree import TLPMergeTree
from tlp_paraview.neighbor_graph import TLPNeighborGraph
from tlp_paraview.tree_barycenter import TLPTreeBarycenter
from tlp_paraview.tree_ensemble import TLPTreeEnsemble
from tlp_paraview.tree_simplification import TLPTreeSimplification
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkOutputWindow
from vtkmodules.vtkCommonDataModel import (
    vtkDataObject,
    vtkMultiBlockDataSet,
    vtkPolyData,
    vtkTable,
    vtkUnstructuredGrid,
)
from vtkmodules.vtkCommonExecutionModel import vtkTrivialProducer
from vtkmodules.vtkFiltersCore import vtkCellCenters, vtkMaskPoints, vtkPassThrough

from tests.analysis.test_noise import noisy_batches
from tests.analysis.test_noise import wells as noisy_wells
from tests.conftest import DATA
from tests.tiny_models import llama_config
from tlp_core import (
    Landscape,
    describe,
    grid_graph,
    landscape_distances,
    landscape_profile,
    load_problem,
    merge_tree,
    vtk_bridge,
)
from tlp_core import array_names as names
from tlp_core.analysis.noise import basin_noise
from tlp_core.choices import DIRECTION_METHODS, ENGINES, REGIONS, SPECTRUM_ORDERS
from tlp_core.pipeline.background import Report
from tlp_core.problem import mean_loss
from tlp_core.problems.weights import load_checkpoint
from tlp_core.sampling.settings import GridSettings
from tlp_core.topology.landscape_tree import landscape_graph, landscape_tree
from tlp_core.vtk_bridge.ensembles import Member, members_to_blocks


@pytest.fixture
def messages(monkeypatch):
    """Return the list of printed errors and warnings."""
    printed = []
    monkeypatch.setattr("paraview.print_error", lambda text: printed.append(("error", text)))
    monkeypatch.setattr("paraview.print_warning", lambda text: printed.append(("warning", text)))
    return printed


def wells(resolution=9):
    source = TLPLossLandscape()
    source.SetResolution(resolution)
    return source


def chain(source):
    """Return graph, tree, profile, descriptors and simplification behind a source."""
    graph, tree, simplification = TLPNeighborGraph(), TLPMergeTree(), TLPTreeSimplification()
    profile, descriptors = TLPLandscapeProfile(), TLPLandscapeDescriptors()
    graph.SetInputConnection(source.GetOutputPort(0))
    tree.SetInputConnection(graph.GetOutputPort(0))
    for last in (tree, simplification, profile, descriptors):
        last.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    for first, last in (
        (tree, simplification),
        (simplification, profile),
        (simplification, descriptors),
    ):
        for port in range(3):
            last.SetInputConnection(port, first.GetOutputPort(port))
    return graph, tree, profile, descriptors, simplification


def run(*algorithms):
    for algorithm in algorithms:
        algorithm.Update()


def test_two_wells_from_source_to_profile(messages):
    source = wells(21)
    _, _, profile, descriptors, _ = chain(source)
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


def test_an_error_empties_all_outputs_downstream_and_is_reported_once(messages):
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
        ({"SetProblem": "file", "SetProblemFile": "no.py"}, "or a Python file; found no file '"),
        ({"SetProblem": None}, "Problem must be one of"),
        ({"SetArguments": "beta"}, "arguments must be like"),
        ({"SetCheckpoint": "no.pt"}, "a checkpoint must be a file, found none at no.pt"),
        (
            {"SetProblem": "pinn-convection", "SetArguments": "speed=3"},
            "pinn-convection must fit (beta=",
        ),
    ],
)
def test_wrong_settings_of_the_source_give_one_sentence(messages, setting, message):
    source = wells()
    for command, value in setting.items():
        getattr(source, command)(value)
    run(source)
    ((kind, text),) = messages
    assert kind == "error"
    assert text.startswith("TLP Loss Landscape: ")
    assert message in text
    assert "\n" not in text


def test_a_grid_that_does_not_fit_is_sampled_on_request_only(messages, monkeypatch):
    source = wells()
    source.SetNumberOfDirections(6)
    source.SetResolution(101)
    run(source)
    ((kind, text),) = messages
    assert kind == "error"
    assert text.startswith(
        "TLP Loss Landscape: 101 points along 6 directions are 1,061,520,150,601"
    )
    assert "check Large Grid" in text
    messages.clear()
    monkeypatch.setattr("tlp_paraview.landscape_source.physical_memory", lambda: 9**2 * 400 - 1)
    source = wells()
    run(source)
    assert "need about 0 GiB" in messages.pop()[1]
    source.SetLargeGrid(1)
    run(source)
    assert messages == []
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 81


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
    source, fractions = wells(), []
    source.AddObserver("ProgressEvent", lambda caller, _: fractions.append(caller.GetProgress()))
    run(source)
    sampling = [fraction for fraction in fractions if fraction > 0.1]
    assert len(sampling) >= 9
    assert fractions == sorted(fractions)


def test_an_abort_stops_at_the_next_chunk_and_is_reported(messages):
    source, fractions = wells(), []

    def abort(caller, _):
        fractions.append(caller.GetProgress())
        if caller.GetProgress() > 0.4:
            caller.SetAbortExecute(1)

    source.AddObserver("ProgressEvent", abort)
    run(source)
    assert any("sampling stopped with 36 of 81 samples" in text for _, text in messages)
    finite = vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.IS_FINITE))
    assert finite.sum() == 36


@pytest.mark.parametrize("place", range(3), ids=["graph", "merge tree", "profile"])
def test_a_filter_shows_progress_and_stops_when_it_is_aborted(messages, place):
    source = wells()
    graph, tree, profile, _, _ = chain(source)
    graph.SetGraph(2)
    last, fractions = (graph, tree, profile)[place], []

    def abort(caller, _):
        fractions.append(caller.GetProgress())
        if 0 < caller.GetProgress() < 1:
            caller.SetAbortExecute(1)

    observer = last.AddObserver("ProgressEvent", abort)
    run(last)
    assert any(0 < fraction < 1 for fraction in fractions)
    assert [kind for kind, _ in messages] == ["error"]
    assert f"{last.LABEL}: stopped while" in messages[0][1]
    for port in range(last.GetNumberOfOutputPorts()):
        assert last.GetOutputDataObject(port).GetNumberOfElements(vtkDataObject.POINT) == 0
    last.RemoveObserver(observer)
    last.Modified()
    run(last)
    assert last.GetOutputDataObject(0).GetNumberOfPoints() > 0
    assert len(messages) == 1


def test_a_reader_without_zarr_says_so(messages, monkeypatch, tmp_path):
    Landscape(np.zeros((3, 3)), np.ones(2), np.ones((3, 3), bool)).save(tmp_path / "a.zarr")
    for name in [name for name in sys.modules if name.startswith("tlp_core.landscape.store")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "zarr")
    monkeypatch.setattr(sys, "meta_path", [_NoZarr(), *sys.meta_path])
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "a.zarr"))
    run(reader)
    assert [kind for kind, _ in messages] == ["error"]


class _NoZarr:
    """An importer that finds no zarr."""

    def find_spec(self, name, *_):
        if name.split(".")[0] == "zarr":
            raise ModuleNotFoundError("No module named 'zarr'", name="zarr")


def test_a_failed_attempt_is_repeated_when_something_changes_only(messages, monkeypatch):
    """ParaView asks again at once for an image without its extent."""
    source, calls = wells(), []
    source.SetResolution(8)
    monkeypatch.setattr(source, "_settings", lambda: calls.append(1) or 1 / 0)
    for _ in range(3):
        source.UpdateWholeExtent()
        source.Update(1)
    assert (len(calls), len(messages)) == (1, 1)
    source.Refresh()
    run(source)
    assert (len(calls), len(messages)) == (2, 2)


def test_the_image_of_a_growing_sampling_has_its_announced_size(messages):
    """A finer grid is complete between the request of the size and that of the data."""

    class Growing:
        finished = iter((5, 9, 9))

        def __init__(self, settings):
            self.settings, self.coarse = settings, ()

        def report(self):
            return Report(1.0, "complete", 9, next(self.finished), "", is_running=False)

        def available_resolution(self):
            return self.report().finished

        def landscape(self, resolution):
            shape = (resolution, resolution)
            return Landscape(np.ones(shape), np.ones(2), np.ones(shape, bool))

        def close(self):
            return

    source = wells(9)
    source.SetInBackground(1)
    settings = source._settings()
    source._background = Growing(replace(settings, run=replace(settings.run, time_budget=None)))
    run(source)
    assert messages == []
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 25
    assert source.GetOutputDataObject(1).GetDimensions() == (5, 5, 1)


def test_a_spent_budget_is_reported_and_a_larger_one_resumes(messages):
    source = wells()
    source.SetUseTimeBudget(1)
    source.SetTimeBudget(1e-9)
    run(source)
    ((kind, text),) = messages
    assert kind == "warning"
    assert "sampling stopped with 9 of 81 samples" in text
    source.SetUseTimeBudget(0)
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
        reader.ClearFileNames()
        reader.AddFileName(str(tmp_path / name))
        run(reader)
        np.testing.assert_array_equal(
            vtk_to_numpy(reader.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS)),
            vtk_to_numpy(source.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS)),
        )
        assert reader.GetOutputDataObject(1).GetDimensions() == (9, 9, 1)
    assert messages == []
    reader.ClearFileNames()
    reader.AddFileName(str(tmp_path / "missing.zarr"))
    run(reader)
    assert "a landscape must exist to be opened" in messages[-1][1]
    reader.ClearFileNames()
    run(reader)
    assert "File Name or Folder must name a landscape" in messages[-1][1]


def test_scattered_points_get_a_knn_graph(messages):
    points = np.random.default_rng(0).random((50, 3))
    scattered = vtkUnstructuredGrid()
    scattered.SetPoints(vtk_bridge.make_points(points))
    graph = TLPNeighborGraph()
    graph.SetInputDataObject(scattered)
    run(graph)
    assert graph.GetOutputDataObject(0).GetNumberOfCells() > 50
    graph.SetGraph(1)
    run(graph)
    assert "a grid graph needs field data 'Shape'" in messages[-1][1]


def arrays_of(data):
    """Return every array of a dataset or table by its place and name, as type, shape and bytes."""
    found = {}

    def keep(place, array):
        if array is None:
            return
        if array.IsA("vtkStringArray"):
            values = [array.GetValue(i) for i in range(array.GetNumberOfValues())]
            found[place] = ("string", values)
        else:
            values = vtk_to_numpy(array)
            found[place] = (values.dtype.str, values.shape, values.tobytes())

    def keep_all(place, attributes):
        for i in range(attributes.GetNumberOfArrays()):
            array = attributes.GetAbstractArray(i)
            keep((place, array.GetName()), array)

    keep_all("field", data.GetFieldData())
    if data.IsA("vtkTable"):
        keep_all("rows", data.GetRowData())
        return found
    keep_all("points", data.GetPointData())
    keep_all("cells", data.GetCellData())
    if data.IsA("vtkImageData"):
        found["grid"] = (data.GetDimensions(), data.GetOrigin(), data.GetSpacing())
        return found
    if data.GetPoints() is not None:
        keep("places", data.GetPoints().GetData())
    kinds = ("Verts", "Lines", "Polys", "Strips") if data.IsA("vtkPolyData") else ("Cells",)
    for kind in kinds:
        cells = getattr(data, f"Get{kind}")()
        keep((kind, "offsets"), cells.GetOffsetsArray())
        keep((kind, "ids"), cells.GetConnectivityArray())
    return found


def test_inputs_are_not_changed(messages):
    source, part = wells(), TLPLandscapeSlice()
    part.SetInputConnection(source.GetOutputPort(0))
    algorithms = (source, *chain(source), part)
    before = {}
    for algorithm in algorithms:
        run(algorithm)
        for port in range(algorithm.GetNumberOfOutputPorts()):
            place = (type(algorithm).__name__, port)
            before[place] = arrays_of(algorithm.GetOutputDataObject(port))
    assert len(before) == 22
    assert sum(("points", names.LOSS) in arrays for arrays in before.values()) >= 5
    run(*algorithms)
    for algorithm in algorithms:
        for port in range(algorithm.GetNumberOfOutputPorts()):
            place = (type(algorithm).__name__, port)
            assert arrays_of(algorithm.GetOutputDataObject(port)) == before[place], place
    segmentation = algorithms[2].GetOutputDataObject(2).GetPointData()
    assert segmentation.GetArray(names.BASIN_ID) is None
    assert messages == []


def test_a_missing_array_and_outputs_of_different_trees_are_reported(messages):
    _, tree, profile, _, simplification = chain(wells())
    tree.SetInputArrayToProcess(0, 0, 0, 0, "Cost")
    run(tree)
    assert "TLP Merge Tree: the input must have a point array 'Cost'" in messages[-1][1]
    tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    other = chain(wells(11))[1]
    simplification.SetInputConnection(0, other.GetOutputPort(0))
    run(profile)
    assert "must come from one merge tree" in messages[-1][1]


def test_a_source_without_lines_is_reported(messages):
    source, tree = wells(), TLPMergeTree()
    tree.SetInputConnection(source.GetOutputPort(0))
    tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    run(tree)
    assert "put TLP Neighbor Graph before the merge tree filter" in messages[-1][1]
    image_tree = TLPMergeTree()
    image_tree.SetInputConnection(source.GetOutputPort(1))
    image_tree.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    run(image_tree)
    assert image_tree.GetOutputDataObject(2).IsA("vtkImageData")


@pytest.fixture
def vtk_errors():
    """Yield the list of errors that VTK itself reports."""
    errors = []

    def note(_window, _event, text=None):
        errors.append(text)

    note.CallDataType = "string0"
    window = vtkOutputWindow.GetInstance()
    tag = window.AddObserver("ErrorEvent", note)
    yield errors
    window.RemoveObserver(tag)


@pytest.mark.parametrize("data", [vtkPolyData, vtkMultiBlockDataSet])
@pytest.mark.parametrize(
    "kind", [TLPTreeSimplification, TLPLandscapeProfile, TLPLandscapeDescriptors]
)
def test_an_input_of_a_wrong_type_is_one_sentence(messages, vtk_errors, kind, data):
    """VTK reports composite data at three inputs with 26 errors."""
    algorithm = kind()
    for port in range(3):
        algorithm.SetInputDataObject(port, data())
    algorithm.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    run(algorithm)
    ((severity, text),) = messages
    assert severity == "error"
    assert f"input 0 must be a vtkUnstructuredGrid, got {data.__name__}; connect" in text
    assert vtk_errors == []


def test_landscapes_of_several_shapes_in_one_series_are_reported(messages, tmp_path):
    for step, size in ((1, 5), (2, 9)):
        loss = np.arange(float(size**2)).reshape(size, size)
        Landscape(loss, np.ones(2), np.ones(loss.shape, bool)).save(tmp_path / f"s{step}.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path))
    reader.UpdateTimeStep(1.0)
    assert messages == []
    reader.UpdateTimeStep(2.0)
    ((_, text),) = messages
    assert "one shape, because time steps share an image, got (9, 9) at step 2" in text
    assert reader.GetOutputDataObject(0).GetNumberOfPoints() == 0
    reader.UpdateTimeStep(1.0)
    assert reader.GetOutputDataObject(1).GetDimensions() == (5, 5, 1)


def test_noise_of_the_batches_is_left_out_on_request(messages, tmp_path):
    landscape, reader = noisy_landscape(tmp_path)
    losses = landscape.batch_losses
    _, _, profile, descriptors, simplification = chain(reader)

    def minima():
        run(profile, descriptors)
        return descriptors.GetOutputDataObject(0).GetColumnByName("number_of_minima").GetValue(0)

    assert minima() > 4
    simplification.SetLeaveOutNoise(1)
    assert minima() == 4
    simplification.SetFalseDiscoveryRate(0.0)
    run(profile)
    assert "rate must lie between 0 and 1, got 0" in messages[0][1]
    again = vtk_bridge.grid_to_landscape(reader.GetOutputDataObject(0))
    np.testing.assert_array_equal(again.batch_losses, losses)

    messages.clear()
    _, _, profile, _, simplification = chain(wells())
    simplification.SetLeaveOutNoise(1)
    run(profile)
    assert "losses of at least 8 batches tell noise from basins, got 0" in messages[0][1]


def noisy_landscape(folder):
    """Return a landscape of four wells in batch noise, and a reader of its file."""
    losses = noisy_batches(np.random.default_rng(2), noisy_wells(0.5), 16, 1.5) + 2.0
    landscape = Landscape(
        losses.mean(0),
        np.ones(2),
        np.ones(losses.shape[1:], bool),
        {"batch_sizes": [4] * 16},
        batch_losses=losses,
    )
    landscape.save(folder / "a.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(folder / "a.zarr"))
    return landscape, reader


def test_basins_that_may_be_noise_are_drawn_faint(messages, tmp_path):
    landscape, reader = noisy_landscape(tmp_path)
    _, _, profile, _, simplification = chain(reader)
    run(profile)
    tree = landscape_tree(landscape)
    expected = basin_noise(
        tree, landscape_graph(landscape), landscape.batch_losses, batch_sizes=[4] * 16
    ).of_basins(tree)
    basins, faint = (profile.GetOutputDataObject(port) for port in (0, 6))
    values = vtk_to_numpy(basins.GetCellData().GetArray(names.Q_VALUE))
    np.testing.assert_array_equal(values, expected)
    may_be_noise = np.flatnonzero(expected > 0.05)
    assert 0 < len(may_be_noise) < len(expected)
    np.testing.assert_array_equal(
        vtk_to_numpy(faint.GetCellData().GetArray(names.BASIN_ID)), may_be_noise
    )
    for cell, basin in enumerate(may_be_noise):  # the same polygons, in front of the basins
        one, other = faint.GetCell(cell).GetBounds(), basins.GetCell(int(basin)).GetBounds()
        assert one[:4] == other[:4]
        assert one[4] > other[5]
    profile.SetFalseDiscoveryRate(0.9999)
    run(profile)
    assert profile.GetOutputDataObject(6).GetNumberOfCells() < len(may_be_noise)
    simplification.SetLeaveOutNoise(1)
    profile.SetFalseDiscoveryRate(0.05)
    run(profile)
    assert profile.GetOutputDataObject(6).GetNumberOfCells() == 0
    left = profile.GetOutputDataObject(0).GetCellData().GetArray(names.Q_VALUE)
    assert vtk_to_numpy(left).max() <= 0.05
    profile.SetMarkNoise(0)
    run(profile)
    assert not profile.GetOutputDataObject(0).GetCellData().HasArray(names.Q_VALUE)
    assert messages == []
    profile.SetMarkNoise(1)
    profile.SetFalseDiscoveryRate(1.5)
    run(profile)
    assert "rate must lie between 0 and 1, got 1.5" in messages[0][1]


@pytest.mark.parametrize("resolution", [5, 9])
def test_the_network_is_marked_in_profile_landscape_and_slice(messages, resolution):
    """The network of two wells lies on the saddle between them, in the basin above it."""
    source = wells(resolution)
    _, _, profile, _, simplification = chain(source)
    part = TLPLandscapeSlice()
    part.SetInputConnection(profile.GetOutputPort(2))
    run(profile, part)
    count = resolution**2
    for output in (profile.GetOutputDataObject(8), part.GetOutputDataObject(2)):
        assert output.GetNumberOfPoints() == output.GetNumberOfVerts() == 1
        assert output.GetPoint(0) == (0.0, 0.0, 0.0)
        assert output.GetPointData().GetArray(names.SAMPLE_ID).GetValue(0) == count // 2
    drawn = profile.GetOutputDataObject(7)
    samples = profile.GetOutputDataObject(2).GetPointData()
    assert drawn.GetNumberOfPoints() == 1
    for name in (names.LOSS, names.SAMPLE_ID, names.BASIN_ID):
        value = drawn.GetPointData().GetArray(name).GetValue(0)
        assert value == samples.GetArray(name).GetValue(count // 2)
    basins = profile.GetOutputDataObject(0)
    bounds = basins.GetCell(drawn.GetPointData().GetArray(names.BASIN_ID).GetValue(0)).GetBounds()
    x, y, _ = drawn.GetPoint(0)
    assert x == pytest.approx((bounds[0] + bounds[1]) / 2)
    assert bounds[2] - 1e-9 <= y <= bounds[3] + 1e-9
    simplification.SetUseMaxMinima(1)
    simplification.SetMaxMinima(1)  # both wells are filled to the saddle
    run(profile)
    assert profile.GetOutputDataObject(7).GetNumberOfPoints() == 1
    assert messages == []


def save_solutions(folder, steps):
    """Write checkpoints of the quadratic bowl of three parameters, moved by some steps."""
    problem = load_problem("quadratic-bowl", arguments={"n": 3})
    (name, start), *_ = problem.model.state_dict().items()
    paths = []
    for number, step in enumerate(steps):
        paths.append(str(folder / f"solution_{number}.pt"))
        torch.save({name: start + torch.tensor(step, dtype=start.dtype)}, paths[-1])
    return paths


def bowl(method, solutions):
    source = TLPLossLandscape()
    source.SetProblem("quadratic-bowl")
    source.SetArguments("n=3")
    source.SetDirectionMethod(DIRECTION_METHODS.index(method))
    source.SetResolution(5)
    for path in solutions:
        source.AddSolutions(path)
    return source


def test_directions_through_solutions_reach_them(messages, tmp_path):
    steps = [[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]
    solutions = save_solutions(tmp_path, steps)
    source = bowl("checkpoints", solutions)
    run(source)
    landscape = vtk_bridge.grid_to_landscape(source.GetOutputDataObject(0))
    assert landscape.shape == (5, 5)
    problem = load_problem("quadratic-bowl", arguments={"n": 3})
    load_checkpoint(problem, solutions[0])
    one = [mean_loss(problem)]
    assert np.isclose(landscape.loss, one).any()
    source.SetNumberOfDirections(3)
    run(source)
    assert "Number Of Directions must be 2, as many as these Solutions span" in messages[0][1]
    messages.clear()
    source.ClearSolutions()
    run(source)
    assert "Solutions must name checkpoints for the method checkpoints" in messages[0][1]


def test_a_trajectory_spans_the_landscape(messages, tmp_path):
    solutions = save_solutions(tmp_path, [[2.0, 0, 0], [1.0, 0.2, 0], [0.5, 0.3, 0.1]])
    source = bowl("trajectory", solutions)
    run(source)
    assert vtk_bridge.grid_to_landscape(source.GetOutputDataObject(0)).shape == (5, 5)
    source.SetDirectionMethod(DIRECTION_METHODS.index("random"))  # Solutions are hidden then
    run(source)
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 25
    assert messages == []


def test_scattered_samples_go_through_the_whole_pipeline(messages):
    source = bowl("random", [])
    source.SetSampling(SAMPLINGS.index("scattered"))
    source.SetNumberOfSamples(64)
    source.SetRegion(REGIONS.index("ball"))
    source.SetNumberOfDirections(3)
    _, _, profile, descriptors, _ = chain(source)
    run(profile, descriptors)
    samples = source.GetOutputDataObject(0)
    assert samples.GetNumberOfPoints() == 64
    coordinates = vtk_to_numpy(samples.GetPointData().GetArray(names.COORDINATES))
    assert np.linalg.norm(coordinates, axis=1).max() <= 1
    assert (coordinates[0] == 0).all()  # the network, which is marked
    assert profile.GetOutputDataObject(7).GetNumberOfPoints() == 1
    assert source.GetOutputDataObject(1).GetNumberOfPoints() == 0
    count = descriptors.GetOutputDataObject(0).GetColumnByName("number_of_samples").GetValue(0)
    assert count == 64
    assert messages == []
    source.SetInBackground(1)
    run(source)
    assert "scattered samples cannot be sampled in the background" in messages[0][1]


def test_presets_replace_what_the_panel_hides(messages):
    source = bowl("lanczos", [])
    source.SetArguments("n=4")
    source.SetOrder(SPECTRUM_ORDERS.index("algebraic"))
    source.SetGeometricSpacing(1)
    for name, n, resolution in (("2D quick look", 2, 21), ("paper 3D", 3, 41), ("paper 4D", 4, 41)):
        source.SetPreset(list(PRESETS).index(name))
        settings = source._settings()
        assert (settings.directions.n, settings.directions.method) == (n, "pyhessian")
        assert settings.samples == GridSettings(resolution)
    source.SetSampling(SAMPLINGS.index("scattered"))
    source.SetPreset(list(PRESETS).index("2D quick look"))
    run(source)
    assert source.GetOutputDataObject(1).GetDimensions() == (21, 21, 1)
    source.SetPreset(len(PRESETS))
    run(source)
    assert "IndexError" in messages.pop()[1]
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 0
    source.SetPreset(0)
    source.SetNumberOfSamples(8)
    run(source)
    assert source.GetOutputDataObject(0).GetNumberOfPoints() == 8
    assert messages == []


def test_a_language_model_is_a_folder_of_the_panel(messages, tmp_path):
    transformers = pytest.importorskip("transformers")
    model = transformers.AutoModelForCausalLM.from_config(llama_config())
    model.save_pretrained(tmp_path / "model")
    for name in ("text", "code"):
        tokens = np.random.default_rng(0).integers(0, 32, 99).astype(np.uint16)
        np.save(tmp_path / f"{name}.npy", tokens)
    source = TLPLossLandscape()
    source.SetProblem("hugging-face")
    source.SetResolution(3)
    source.SetDirectionMethod(DIRECTION_METHODS.index("random"))
    run(source)
    assert "Model Folder must name a folder" in messages.pop()[1]
    source.SetModelFolder(str(tmp_path / "nowhere"))
    run(source)
    assert "Model Folder must be a folder with a model, found none at" in messages.pop()[1]
    source.SetModelFolder(str(tmp_path / "model"))
    text, code = tmp_path / "text.npy", tmp_path / "code.npy"
    losses = f"losses={{'code': '{code}'}}"
    source.SetArguments(f"text='{text}', length=8, tokens=32, batch=4, {losses}")
    run(source)
    assert messages == []
    points = source.GetOutputDataObject(0).GetPointData()
    loss, code = (vtk_to_numpy(points.GetArray(name)) for name in (names.LOSS, "code"))
    assert loss.shape == (9,)
    assert np.allclose(code, np.log(32), atol=0.2)  # an untrained model guesses


def test_coarse_grids_are_named_by_numbers(messages, monkeypatch):
    monkeypatch.setattr("tlp_paraview.folders.python_program", lambda: [sys.executable])
    source = wells(9)
    source.SetInBackground(1)
    source.SetCoarseResolutions("five, 7")
    run(source)
    assert "Coarse Resolutions must be numbers such as 11, 21, got 'five, 7'" in messages.pop()[1]
    source.SetCoarseResolutions("3, 5")
    source.Update()
    assert source._background.coarse == (3, 5)
    source.SetInBackground(0)
    assert messages == []


def test_engines_of_the_panel_agree(messages):
    losses = []
    for engine in ("automatic", "single", "batched"):
        source = bowl("random", [])
        source.SetEngine(("automatic", *ENGINES).index(engine))
        run(source)
        landscape = vtk_bridge.grid_to_landscape(source.GetOutputDataObject(0))
        losses.append(landscape.loss)
        if engine != "automatic":
            assert landscape.provenance["evaluation"]["name"] == engine
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-6)
    assert messages == []


def test_samples_without_the_network_have_no_mark(messages):
    part = TLPLandscapeSlice()
    source = TLPLossLandscape()
    source.SetProblem("quadratic-bowl")
    source.SetArguments("n=3")
    source.SetNumberOfDirections(3)
    source.SetResolution(3)
    part.SetInputConnection(source.GetOutputPort(0))
    part.SetDirections(1, 2, 0)
    run(part)
    assert part.GetOutputDataObject(2).GetNumberOfPoints() == 1
    part.AddPosition(1.0)
    run(part)
    assert part.GetOutputDataObject(2).GetNumberOfPoints() == 0
    assert messages == []


def test_without_losses_of_batches_no_basin_is_faint(messages):
    _, _, profile, _, _ = chain(wells())
    run(profile)
    assert not profile.GetOutputDataObject(0).GetCellData().HasArray(names.Q_VALUE)
    assert profile.GetOutputDataObject(6).GetNumberOfCells() == 0
    assert messages == []


def test_persistence_can_be_measured_on_the_logarithm(messages, tmp_path):
    """One basin is a decade deep at a loss of 1e-5, the other a tenth of a decade at 1."""
    loss = np.tile(np.array([2.0, 1e-5, 1e-4, 1e-5, 2.0, 1.8, 2.0])[:, None], (1, 3))
    loss[:, [0, 2]] += 1
    Landscape(loss, np.ones(2), np.ones(loss.shape, bool)).save(tmp_path / "a.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "a.zarr"))
    _, _, profile, _, simplification = chain(reader)
    simplification.SetPersistenceThreshold(0.05)

    def births():
        run(profile)
        points = profile.GetOutputDataObject(1).GetPointData()
        values = vtk_to_numpy(points.GetArray(names.LOSS))
        return sorted(values[vtk_to_numpy(points.GetArray(names.CRITICAL_TYPE)) == 0])

    assert births() == [1e-5, 1.8]
    simplification.SetLogarithmicPersistence(1)
    assert births() == [1e-5, 1e-5]
    assert messages == []


def test_the_source_finds_its_box_and_keeps_losses_on_batches(messages, tmp_path):
    source = wells(5)
    source.SetDistanceByRise(1)
    source.SetRise(0.5)
    source.SetBatchLosses(1)
    run(source)
    samples = source.GetOutputDataObject(0)
    assert messages == []
    assert samples.GetPointData().GetArray(names.BATCH_LOSSES).GetNumberOfComponents() == 1
    landscape = vtk_bridge.grid_to_landscape(samples)
    rise = landscape.loss[[0, -1], 2] - landscape.center
    assert rise.max() == pytest.approx(0.5, rel=0.05)
    assert landscape.provenance["rise"] == 0.5


def test_geometric_spacing_goes_from_source_to_profile(messages, tmp_path):
    source = wells(9)
    source.SetNumberOfDirections(3)
    source.SetArguments("n=3")
    source.SetGeometricSpacing(1)
    source.SetNearest(0.05)
    source.SetStore(str(tmp_path / "a.zarr"))
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "a.zarr"))
    for first in (source, reader):
        _, _, profile, descriptors, _ = chain(first)
        part = TLPLandscapeSlice()
        part.SetInputConnection(first.GetOutputPort(0))
        part.SetDirections(1, 2, 0)
        part.AddPosition(0.06)
        run(profile, descriptors, part)
        assert messages == []
        assert first.GetOutputDataObject(1).GetNumberOfPoints() == 0
        landscape = Landscape.open(tmp_path / "a.zarr")
        tree = landscape_tree(landscape)
        expected = landscape_profile(tree)
        outline = profile.GetOutputDataObject(3).GetBounds()
        assert outline[1] == pytest.approx(9**3)
        sizes = profile.GetOutputDataObject(0).GetCellData().GetArray(names.SIZE)
        assert sorted(vtk_to_numpy(sizes)) == sorted(expected.basins.size)
        table = descriptors.GetOutputDataObject(0)
        width = table.GetColumnByName("width_at_half_depth").GetValue(0)
        assert width == pytest.approx(describe(tree).width_at_half_depth)
        places = vtk_to_numpy(part.GetOutputDataObject(0).GetPoints().GetData())
        np.testing.assert_allclose(np.unique(places[:, 0]), landscape.axis(0), rtol=1e-6)
        inside = vtk_to_numpy(part.GetOutputDataObject(0).GetPointData().GetArray(names.SAMPLE_ID))
        assert set(inside % 9) == {5}  # the sample beside the centre, at 0.05


def test_the_threshold_fills_basins_without_sampling_again(messages):
    source = wells(21)
    _, _, profile, descriptors, simplification = chain(source)
    run(profile)
    time = source.GetOutputDataObject(0).GetMTime()
    for change in (
        lambda: simplification.SetPersistenceThreshold(0.9),
        lambda: (
            simplification.SetPersistenceThreshold(0.0),
            simplification.SetUseMaxMinima(1),
            simplification.SetMaxMinima(1),
        ),
    ):
        change()
        run(profile, descriptors)
        assert profile.GetOutputDataObject(0).GetNumberOfCells() == 1
        assert profile.GetOutputDataObject(5).GetNumberOfRows() == 1
        table = descriptors.GetOutputDataObject(0)
        assert table.GetColumnByName("number_of_minima").GetValue(0) == 1
        samples = profile.GetOutputDataObject(2).GetPointData()
        level, loss = (vtk_to_numpy(samples.GetArray(name)) for name in ("Loss_Level", "Loss"))
        assert (level >= loss).all()
        assert (level > loss).any()
    assert source.GetOutputDataObject(0).GetMTime() == time
    assert messages == []
    simplification.SetPersistenceThreshold(1.5)
    run(profile)
    assert "a relative threshold must be from 0 to 1" in messages[-1][1]


def test_a_threshold_of_an_old_state_file_is_reported(messages):
    profile = chain(wells())[2]
    profile.SetFormerThreshold(0.9)
    run(profile)
    ((kind, text),) = messages
    assert kind == "warning"
    assert "are properties of the filter TLP Tree Simplification" in text
    assert profile.GetOutputDataObject(0).GetNumberOfCells() == 3


def test_levels_of_another_tree_are_reported(messages):
    """A merge tree of samples that were filled before is not the one that was simplified."""
    simplification = chain(wells(21))[4]
    simplification.SetUseMaxMinima(1)
    simplification.SetMaxMinima(1)
    again, profile = TLPMergeTree(), TLPLandscapeProfile()
    again.SetInputConnection(simplification.GetOutputPort(2))
    for last in (again, profile):
        last.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    for port in range(3):
        profile.SetInputConnection(port, again.GetOutputPort(port))
    run(profile)
    ((kind, text),) = messages
    assert kind == "error"
    assert "the levels Loss_Level are those of another tree" in text


@pytest.mark.parametrize(
    ("n", "arguments", "implicit", "text"),
    [
        (1, "n=1", 0, "crashes where the highest sample joins several basins"),
        (2, "", 1, "the graph is implicit, and TTK's filter needs its lines"),
        (2, "", 0, ""),
    ],
)
def test_landscapes_on_which_ttks_filter_crashes_are_not_passed_on(
    messages, n, arguments, implicit, text
):
    source, graph = wells(), TLPNeighborGraph()
    source.SetArguments(arguments)
    source.SetNumberOfDirections(n)
    graph.SetInputConnection(source.GetOutputPort(0))
    graph.SetCheckForTTK(1)
    graph.SetImplicitGraph(implicit)
    run(graph)
    assert bool(graph.GetOutputDataObject(0).GetNumberOfPoints()) == (not text)
    assert all(text in message for _, message in messages)
    assert len(messages) == bool(text)


@pytest.fixture
def training(tmp_path):
    """Return a source whose time steps are three checkpoints of the two wells."""
    for step, place in ((0, 0.9), (10, 0.3), (20, -0.8)):
        problem = load_problem("two-wells")
        (parameter,) = problem.model.parameters()
        with torch.no_grad():
            parameter.copy_(torch.tensor([place, 0.1 * step]))
        torch.save(problem.model.state_dict(), tmp_path / f"step_{step}.pt")
    source = wells()
    source.SetCheckpointFolder(str(tmp_path))
    source.SetStore(str(tmp_path / "kept"))
    return source


def loss_of(algorithm):
    return vtk_to_numpy(algorithm.GetOutputDataObject(0).GetPointData().GetArray(names.LOSS))


def center_of(algorithm):
    losses = loss_of(algorithm)
    return losses[len(losses) // 2]


def test_filters_on_every_output_follow_the_time(messages, training, tmp_path):
    """Whatever order the outputs are asked in, each shows the step that it is asked for."""
    for time in (0.0, 10.0, 20.0):
        training.UpdateTimeStep(time)
    (folder,) = (tmp_path / "kept").iterdir()
    reader = TLPLandscapeReader()
    reader.AddFileName(str(folder))
    for algorithm in (training, reader):
        filters = [vtkPassThrough(), vtkPassThrough()]
        for port, passed in enumerate(filters):
            passed.SetInputConnection(algorithm.GetOutputPort(port))
        ranges = {}
        rng = np.random.default_rng(0)
        for time, port in zip(rng.choice([0.0, 10.0, 20.0], 40), rng.integers(2, size=40)):
            filters[port].UpdateTimeStep(time)
            data = filters[port].GetOutputDataObject(0)
            assert vtk_bridge.step_of(data) == time
            assert data.GetInformation().Get(vtkDataObject.DATA_TIME_STEP()) == time
            shown = data.GetPointData().GetArray(names.LOSS).GetRange()
            assert ranges.setdefault(time, shown) == shown
        assert len(set(ranges.values())) == 3
    assert messages == []


def ensemble_of(*trees):
    """Return an ensemble of the outputs of merge tree filters."""
    ensemble = TLPTreeEnsemble()
    ensemble.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    for tree in trees:
        for port in range(3):
            ensemble.AddInputConnection(port, tree.GetOutputPort(port))
    return ensemble


def blocks_of(ensemble):
    """Return nodes, arcs and segmentations of each tree."""
    parts = ensemble.GetOutputDataObject(0)
    return [
        [parts.GetBlock(k).GetBlock(i) for k in range(parts.GetNumberOfBlocks())]
        for i in range(parts.GetBlock(0).GetNumberOfBlocks())
    ]


def column(table, name):
    return vtk_to_numpy(table.GetRowData().GetArray(name))


def test_an_ensemble_holds_the_trees_of_all_steps(messages, training):
    tree = chain(training)[1]
    ensemble = ensemble_of(tree)
    run(ensemble)
    assert messages == []
    members = blocks_of(ensemble)
    assert len(members) == 3
    trees = []
    for time, member in zip((0.0, 10.0, 20.0), members):
        tree.UpdateTimeStep(time)
        for port, data in enumerate(member):
            assert arrays_of(data) == arrays_of(tree.GetOutputDataObject(port))
        trees.append(vtk_bridge.skeleton_to_tree(*member, names.LOSS))
    blocks = ensemble.GetOutputDataObject(0).GetBlock(0)
    labels = [blocks.GetMetaData(i).Get(vtkMultiBlockDataSet.NAME()) for i in range(3)]
    assert labels == ["0", "10", "20"]
    table = ensemble.GetOutputDataObject(1)
    expected = landscape_distances(trees, relative=True)
    assert expected.max() > 0
    assert np.array_equal([column(table, f"Tree{i}") for i in range(3)], expected)
    assert column(table, "Step").tolist() == [0.0, 10.0, 20.0]
    cells = ensemble.GetOutputDataObject(2).GetCellData()
    assert vtk_to_numpy(cells.GetArray("TreeDistance")).tolist() == expected.ravel().tolist()
    points = vtk_to_numpy(ensemble.GetOutputDataObject(4).GetPoints().GetData())
    assert np.linalg.norm(points[0] - points[2]) == pytest.approx(expected[0, 2])
    before = ensemble.GetOutputDataObject(0).GetMTime()
    ensemble.UpdateTimeStep(10.0)
    assert ensemble.GetOutputDataObject(0).GetMTime() == before, "an ensemble has no time"
    ensemble.SetAllSteps(0)
    run(ensemble)
    assert len(blocks_of(ensemble)) == 1


def test_several_inputs_are_an_ensemble_like_ttks(messages):
    reference = np.load(DATA / "ensemble2d.ttk.npz")
    shape = reference["values"].shape[1:]
    trees = []
    for losses in reference["values"]:
        landscape = Landscape(losses, np.ones(2), np.ones(shape, bool))
        producer = vtkTrivialProducer()
        producer.SetOutput(vtk_bridge.landscape_to_grid(landscape))
        trees.append(chain(producer)[1])
    ensemble = ensemble_of(*trees)
    ensemble.SetDiagramDistance(1)
    run(ensemble)
    assert messages == []
    assert len(blocks_of(ensemble)) == 8
    table = ensemble.GetOutputDataObject(1)
    own = np.array([column(table, f"Tree{i}") for i in range(8)])
    # another distance than TTK's between trees, which correlates with it and has its two clusters
    pairs = np.triu_indices(8, 1)
    assert np.corrcoef(own[pairs], reference["distance"][pairs])[0, 1] > 0.8
    cluster = reference["cluster"]
    is_inside = (cluster[:, None] == cluster)[pairs]
    assert own[pairs][is_inside].mean() < 0.6 * own[pairs][~is_inside].mean()
    assert table.GetRowData().GetArray("Step") is None
    assert ensemble.GetOutputDataObject(4).GetNumberOfLines() == 0
    ensemble.SetDiagramDistance(2)
    run(ensemble)
    assert ensemble.GetOutputDataObject(1).GetNumberOfRows() == 0
    assert len(blocks_of(ensemble)) == 8


def recorded_clusters():
    """The outputs of TTK's clustering of the trees of ensemble2d, as they were recorded."""
    outputs = {port: vtkMultiBlockDataSet() for port in "012"}
    for name, values in np.load(DATA / "clusters2d.ttk.npz").items():
        *path, last, get_data, array = name.split("|")
        block = outputs[path[0]]
        for place in path[1:]:
            if block.GetBlock(int(place)) is None:
                block.SetBlock(int(place), vtkMultiBlockDataSet())
            block = block.GetBlock(int(place))
        if block.GetBlock(int(last)) is None:
            block.SetBlock(int(last), vtkUnstructuredGrid())
        vtk_bridge.add_array(getattr(block.GetBlock(int(last)), get_data)(), array, values)
    return [outputs[port] for port in "012"]


def barycenter_of(outputs, cluster=0):
    barycenter = TLPTreeBarycenter()
    barycenter.SetCluster(cluster)
    for port, data in enumerate(outputs):
        producer = vtkTrivialProducer()
        producer.SetOutput(data)
        barycenter.SetInputConnection(port, producer.GetOutputPort(0))
    return barycenter


def test_a_map_of_distances_is_that_of_the_ensemble_that_computed_them(messages, training):
    training.SetResolution(5)
    ensemble = ensemble_of(chain(training)[1])
    pictures = TLPDistanceMap()
    pictures.SetInputConnection(0, ensemble.GetOutputPort(1))
    pictures.SetInputConnection(1, ensemble.GetOutputPort(0))
    run(ensemble, pictures)
    assert messages == []
    for port, array in ((0, "TreeDistance"), (2, names.STEP)):
        own, other = (
            algorithm.GetOutputDataObject(place)
            for algorithm, place in ((ensemble, port + 2), (pictures, port))
        )
        np.testing.assert_array_equal(
            vtk_to_numpy(own.GetPoints().GetData()), vtk_to_numpy(other.GetPoints().GetData())
        )
        data = [each.GetCellData() if port == 0 else each.GetPointData() for each in (own, other)]
        np.testing.assert_array_equal(*(vtk_to_numpy(each.GetArray(array)) for each in data))
    labels = [each.GetOutputDataObject(p) for each, p in ((ensemble, 3), (pictures, 1))]
    assert labels[0].GetNumberOfPoints() == labels[1].GetNumberOfPoints() > 0


def test_a_map_of_distances_refuses_other_tables_and_ensembles(messages):
    values = np.load(DATA / "ensemble2d.ttk.npz")["distance"]
    grids = [vtkUnstructuredGrid() for _ in range(3)]
    blocks = members_to_blocks([Member(str(i), None, *grids) for i in range(8)])
    pictures = TLPDistanceMap()
    for distances, ensemble, rule in (
        (values, blocks, ""),
        (values[:, :5], blocks, "a column Tree0, Tree1, … for each row, got 5 of them and 8 rows"),
        (values[:3, :3], blocks, "must have the 3 trees of the distances, got 8"),
        (values, vtkMultiBlockDataSet(), "must be an ensemble of merge trees"),
    ):
        table = vtkTable()
        for i, column_ in enumerate(distances.T):
            vtk_bridge.add_array(table.GetRowData(), f"Tree{i}", np.ascontiguousarray(column_))
        pictures.SetInputDataObject(0, table)
        pictures.SetInputDataObject(1, ensemble)
        run(pictures)
        assert not rule or rule in messages.pop()[1]
        assert messages == []
        assert pictures.GetOutputDataObject(0).GetNumberOfCells() == (0 if rule else 64)


@pytest.mark.parametrize("cluster", [0, 1])
def test_a_barycenter_has_levels_and_widths_between_those_of_its_trees(messages, cluster):
    outputs = recorded_clusters()
    barycenter = barycenter_of(outputs, cluster)
    run(barycenter)
    assert messages == []
    table = barycenter.GetOutputDataObject(1)
    members = column(table, "ClusterAssignment") == cluster
    assert members.tolist() == [(i < 5) == cluster for i in range(8)]
    graph = barycenter.GetOutputDataObject(0)
    levels = vtk_bridge.point_values(graph, names.LOSS)
    branches = merge_tree(levels, vtk_bridge.dataset_graph(graph)).branches()
    values = np.load(DATA / "ensemble2d.ttk.npz")["values"][members]
    trees = [merge_tree(losses, grid_graph(losses.shape)).branches() for losses in values]
    for name in ("birth", "death"):
        range_ = [getattr(each, name)[0] for each in trees]
        assert min(range_) - 1e-6 <= getattr(branches, name)[0] <= max(range_) + 1e-6
    assert len(branches) >= max(len(each) for each in trees)
    # all nodes are samples, also those of its many small basins, which no tree has
    assert 441 <= branches.size[0] <= 441 + 2 * len(branches)
    second = np.mean([each.size[1] for each in trees])
    assert branches.size[1] == pytest.approx(second, rel=0.5)


def test_a_barycenter_has_a_profile(messages):
    barycenter = barycenter_of(recorded_clusters())
    tree, profile = TLPMergeTree(), TLPLandscapeProfile()
    tree.SetInputConnection(barycenter.GetOutputPort(0))
    for last in (tree, profile):
        last.SetInputArrayToProcess(0, 0, 0, 0, names.LOSS)
    for port in range(3):
        profile.SetInputConnection(port, tree.GetOutputPort(port))
    run(profile)
    assert messages == []
    assert profile.GetOutputDataObject(0).GetNumberOfCells() > 2


def test_a_barycenter_refuses_what_is_no_clustering(messages):
    trees, barycenters, matchings = recorded_clusters()
    for outputs, cluster, rule in (
        ((trees, barycenters, matchings), 2, "Cluster must be from 0 to 1"),
        ((barycenters, barycenters, matchings), 0, "one has no array ClusterAssignment"),
        ((trees, matchings, barycenters), 0, "one has other blocks"),
    ):
        barycenter = barycenter_of(outputs, cluster)
        run(barycenter)
        assert rule in messages.pop()[1]
        assert barycenter.GetOutputDataObject(0).GetNumberOfPoints() == 0
    nodes = barycenters.GetBlock(0).GetBlock(0)
    twice = np.repeat(vtk_to_numpy(nodes.GetPointData().GetArray(names.NODE_ID)), 2)
    for name in (names.NODE_ID, names.SCALAR):
        vtk_bridge.add_array(nodes.GetPointData(), name, twice)
    run(barycenter_of((trees, barycenters, matchings)))
    assert "turn Planar Layout of TTK MergeTreeClustering off" in messages.pop()[1]


def test_an_ensemble_reports_missing_parts_and_a_step_that_fails(messages, training, tmp_path):
    tree = chain(wells())[1]
    ensemble = ensemble_of(tree)
    ensemble.AddInputConnection(0, tree.GetOutputPort(0))
    run(ensemble)
    ((kind, text),) = messages
    assert kind == "error"
    assert "each tree needs nodes, arcs and segmentation, got 2, 1 and 1 of them" in text
    assert ensemble.GetOutputDataObject(0).GetNumberOfBlocks() == 0
    messages.clear()
    ensemble = ensemble_of(chain(training)[1])
    training.UpdateInformation()
    (tmp_path / "step_10.pt").unlink()
    run(ensemble)
    assert [kind for kind, _ in messages] == ["error", "warning"]
    assert "a checkpoint must be a file, found none" in messages[0][1]
    assert "the tree of step 10 is empty and is left out" in messages[1][1]
    table = ensemble.GetOutputDataObject(1)
    assert column(table, "Step").tolist() == [0.0, 20.0]


def test_basins_of_a_training_are_tracked(messages, tmp_path):
    x = np.linspace(-1, 1, 21)
    wells = {
        step: np.min([d + (x[:, None] - a) ** 2 + x**2 for a, d in places], axis=0)
        for step, places in {
            0: [(-0.6, 0.0), (0.6, 0.1)],
            10: [(-0.5, 0.0), (0.5, 0.1)],
            40: [(-0.5, 0.0)],
        }.items()
    }
    for step, losses in wells.items():
        landscape = Landscape(losses, np.ones(2), np.ones(losses.shape, bool))
        landscape.save(tmp_path / f"step_{step}.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "step_*.zarr"))
    ensemble = ensemble_of(chain(reader)[1])
    tracking = TLPBasinTracking()
    tracking.SetInputConnection(ensemble.GetOutputPort(0))
    run(tracking)
    assert messages == []
    basins, lines, events, labels = (tracking.GetOutputDataObject(port) for port in range(4))
    arrays = {
        name: vtk_to_numpy(basins.GetPointData().GetArray(name)).tolist()
        for name in ("Step", "TrackId", "Loss", "Size")
    }
    assert arrays["Step"] == [0, 0, 10, 10, 40]
    assert arrays["TrackId"] == [0, 1, 0, 1, 0]
    assert arrays["Loss"] == pytest.approx([0.0, 0.1, 0.0, 0.1, 0.0], abs=1e-12)
    assert arrays["Size"][4] == 441
    scale = basins.GetFieldData().GetArray("HeightScale").GetValue(0)
    points = vtk_to_numpy(basins.GetPoints().GetData())
    assert points[:, 0].tolist() == [0, 0, 1, 1, 2]
    assert points[:, 1] == pytest.approx(scale * np.array(arrays["Loss"]))
    assert lines.GetNumberOfLines() == 4
    assert vtk_to_numpy(lines.GetCellData().GetArray("SharedSamples")).min() > 0
    assert labels.GetNumberOfPoints() > 0
    rows = [
        [events.GetColumnByName(name).GetValue(i) for name in ("Step", "Event", "TrackId")]
        for i in range(events.GetNumberOfRows())
    ]
    assert rows == [[40.0, "merge", 0]]
    tracking.SetOverlap(2.0)
    run(tracking)
    assert "overlap must be a fraction above 0 and at most 1, got 2" in messages[-1][1]
    assert tracking.GetOutputDataObject(0).GetNumberOfPoints() == 0
    messages.clear()
    other = TLPBasinTracking()
    parts = vtkMultiBlockDataSet()
    parts.SetBlock(0, vtkPolyData())
    other.SetInputDataObject(parts)
    run(other)
    assert "must be an ensemble of merge trees" in messages[-1][1]


def test_a_hole_of_nan_is_part_of_a_landscape(messages, tmp_path):
    x = np.linspace(-1, 1, 21)
    losses = (np.square(x)[:, None] - 0.3) ** 2 + np.square(x)
    losses[8:12, 14:18] = np.nan
    Landscape(losses, np.ones(2), np.ones(losses.shape, bool)).save(tmp_path / "hole.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "hole.zarr"))
    profile = chain(reader)[2]
    run(profile)
    assert messages == []
    expected = landscape_profile(landscape_tree(Landscape.open(tmp_path / "hole.zarr"))).basins
    found = profile.GetOutputDataObject(0).GetCellData()
    for name, values in (("Size", expected.size), ("Birth", expected.birth)):
        assert vtk_to_numpy(found.GetArray(name)).tolist() == values.tolist()


def test_checkpoints_are_time_steps(messages, training, tmp_path):
    centers = {}
    for time in (0.0, 10.0, 15.0, 20.0):
        training.UpdateTimeStep(time)
        centers[time] = center_of(training)
        assert vtk_bridge.step_of(training.GetOutputDataObject(0)) == min(
            time, 10 + time // 20 * 10
        )
        assert training.GetOutputDataObject(1).GetDimensions() == (9, 9, 1)
    assert training.GetTimestepValues() == [0, 10, 20]
    assert len(set(centers.values())) == 3
    assert centers[15.0] == centers[10.0]
    (folder,) = (tmp_path / "kept").iterdir()
    reader = TLPLandscapeReader()
    reader.AddFileName(str(folder))
    for time in (20.0, 0.0):
        reader.UpdateTimeStep(time)
        assert center_of(reader) == centers[time]
    assert reader.GetTimestepValues() == [0, 10, 20]
    assert messages == []


def test_each_checkpoints_own_directions_are_another_landscape(messages, training, tmp_path):
    training.UpdateTimeStep(10.0)
    shared = loss_of(training)
    training.SetStepDirections(1)
    training.UpdateTimeStep(10.0)
    assert not np.allclose(loss_of(training), shared)
    training.SetStepDirections(0)
    training.SetUseDirectionsStep(1)
    training.SetDirectionsStep(7.0)
    training.UpdateTimeStep(10.0)
    assert "must be one of 0, 10, 20, got 7" in messages[-1][1]


def test_a_deleted_step_is_an_error_at_that_step_only(messages, training, tmp_path):
    training.UpdateTimeStep(0.0)
    (tmp_path / "step_10.pt").unlink()
    training.UpdateTimeStep(10.0)
    ((kind, text),) = messages
    assert kind == "error"
    assert "a checkpoint must be a file, found none" in text
    training.UpdateTimeStep(20.0)
    assert training.GetOutputDataObject(0).GetNumberOfPoints() == 81
    training.Refresh()
    training.UpdateTimeStep(10.0)
    assert training.GetTimestepValues() == [0, 20]
    assert len(messages) == 1


def test_a_checkpoint_of_another_network_is_an_error_at_its_step_only(messages, training, tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "step_30.pt")
    training.SetUseDirectionsStep(1)
    training.SetDirectionsStep(0.0)
    training.UpdateTimeStep(30.0)
    ((_, text),) = messages
    assert "must fit the network of 'two wells, 2 parameters'" in text
    training.UpdateTimeStep(0.0)
    assert training.GetOutputDataObject(0).GetNumberOfPoints() == 81


def test_a_folder_without_checkpoints_and_two_kinds_of_them_are_reported(messages, tmp_path):
    source = wells()
    source.AddCheckpoints(str(tmp_path))
    run(source)
    assert "checkpoints must be files, a folder of them or a pattern" in messages[-1][1]
    torch.save(load_problem("two-wells").model.state_dict(), tmp_path / "a1.pt")
    source.SetCheckpoint("b.pt")
    run(source)
    assert (
        "Checkpoint must be empty if Checkpoint Folder or Checkpoints name a training"
        in messages[-1][1]
    )


def test_basins_keep_their_places_along_a_training(messages, tmp_path):
    """The wider of two basins changes sides only if places are not kept."""
    shape = (3, 60)
    x = np.linspace(-1, 1, 60)
    for step, middle in ((1, 0.2), (2, -0.2)):
        left, right = (x + 0.9) / (middle + 0.9), (x - 0.9) / (0.9 - middle)
        loss = np.tile(np.minimum(left**2, right**2), (3, 1))
        landscape = Landscape(loss, np.ones(2), np.ones(shape, bool), {"problem": "two"})
        landscape.save(tmp_path / f"s{step}.zarr")
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path))
    profile = chain(reader)[2]

    def left_to_right(time):
        profile.UpdateTimeStep(time)
        points = profile.GetOutputDataObject(1)
        data = points.GetPointData()
        kinds = vtk_to_numpy(data.GetArray(names.CRITICAL_TYPE))
        places = [points.GetPoint(i)[0] for i in np.flatnonzero(kinds == 0)]
        sample = vtk_to_numpy(data.GetArray(names.SAMPLE_ID))[kinds == 0]
        return (sample[np.argsort(places)] % 60 < 30).tolist()

    assert left_to_right(1.0) == left_to_right(2.0) == left_to_right(1.0) == [True, False]
    profile.SetKeepPlaces(0)
    assert left_to_right(2.0) == [False, True]
    assert messages == []


def test_the_profile_of_a_step_does_not_depend_on_the_steps_shown_before(messages, tmp_path):
    """A random landscape that moves: every order of its steps gives the same drawings."""
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.standard_normal((15, 15)), 1.5) for _ in range(2)]
    for step in range(4):
        loss = np.cos(step) * fields[0] + np.sin(step) * fields[1]
        landscape = Landscape(loss, np.ones(2), np.ones(loss.shape, bool), {"problem": "moving"})
        landscape.save(tmp_path / f"s{step}.zarr")
    drawings = {}
    for order in itertools.permutations(range(4)):
        reader = TLPLandscapeReader()
        reader.AddFileName(str(tmp_path))
        profile = chain(reader)[2]
        for step in order:
            profile.UpdateTimeStep(float(step))
            points = vtk_to_numpy(profile.GetOutputDataObject(0).GetPoints().GetData())
            assert drawings.setdefault(step, points.tobytes()) == points.tobytes()
    assert messages == []


def test_a_slice_of_four_directions(messages):
    source = wells(5)
    source.SetArguments("n=4, tilt=0")
    source.SetNumberOfDirections(4)
    profile, part = chain(source)[2], TLPLandscapeSlice()
    part.SetInputConnection(profile.GetOutputPort(2))
    run(part)
    assert part.GetOutputDataObject(0).GetNumberOfCells() == 4**3
    assert part.GetOutputDataObject(0).GetBounds() == (-1, 1, -1, 1, -1, 1)
    points = part.GetOutputDataObject(1)
    kinds = vtk_to_numpy(points.GetPointData().GetArray(names.CRITICAL_TYPE))
    assert sorted(kinds) == [0, 0, 1]
    places = vtk_to_numpy(points.GetPointData().GetArray(names.COORDINATES))
    np.testing.assert_array_equal(places[:, 1:], 0)
    part.AddPosition(0.5)
    run(part)
    assert messages == []
    assert part.GetOutputDataObject(1).GetNumberOfPoints() == 0
    part.AddPosition(0.5)
    run(part)
    assert "at most 1 coordinates" in messages[-1][1]
    assert part.GetOutputDataObject(0).GetNumberOfCells() == 0


def test_a_slice_of_two_directions_ignores_the_third_number(messages):
    source, part = wells(), TLPLandscapeSlice()
    part.SetInputConnection(source.GetOutputPort(0))
    run(part)
    assert part.GetOutputDataObject(0).GetNumberOfCells() == 8**2
    assert messages == []


def test_roots_logarithm_and_range_change_the_drawing(messages):
    source = wells(21)
    profile = chain(source)[2]
    profile.SetWidth(1)
    run(profile)
    low_x, high_x, low, high, *_ = profile.GetOutputDataObject(0).GetBounds()
    assert (low_x, high_x) == (0, 1)
    assert high - low == pytest.approx(0.7)
    profile.SetUseLossRange(1)
    profile.SetLossRange(-10.0, 40.0)
    run(profile)
    assert np.ptp(profile.GetOutputDataObject(0).GetBounds()[2:4]) < 0.7
    profile.SetUseLossRange(0)
    assert messages == []
    profile.SetLogarithmicLoss(1)
    run(profile)
    assert "logarithmic loss axis needs losses above 0" in messages[-1][1]
    assert profile.GetOutputDataObject(0).GetNumberOfCells() == 0


def test_a_value_whose_check_box_is_off_is_warned_of(messages):
    source = wells(21)
    *_, profile = algorithms = (source, *chain(source)[:3])
    profile.SetLossRange(-10.0, 40.0)
    run(*algorithms)
    assert "Loss Range, (-10.0, 40.0), has no effect while Use Loss Range is off" in messages[-1][1]
    height = np.ptp(profile.GetOutputDataObject(0).GetBounds()[2:4])
    messages.clear()
    profile.SetUseLossRange(1)
    run(profile)
    assert np.ptp(profile.GetOutputDataObject(0).GetBounds()[2:4]) < height
    profile.SetUseLossRange(0)  # as in the panel, where the hidden value stays
    run(profile)
    assert np.ptp(profile.GetOutputDataObject(0).GetBounds()[2:4]) == height
    assert messages == []
    profile.SetLossRange(-5.0, 9.0)
    for back in ((0.0, 0.0), (0.0, 1.0)):
        profile.SetLossRange(*back)
        run(profile)
    assert messages == []


def test_any_step_of_directions_without_its_check_box_is_warned_of(messages, training):
    """Also 0, the step that is set most often."""
    training.SetDirectionsStep(0.0)
    training.UpdateTimeStep(0.0)
    ((_, text),) = messages
    assert "Directions Step, 0.0, has no effect while Use Directions Step is off" in text


def test_values_of_version_0_1_0_that_meant_off_give_no_warning(messages):
    source = wells()
    source.SetTimeBudget(0.0)
    source.SetDirectionsStep(-1.0)
    graph, _, profile, _, simplification = chain(source)
    graph.SetNumberOfNeighbors(0)
    simplification.SetMaxMinima(0)
    profile.SetLossRange(0.0, 0.0)
    profile.SetHeightScale(0.0)
    run(source, graph, simplification, profile)
    assert messages == []


def test_setting_equal_values_computes_nothing(messages):
    source = wells()
    algorithms = (source, *chain(source))
    run(*algorithms)
    before = [
        algorithm.GetOutputDataObject(port).GetMTime()
        for algorithm in algorithms
        for port in range(algorithm.GetNumberOfOutputPorts())
    ]
    source.SetResolution(9)
    source.SetStore(None)
    source.SetArguments("")
    source.ClearCheckpoints()
    algorithms[1].SetGridRule(1)
    algorithms[3].SetOrder(0)
    algorithms[3].SetUseLossRange(0)
    algorithms[3].SetLossRange(0.0, 1.0)
    algorithms[5].SetPersistenceThreshold(0.0)
    run(*algorithms)
    assert before == [
        algorithm.GetOutputDataObject(port).GetMTime()
        for algorithm in algorithms
        for port in range(algorithm.GetNumberOfOutputPorts())
    ]


def test_an_incomplete_store_is_shown_as_far_as_it_is_sampled(messages, tmp_path):
    source = wells(21)
    source.SetStore(str(tmp_path / "half.zarr"))
    source.SetUseTimeBudget(1)
    source.SetTimeBudget(1e-9)
    run(source)
    messages.clear()
    reader = TLPLandscapeReader()
    reader.AddFileName(str(tmp_path / "half.zarr"))
    algorithms = chain(reader)
    run(*algorithms)
    data = reader.GetOutputDataObject(0).GetPointData()
    seen = vtk_to_numpy(data.GetArray(names.IS_FINITE)).sum()
    assert 0 < seen < 21**2
    assert [kind for kind, _ in messages if kind == "error"] == []
    source.SetUseTimeBudget(0)
    run(source)
    reader.Refresh()
    run(*algorithms)
    data = reader.GetOutputDataObject(0).GetPointData()
    assert vtk_to_numpy(data.GetArray(names.IS_FINITE)).all()
    assert algorithms[2].GetOutputDataObject(0).GetNumberOfCells() == 3


def test_an_error_at_a_step_is_reported_once_and_the_next_step_works(messages, training, tmp_path):
    training.SetUseDirectionsStep(1)
    training.SetDirectionsStep(0.0)
    (tmp_path / "step_10.pt").write_text("junk")
    for time in (0.0, 10.0, 20.0):
        training.UpdateTimeStep(time)
        training.UpdateTimeStep(time)
    assert len(messages) == 1
    assert training.GetOutputDataObject(1).GetDimensions() == (9, 9, 1)
    assert training.GetOutputDataObject(1).GetPointData().GetArray(names.LOSS) is not None


def test_a_slice_of_a_part_or_of_one_direction_is_reported(messages):
    source, part = wells(5), TLPLandscapeSlice()
    source.SetArguments("n=1")
    source.SetNumberOfDirections(1)
    part.SetInputConnection(source.GetOutputPort(0))
    run(part)
    assert "a slice needs a landscape of two or more directions" in messages[-1][1]
    some = vtkUnstructuredGrid()
    some.ShallowCopy(source.GetOutputDataObject(0))
    some.SetPoints(vtk_bridge.make_points(np.zeros((2, 3))))
    part.SetInputDataObject(some)
    run(part)
    assert "a slice needs all 5 samples of the grid in their order, got 2" in messages[-1][1]


@pytest.mark.parametrize("change", ["fewer", "another order", "cell centres"])
def test_a_grid_graph_refuses_points_that_are_no_longer_the_grid(messages, change):
    source = wells(9)
    run(source)
    grid = source.GetOutputDataObject(0)
    if change == "fewer":
        changed = vtkMaskPoints()
        changed.SetOnRatio(3)
    elif change == "cell centres":
        lines = TLPNeighborGraph()
        lines.SetInputConnection(source.GetOutputPort(0))
        run(lines)
        grid = lines.GetOutputDataObject(0)
        changed = vtkCellCenters()
    else:
        changed = vtkTrivialProducer()
        grid.GetPointData().GetArray(names.SAMPLE_ID).SetValue(0, 5)
    if change == "another order":
        changed.SetOutput(grid)
    else:
        changed.SetInputData(grid)
    graph = TLPNeighborGraph()
    graph.SetInputConnection(changed.GetOutputPort())
    run(graph)
    ((kind, text),) = messages
    assert kind == "error"
    assert "a grid graph needs all 81 samples of the grid in their order" in text
    assert graph.GetOutputDataObject(0).GetNumberOfPoints() == 0


def test_a_table_of_blocks_follows_time_and_reports_bad_files(tmp_path, capfd):
    from tlp_paraview.block_table import TLPBlockTable

    path = tmp_path / "blocks.csv"
    path.write_text("step,group,loss,landscape,key\n1,block 0,2.0,a,k\n5,block 0,1.0,b,k\n")
    table = TLPBlockTable()
    table.SetFileName(str(path))
    for time, right in ((1.0, 2.0), (5.0, 4.0)):
        table.UpdateInformation()
        table.UpdateTimeStep(time)
        table.Update()
        assert table.GetOutputDataObject(0).GetNumberOfCells() == 2
        assert table.GetOutputDataObject(2).GetBounds()[1] == right
    path.write_text("a,b\n1,2\n")
    table.Refresh()
    table.Update()
    assert "TLP Block Table: " in capfd.readouterr().err
    assert table.GetOutputDataObject(0).GetNumberOfCells() == 0
