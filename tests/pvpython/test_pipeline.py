"""Tests of the plugin in pvpython: loading, pipelines, error messages, with TTK and without."""

import ast
import inspect
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.paraview_programs import ROOT, run, run_snippets
from tlp_core import hessian_directions, landscape_profile, load_problem, sample_grid
from tlp_core.topology.landscape_tree import landscape_tree

pytestmark = pytest.mark.paraview

MACRO = ROOT / "plugins/tlp_paraview/macros/loss_landscape_profile.py"

PROPERTIES = {
    "TLPLossLandscape": (
        "Arguments BatchLosses Checkpoint CheckpointFolder Checkpoints CoarseResolutions DataState "
        "DirectionMethod DirectionsStep Distance DistanceByRise Engine GeometricSpacing "
        "InBackground LargeGrid "
        "MaxIterations ModelFolder Nearest Normalization NumberOfDirections NumberOfSamples Order "
        "Parameters Preset Problem ProblemFile ProblemFunction ReadAgain Refresh Region "
        "Resolution Rise Sampling Seed Solutions StepDirections StopSampling Store TimeBudget "
        "TimestepValues Tolerance UseDirectionsStep UseTimeBudget"
    ),
    "TLPLandscapeReader": "DataState FileName Folder FollowFiles ReadAgain Refresh TimestepValues",
    "TLPBlockTable": "FileName Refresh TimestepValues",
    "TLPNeighborGraph": (
        "CheckForTTK Graph GridRule ImplicitGraph Input NeighborMethod NeighborRule "
        "NumberOfNeighbors Seed UseNumberOfNeighbors"
    ),
    "TLPMergeTree": "Input ScalarField",
    "TLPTreeSimplification": (
        "Arcs FalseDiscoveryRate LeaveOutNoise LogarithmicPersistence MaxMinima Nodes "
        "PersistenceThreshold RelativeThreshold ScalarField Segmentation UseMaxMinima"
    ),
    "TLPLandscapeProfile": (
        "Arcs FalseDiscoveryRate HeightScale KeepPlaces LogarithmicLoss LossRange MarkNoise "
        "MaxMinima Nodes Order PersistenceThreshold ScalarField Segmentation Tolerance "
        "UseHeightScale UseLossRange Width"
    ),
    "TLPLandscapeDescriptors": (
        "Arcs MaxMinima Nodes PersistenceThreshold ScalarField Segmentation"
    ),
    "TLPTreeEnsemble": (
        "AllSteps Arcs DiagramDistance Nodes RelativeLosses ScalarField Segmentation"
    ),
    "TLPBasinTracking": "Array Input Overlap",
    "TLPDistanceMap": "Distances Ensemble",
    "TLPTreeBarycenter": "Barycenters Cluster Matchings Trees",
    "TLPLandscapeSlice": "Directions Input Position",
}


BUILD = """
import sys
from tlp_paraview import pipeline
with pipeline.pipeline_errors() as errors:
    built = pipeline.build(TLPLossLandscape({options}))
print("filter", built.tree_filter)
print("basins", built.profile.GetDataInformation().GetNumberOfCells())
sys.exit(1 if errors else 0)
"""

BAD_INPUTS = {
    "Resolution=40": "resolution must be odd, so that the centre sample is the model itself",
    "Resolution=1": "resolution must be odd and >= 3, got 1",
    "NumberOfDirections=3": "n must be at most the number of parameters, 2, got 3",
    "Problem='no.py'": "Problem must be one of two-wells, ",
    "Problem='file', ProblemFile='no.py'": "or a Python file; found no file '/",
    "Problem='file', ProblemFile='bad.py'": "bad.py must parse: line 1",
    "Problem='file', ProblemFile='empty.py'": "must define a function make_problem",
    "Problem='file', ProblemFile='raises.py'": "raised ZeroDivisionError: division by zero",
    "Problem='file', ProblemFile='vector.py'": "must return a scalar, got shape",
    "Problem='file', ProblemFile='infinite.py'": "must be finite at the model itself",
    "Problem='file', ProblemFile='constant.py'": "must depend on the model's parameters",
    "Problem='pinn-convection', Checkpoint='other.pt'": "must fit the network of",
}

CONTRACT = f"""
for name in {list(PROPERTIES)}:
    print(name, *sorted(globals()[name](registrationName=name).ListProperties()))
"""

UNRUN = """
source = TLPLossLandscape(Resolution=9)
graph = TLPNeighborGraph(Input=source)
tree = TLPMergeTree(Input=graph)
profile = TLPLandscapeProfile(Nodes=tree[0], Arcs=tree[1], Segmentation=tree[2])
profile.UpdatePipeline()
print('basins', profile.GetDataInformation().GetNumberOfCells())
"""

IMPLICIT = """
source = TLPLossLandscape(Resolution=9)
for choice in ('on', 'off', 'automatic'):
    graph = TLPNeighborGraph(Input=source, ImplicitGraph=choice)
    tree = TLPMergeTree(Input=graph)
    profile = TLPLandscapeProfile(Nodes=tree[0], Arcs=tree[1], Segmentation=tree[2])
    profile.UpdatePipeline()
    lines = graph.GetDataInformation().GetNumberOfCells()
    print('lines', lines, profile.GetDataInformation().GetNumberOfCells())
    part = TLPTreeSimplification(Nodes=tree[0], Arcs=tree[1], Segmentation=tree[2])
    part.UseMaxMinima = part.MaxMinima = 1
    profile = TLPLandscapeProfile(Nodes=part[0], Arcs=part[1], Segmentation=part[2])
    profile.UpdatePipeline()
    print('one', profile.GetDataInformation().GetNumberOfCells())
"""

UNFIT = """
import numpy as np
from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid
from tlp_core import vtk_bridge
from tlp_core.topology.graphs import EdgeGraph
from tlp_paraview import pipeline
from paraview import simple
kept = pipeline.ttk_filter
pipeline.ttk_filter = lambda: simple.TLPMergeTree  # replaces TTK's filter, which may be missing


def samples(losses, directions=2):
    data = vtkUnstructuredGrid()
    points = np.zeros((len(losses), 3))
    points[:, 0] = range(len(losses))
    data.SetPoints(vtk_bridge.make_points(points))
    vtk_bridge.add_array(data.GetPointData(), "Loss", np.array(losses))
    vtk_bridge.add_array(data.GetPointData(), "Coordinates", points[:, :directions])
    path = np.stack([np.arange(len(losses) - 1), np.arange(1, len(losses))], axis=1)
    graph = EdgeGraph(number_of_samples=len(losses), edges=path)
    producer = TrivialProducer()
    producer.GetClientSideObject().SetOutput(vtk_bridge.with_graph(data, graph, "path"))
    producer.UpdatePipeline()
    return producer


grid = TLPNeighborGraph(Input=TLPLossLandscape(Resolution=5), ImplicitGraph="on")
grid.UpdatePipeline()
for graph in (samples([0., 3., 1.]), samples([0., 1., 2.], directions=1), samples([]), grid):
    print("printed:", pipeline._merge_tree(graph)[1])
pipeline.ttk_filter = kept
"""

RAISED = """
from tlp_paraview import pipeline
try:
    pipeline.build(TLPLossLandscape(Resolution=40), raise_errors=True)
except RuntimeError as error:
    print("raised:", error)
print("filter", pipeline.build(TLPLossLandscape(Resolution=5), raise_errors=True).tree_filter)
"""

WRITTEN = """
from paraview import simple
from tlp_paraview import pipeline, views
built = pipeline.build(TLPLossLandscape(Resolution=9), threshold=0.01)
simple.SaveData("basins.csv", built.profile, FieldAssociation="Cell Data", Precision=12)
views.save_vector_graphics("wells.svg", [built, built], panels=["profile", "landscape"])
for path, pipelines in (("wells.tif", [built]), ("none.svg", [])):
    try:
        views.save_vector_graphics(path, pipelines)
    except ValueError as error:
        print("refused:", error)
"""

BACKGROUND = """
import os, time
from tlp_paraview import follow

def is_alive(process):
    end = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    return process.poll() is None

def started():
    source = TLPLossLandscape(Problem="pinn-convection", Resolution=401, InBackground=1)
    source.UpdatePipeline()
    return source, source.GetClientSideObject()._background._process

source, process = started()
source.InBackground = 0
source.UpdateVTKObjects()
print("off ends it", not is_alive(process))
Delete(source)
source, process = started()
Delete(source)
del source
print("deleting ends it", not is_alive(process))
source = TLPLossLandscape(Resolution=21, InBackground=1)
source.UpdatePipeline()
print("points at once", source.GetDataInformation(0).GetNumberOfPoints())
follow.wait(source, timeout=100)
print("points", [source.GetDataInformation(port).GetNumberOfPoints() for port in (0, 1)])
waiting = TLPLossLandscape(Resolution=21)
waiting.UpdatePipeline()
print("same", source.PointData["Loss"].GetRange(0) == waiting.PointData["Loss"].GetRange(0))
source.Arguments = "nonsense=1"
try:
    follow.wait(source, timeout=100)
except RuntimeError as error:
    print("raised:", error)
print("points", [source.GetDataInformation(port).GetNumberOfPoints() for port in (0, 1)])
"""

GROWING = """
import threading, time
from pathlib import Path
import numpy as np
from tlp_core import Landscape
from tlp_paraview import follow

def save(step, count):
    known = np.arange(25).reshape(5, 5) < count
    losses = np.where(known, np.arange(25.0).reshape(5, 5), np.nan)
    Landscape(losses, np.ones(2), known).save(f"unfinished_{step}.zarr")
    Path(f"unfinished_{step}.zarr").rename(f"grown_{step}.zarr")

save(0, 25)
reader = TLPLandscapeReader(FileName=[str(Path("grown_*.zarr").absolute())], FollowFiles=1)
reader.UpdatePipeline()
for step, count in ((10, 12), (20, 25)):
    threading.Timer(0.3, save, (step, count)).start()
    print("steps", follow.wait_for_change(reader, timeout=30, every=0.05))
    reader.UpdatePipeline(step)
    finite = reader.PointData["IsFinite"].GetRange(0)
    print("finite", step, finite)
save(30, 25)  # between the last reading and the next call
print("steps", follow.wait_for_change(reader, timeout=30, every=0.05))
for refused in (
    lambda: follow.wait_for_change(reader, timeout=0.2, every=0.05),
    lambda: follow.wait_for_change(TLPLandscapeReader(FileName=["grown_0.zarr"])),
    lambda: follow.wait(reader),
):
    try:
        refused()
    except (TimeoutError, ValueError) as error:
        print("refused:", error)
nothing = TLPLandscapeReader(FollowFiles=1)
nothing.UpdatePropertyInformation()
print("state", repr(follow.state_of(nothing)["is_running"]))
"""

THREADS = """
import numpy, torch
from threadpoolctl import threadpool_info
from tlp_core.model_state import use_threads


def counts():
    return [one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"]


before = counts()
with use_threads(1):
    inside = counts()
print("libraries", len(before) > 0, "inside", set(inside), "restored", counts() == before)
"""

SNIPPETS = {
    "threads": THREADS,
    "contract": CONTRACT,
    "unrun": UNRUN,
    "build": BUILD.format(options="Arguments='n=3', NumberOfDirections=3, Resolution=9"),
    "implicit": IMPLICIT,
    **{options: BUILD.format(options=options) for options in BAD_INPUTS},
    "unfit": UNFIT,
    "raised": RAISED,
    "written": WRITTEN,
    "background": BACKGROUND,
    "growing": GROWING,
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Return the results of the snippets by name; one pvpython runs them all."""
    folder = tmp_path_factory.mktemp("snippets")
    write_bad_problems(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TLP_TTK_PLUGIN", raising=False)
        return {**run_snippets(SNIPPETS, folder), "folder": folder}


def test_the_launcher_loads_the_plugin_and_properties_are_a_contract(ran):
    lines = ran["contract"].text.splitlines()
    found = dict(line.split(" ", 1) for line in lines if line.startswith("TLP"))
    assert found == PROPERTIES


def test_filters_can_be_connected_before_any_has_run(ran):
    assert ran["unrun"].errors == []
    assert "basins 3" in ran["unrun"].text


def test_build_reports_which_merge_tree_filter_it_uses(ran):
    done = ran["build"]
    assert done.code == 0
    assert "basins 3" in done.text
    assert re.search("filter (TTK's merge tree filter|TLP Merge Tree)", done.text)


@pytest.mark.parametrize(("options", "message"), BAD_INPUTS.items())
def test_bad_input_gives_one_sentence_an_exit_code_and_empty_outputs(ran, options, message):
    done = ran[options]
    assert done.code == 1
    assert "basins 0" in done.text
    assert len(done.errors) == 1, done.text
    assert "TLP Loss Landscape: " in done.errors[0]
    assert message in done.errors[0]


def test_build_raises_errors_on_request(ran):
    lines = ran["raised"].text.splitlines()
    (raised,) = (line for line in lines if line.startswith("raised: "))
    assert raised.startswith("raised: TLP Loss Landscape: resolution must be odd")
    assert "ERR" not in raised
    assert any(line.startswith("filter ") for line in lines)


def test_a_profile_is_written_as_vector_graphics_and_as_a_table(ran):
    assert "refused: a picture must end in .svg, .pdf, .png, got wells.tif" in ran["written"].text
    assert "refused: a picture must show at least one" in ran["written"].text
    folder = ran["folder"]
    basins = np.genfromtxt(folder / "basins.csv", delimiter=",", names=True)
    problem = load_problem("two-wells")
    landscape = sample_grid(problem, hessian_directions(problem, 2), resolution=9, distance=1.0)
    own = landscape_profile(landscape_tree(landscape, threshold=0.01)).basins
    for column, values in (
        ("Birth", own.birth),
        ("Death", own.death),
        ("Persistence", own.persistence),
        ("AverageLoss", own.average_loss),
        ("Size", own.size),
    ):
        assert np.sort(basins[column]) == pytest.approx(np.sort(values), rel=1e-5), column
    text = (folder / "wells.svg").read_text(encoding="utf-8")
    assert text.count("two wells, 2 parameters") == 2
    assert "average loss" in text


def test_a_script_waits_for_samples_in_the_background(ran):
    text = ran["background"].text
    assert "points at once 0" in text
    assert "points [441, 441]\nsame True\n" in text
    assert text.count("points [0, 0]") == 1
    assert "off ends it True" in text
    assert "deleting ends it True" in text
    assert "raised: arguments of two-wells must fit" in text
    (error,) = ran["background"].errors
    assert "TLP Loss Landscape: arguments of two-wells must fit" in error


def test_a_script_waits_for_files_that_grow(ran):
    done = ran["growing"]
    assert done.code == 0, done.text
    assert done.errors == []
    assert "steps [0.0, 10.0]\nfinite 10 (0.0, 1.0)\n" in done.text
    assert "steps [0.0, 10.0, 20.0]\nfinite 20 (1.0, 1.0)\n" in done.text
    assert "steps [0.0, 10.0, 20.0, 30.0]\n" in done.text
    assert "refused: nothing has changed in the files of the reader in 0.2 s" in done.text
    assert "refused: a script can wait for a TLP Landscape Reader with Follow Files" in done.text
    assert "refused: a script can wait for the end of a TLP Loss Landscape with" in done.text
    assert "state True" in done.text


def test_an_implicit_graph_gives_the_same_profile(ran):
    assert ran["implicit"].errors == []
    lines = ran["implicit"].text.splitlines()
    found = [line for line in lines if line.startswith(("lines", "one"))]
    assert found == ["lines 81 3", "one 1", "lines 272 3", "one 1", "lines 272 3", "one 1"]


def test_the_built_in_filter_replaces_ttks_and_gives_the_reason(ran):
    printed = [line for line in ran["unfit"].text.splitlines() if line.startswith("printed:")]
    crashes = "TTK's filter crashes where the highest sample joins several basins"
    reasons = (
        crashes,
        crashes,
        "the tree is empty",
        "the graph is implicit, and TTK's filter needs its lines",
    )
    wanted = [f"printed: TLP Merge Tree (built in: {reason})" for reason in reasons]
    assert printed == wanted, ran["unfit"].text


def write_bad_problems(folder):
    import torch

    frame = """
        import torch
        from tlp_core import Problem
        def make_problem():
            model = torch.nn.Linear(2, 2)
            return Problem(model, lambda m, b: {loss}, [torch.ones(3, 2)], name="bad")
    """
    losses = {
        "raises": "1 / 0",
        "vector": "m(b)",
        "infinite": "m(b).mean() / 0",
        "constant": "b.mean()",
    }
    for name, loss in losses.items():
        (folder / f"{name}.py").write_text(inspect.cleandoc(frame.format(loss=loss)))
    (folder / "bad.py").write_text("def make_problem(:\n")
    (folder / "empty.py").write_text("x = 1\n")
    torch.save(torch.nn.Linear(2, 3).state_dict(), folder / "other.pt")


def test_without_its_python_path_the_plugin_names_the_missing_package(launcher, tmp_path):
    program = re.search(r'exec "(.*)" "\$@"', launcher("pvpython").read_text()).group(1)
    plugin = ROOT / "plugins" / "TopologicalLandscapeProfiles.xml"
    script = tmp_path / "script.py"
    script.write_text(
        "from paraview.simple import *\n"
        f"LoadPlugin({str(plugin)!r}, remote=False, ns=globals())\n"
        "TLPLossLandscape()\n"
    )
    done = run(["env", "-u", "PYTHONPATH", program, "--dr", "--", script], tmp_path)
    assert "No module named 'tlp_paraview'" in done.text


SINGLE_FILE = """
import inspect
inspect.getargspec = getattr(inspect, "getargspec", inspect.getfullargspec)  # 5.11, Python 3.11
LoadPlugin({plugin!r}, remote=False, ns=globals())
source = TLPLossLandscape(Resolution=5)
source.UpdatePipeline()
print("samples", source.GetDataInformation().GetNumberOfPoints())
"""


def test_the_single_file_plugin_finds_its_packages(launcher, tmp_path):
    text = launcher("pvpython").read_text()
    program = re.search(r'exec "(.*)" "\$@"', text).group(1)
    packages = re.search(r"[^:\"]*site-packages", text).group(0)
    script = tmp_path / "script.py"
    plugin = ROOT / "plugins" / "TopologicalLandscapeProfiles.py"
    script.write_text("from paraview.simple import *\n" + SINGLE_FILE.format(plugin=str(plugin)))
    found = run(["env", f"PYTHONPATH={packages}", program, "--dr", "--", script], tmp_path)
    assert found.errors == []
    assert "samples 25" in found.text
    moved = tmp_path / "TopologicalLandscapeProfiles.py"
    moved.write_text(plugin.read_text())
    script.write_text("from paraview.simple import *\n" + SINGLE_FILE.format(plugin=str(moved)))
    lost = run(["env", "-u", "PYTHONPATH", program, "--dr", "--", script], tmp_path)
    assert re.search(r"the Python package \w+ must be on ParaView's Python path", lost.text)


DEMO = """
from pathlib import Path
from tlp_core.problems import pinn_convection
from tlp_paraview import demo
demo.RESOLUTION = 5
train = pinn_convection.train
pinn_convection.train = lambda *a, **k: train(*a, iterations=50, **k)
code = demo.main(Path("demo").resolve())
print("again", flush=True)
for beta in demo.BETAS:
    demo.trained_checkpoint(beta, Path("demo"))
import sys
sys.exit(code)
"""


STRANGER = """
import torch
from tlp_core import Problem

open({log!r}, "a").write({name!r})


def make_problem():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1, bias=False)
    return Problem(model, lambda m, b: m.weight.square().sum(), [torch.zeros(1)], name="a")
"""

FILE_OF = """
from paraview import servermanager
from tlp_paraview import pipeline
{make}
source = FindSource("Source")
source.UpdatePipeline()
fields = servermanager.Fetch(source).GetFieldData()
print("provenance", fields.GetAbstractArray("Provenance").GetValue(0))
{then}
"""

SOURCE = """
source = TLPLossLandscape(
    registrationName="Source", Problem="file", ProblemFile={file!r}, Store={store!r}, Resolution=3
)
"""


def test_a_relative_name_never_means_a_strangers_file_in_the_working_directory(tmp_path):
    """Beside the state file, then in the suite's folder, then in the working directory."""
    for text, name in (("stranger", "two_moons"), ("own", "other")):
        log = str(tmp_path / "ran.txt")
        (tmp_path / f"{name}.py").write_text(STRANGER.format(log=log, name=text))
    files = {
        "two_moons.py": ROOT / "state_files" / "two_moons.py",
        "other.py": tmp_path / "other.py",
    }
    snippets = {
        name: FILE_OF.format(make=SOURCE.format(file=name, store=""), then="") for name in files
    }
    found = run_snippets(snippets, tmp_path)
    for name, file in files.items():
        assert found[name].errors == []
        assert f'"problem_file": "{file}"' in found[name].text, name
        assert f"runs the code of {file}" in found[name].text, name
    assert (tmp_path / "ran.txt").read_text() == "own"


def test_a_moved_folder_opens_with_its_files_and_its_store(tmp_path):
    """States of the suite have relative paths, and those of ParaView absolute ones."""
    study, moved = tmp_path / "study", tmp_path / "moved"
    study.mkdir()
    log = str(tmp_path / "ran.txt")
    for name, place in {"beside": study, "stranger": tmp_path}.items():
        (place / "own.py").write_text(STRANGER.format(log=log, name=name))
    save = f"""
pipeline.save_state({str(study / "suite.pvsm")!r})
SaveState({str(study / "paraview.pvsm")!r})
import os
os.rename({str(study)!r}, {str(moved)!r})
"""
    make = SOURCE.format(file=str(study / "own.py"), store=str(study / "own.zarr"))
    show = "print('file', source.ProblemFile)"
    snippets = {"saved": FILE_OF.format(make=make, then=save)}
    for name in ("suite", "paraview"):
        state = str(moved / f"{name}.pvsm")
        snippets[name] = FILE_OF.format(make=f"LoadState({state!r})", then=show)
    found = run_snippets(snippets, tmp_path)
    for name, folder in {"saved": study, "suite": moved, "paraview": moved}.items():
        assert found[name].errors == []
        assert f"runs the code of {folder / 'own.py'}" in found[name].text, name
    assert "file own.py" in found["suite"].text
    for name in ("own.py", "own.zarr"):
        sentence = f"{study / name} does not exist; {moved / name}, beside the state file, is used"
        assert sentence in found["paraview"].text
        assert sentence not in found["suite"].text
    assert (tmp_path / "ran.txt").read_text() == "beside" * 3
    assert sorted(tmp_path.rglob("*.zarr")) == [moved / "own.zarr"]


OPENED = """
import numpy as np
from tlp_core import load_problem, random_directions, sample_grid
from tlp_paraview import pipeline
pipeline.load_plugin()
problem = load_problem("two-wells")
directions = random_directions(problem, 2, normalization="none")


def sample(name, resolution):
    sample_grid(problem, directions, resolution=resolution, distance=1.0, store=name)


def show(name, opened):
    opened.UpdatePipeline()
    points = opened.GetDataInformation().GetNumberOfPoints()
    print(name, opened.SMProxy.GetXMLName(), points, pipeline.steps_of(opened))


sample("step1.zarr", 5)
sample("step2.zarr", 5)
np.savez("theirs.npz", loss=np.ones((3, 3)), coordinates=np.linspace(-1, 1, 3) * np.ones((2, 1)))
show("one", OpenDataFile("step1.zarr"))
show("series", OpenDataFile(["step2.zarr", "step1.zarr"]))
import os
os.mkdir("landscapes")
for name in ("step1", "step2"):
    os.symlink(os.path.abspath(name + ".zarr"), "landscapes/" + name + ".zarr")
show("folder", OpenDataFile("landscapes"))
show("import", OpenDataFile("theirs.npz"))
changed = OpenDataFile("step1.zarr")
show("old", changed)
import shutil
shutil.rmtree("step1.zarr")
sample("step1.zarr", 7)
ReloadFiles(changed)
show("new", changed)
"""


def test_stores_and_imports_are_opened_as_files_and_reloaded(tmp_path):
    """As File > Open and Reload Files do."""
    opened = run_snippets({"opened": OPENED}, tmp_path)["opened"]
    assert opened.code == 0, opened.text
    assert opened.errors == []
    for line in (
        "one TLPLandscapeReader 25 []",
        "series TLPLandscapeReader 25 [1.0, 2.0]",
        "folder TLPLandscapeReader 25 [1.0, 2.0]",
        "import TLPLandscapeReader 9 []",
        "old TLPLandscapeReader 25 []",
        "new TLPLandscapeReader 49 []",
    ):
        assert line in opened.text


def test_a_limit_of_threads_reaches_the_linear_algebra_of_paraview(ran):
    """Torch's own setting does not: its products are then those of the system's OpenBLAS."""
    text = ran["threads"].text
    if "libraries False" in text:
        pytest.skip("ParaView has loaded no linear algebra of several threads")
    assert "libraries True inside {1} restored True" in text


@pytest.mark.exhaustive
def test_the_demo_writes_its_files_and_trains_once(run_pvpython, tmp_path):
    first = run_pvpython(DEMO, display=True)
    assert first.code == 0, first.text
    assert first.errors == []
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    expected = {"profiles_side_by_side.png"}
    for beta in (1, 30):
        stem = f"pinn_convection_beta{beta}"
        endings = (".png", ".pt", "_basins.vtp", "_samples.vtu", "_descriptors.csv")
        expected |= {stem + ending for ending in endings}
    assert names == expected
    for picture in (tmp_path / "demo").glob("*.png"):
        check_picture(picture)
    assert str(tmp_path / "demo") in first.text
    assert "merge tree by" in first.text
    assert "landscape: 100%" in first.text
    first_run, _, second_run = first.text.partition("again")
    assert first_run.count("training: 100%") == 2
    assert "training" not in second_run
    assert second_run.count("using pinn_convection_beta") == 2


def check_picture(path):
    """Check that a picture has the colours of the paper, and that nothing is cut off."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    assert pixels.shape == (900, 1600, 3)
    red, green, blue = np.moveaxis(pixels, -1, 0)
    assert ((red > 140) & (green < 60) & (blue < 60)).sum() > 20
    assert ((blue > red + 30) & (blue >= green)).sum() > 15_000
    assert (pixels.min(axis=-1) > 250).sum() > 400_000
    assert pixels[[0, -1]].min() > 200, "nothing is cut off"


RANKS = """
import sys
from paraview.simple import *
from tlp_paraview import pipeline

for store in sys.argv[1:]:
    with pipeline.pipeline_errors() as errors:
        store = store.removeprefix("memory")
        built = pipeline.build(TLPLossLandscape(Resolution=9, Store=store))
    basins = built.profile.GetDataInformation().GetNumberOfCells()
    print("basins", basins, errors)
"""


@pytest.mark.exhaustive
@pytest.mark.skipif(not shutil.which("mpiexec"), reason="no mpiexec")
def test_pvbatch_on_two_ranks_gives_the_profile_of_one(launcher, tmp_path):
    """With a store, both ranks sample; without one, the first does."""
    script = tmp_path / "script.py"
    script.write_text(RANKS)
    root = ["env", "OMPI_ALLOW_RUN_AS_ROOT=1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"]
    mpiexec = [*root, "OMPI_MCA_rmaps_base_oversubscribe=1", "mpiexec", "-n", "2"]
    done = run([*mpiexec, launcher("pvbatch"), script, "two.zarr", "memory"], tmp_path)
    assert done.code == 0, done.text
    assert done.errors == []
    assert done.text.count("basins 3 []") == 2
    run([launcher("pvbatch"), script, "one.zarr"], tmp_path)
    one, two = (
        {p.relative_to(tmp_path / s): p.read_bytes() for p in (tmp_path / s).rglob("c/*/*")}
        for s in ("one.zarr", "two.zarr")
    )
    assert len(one) == 9
    assert one == two


STOPPED = """
import os, signal, sys, time
from tlp_paraview.commands import run_command


def wait():
    os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C
    time.sleep(60)


sys.exit(run_command("experiment", wait))
"""


def test_a_stopped_command_reports_it_in_one_line(run_pvpython):
    done = run_pvpython(STOPPED)
    assert done.code == 3
    assert "experiment: stopped; the same command resumes it" in done.text
    assert "FATL" not in done.text


@pytest.mark.exhaustive
def test_an_experiment_writes_pictures_and_a_state_file(resnet_experiment, run_pvpython, tmp_path):
    """The command reuses the results of ``tlp experiment``, and draws them."""
    shutil.copytree(resnet_experiment.folder, tmp_path / "resnet")
    trained = (tmp_path / "resnet" / "descriptors.csv").read_bytes()
    done = run_pvpython(
        "import sys\nfrom tlp_paraview import experiment\n"
        "sys.exit(experiment.main(['resnet', '--size', 'quick', '-o', 'resnet']))\n",
        display=True,
    )
    assert done.code == 0, done.text
    assert done.errors == []
    assert "| a better model has fewer saddles |" in done.text
    assert (tmp_path / "resnet" / "descriptors.csv").read_bytes() == trained
    files = (path for path in (tmp_path / "resnet").iterdir() if path.is_file())
    left = {path.name for path in files if not path.name.startswith(".")}  # no lock
    assert left == {
        "claims.csv",
        "claims.md",
        "descriptors.csv",
        "experiment.json",
        "landscapes.csv",
        "profiles_2D.png",
        "profiles_2D.pvsm",
        "number_of_saddles_over_hessian_trace_2D.png",
        "rows.csv",
        "number_of_saddles_over_test_accuracy_2D.png",
        "training_2D.png",
    }
    with Image.open(tmp_path / "resnet" / "training_2D.png") as picture:
        assert picture.size == (1080, 4 * 228)
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    for color in (31, 99, 168), (43, 153, 89):  # colours of the lines with and without skips
        assert (np.abs(pixels - color).max(axis=2) <= 1).sum() > 100
    again = run_pvpython(
        "LoadState('resnet/profiles_2D.pvsm')\nfrom tlp_paraview import pipeline, views\n"
        "print('profiles', len(pipeline.all_profiles()))\nviews.close_views()\n",
        display=True,
    )
    assert again.errors == []
    assert "profiles 2" in again.text


COLORS = """
import numpy as np
import paraview
from tlp_core import Landscape
from tlp_paraview import fitting, pipeline, roles, views

x = np.linspace(-1, 1, 9)
wells = (np.square(x)[:, None] - 0.3) ** 2 + np.square(x)
for name, losses in (("wells", 0.01 + 50 * wells), ("flat", 2.303 + 1e-3 * wells)):
    Landscape(losses, np.ones(2), np.ones(losses.shape, dtype=bool)).save(name + ".zarr")
    built = pipeline.build(TLPLandscapeReader(FileName=[name + ".zarr"]))
    layout = views.show_landscape(built)
    view = GetActiveView()
    built.simplification.MaxMinima = 1
    for log in (0, 1, 0):
        for minima in (1, 0):
            built.profile.LogarithmicLoss, built.simplification.UseMaxMinima = log, minima
            built.profile.UpdatePipeline()
            fitting.fit_layout(layout)
            colors = fitting.basins_in(view)[0].LookupTable
            (bar,) = roles.visible(view, roles.Role.COLOR_BAR)
            averages = built.profile.CellData["AverageLoss"].GetRange(0)
            points = list(colors.RGBPoints)[::4]
            middle = (points[3] - points[0]) / (points[-1] - points[0])
            print("colors", name, log, minima, colors.UseLogScale, round(middle, 2),
                  np.isclose(points[0], averages[0]), np.isclose(points[-1], averages[1]),
                  averages[0], averages[1], bar.AddRangeLabels, *bar.CustomLabels)
    print("title", name, repr(fitting.views_of(layout)[0].AxesGrid.ZTitle))
    grid = view.AxesGrid
    automatic = bar.AutomaticLabelFormat
    print("labels", name, bar.RangeLabelFormat, automatic, grid.YAxisNotation, grid.YAxisPrecision)
print("version", paraview.__version__)
"""

FAINT = """
import numpy as np
from paraview import servermanager
from tlp_core import Landscape
from tlp_paraview import fitting, pipeline, roles, styles, versions, views, zoom


def shown(path):
    built = pipeline.build(TLPLandscapeReader(FileName=[path]))
    view = styles.empty_view()
    views.show_profile(built, view)
    fitting.fit(view, (400, 400))
    return view


x = np.linspace(-1, 1, 41)
narrow = 1 + np.square(x)[:, None] + np.square(x)
narrow[33, 30] = -1  # one of 1,681 samples, with the lower half of the axis to itself
Landscape(narrow, np.ones(2), np.ones(narrow.shape, dtype=bool)).save("narrow.zarr")
view = shown("narrow.zarr")
SaveScreenshot("narrow.png", view, ImageResolution=(400, 400))
view.ViewSize = (400, 400)
profile = fitting.profiles_in(view)[0]
sizes = profile.CellData["Size"].GetRange(0)
chosen = servermanager.sources.ThresholdSelectionSource(
    ArrayName="Size", Thresholds=[sizes[0], sizes[0]], FieldType="CELL")
profile.SMProxy.SetSelectionInput(0, versions.appended_selection(chosen), 0)
print("zoomed", sizes[0], zoom.zoom_into_basins(view))
profile.SMProxy.SetSelectionInput(0, None, 0)
SaveScreenshot("zoomed.png", view, ImageResolution=(400, 400))
print("back", zoom.zoom_into_basins(view), fitting.camera_was_moved(view))
view.CameraParallelScale /= 3  # into the wide basin, which is larger than the axes now
fitting.fit(view, (400, 400), keep_camera=True)
SaveScreenshot("part.png", view, ImageResolution=(400, 400))
profile.SMProxy.SetSelectionInput(0, versions.appended_selection(chosen), 0)
chosen.Thresholds = [2, profile.CellData["Size"].GetRange(0)[1]]
view.CameraParallelScale /= 4
fitting.fit(view, (400, 400), keep_camera=True)
SaveScreenshot("selected.png", view, ImageResolution=(400, 400))
views.close_views()
try:
    zoom.zoom_into_basins()
except RuntimeError as error:
    print("refused:", error)
x = np.linspace(-1, 1, 21)
well = np.square(x)[:, None] + np.square(x)
noise = np.random.default_rng(0).normal(size=(16, 21, 21))
for name, batches in (("certain", well + 0 * noise), ("noisy", well + 3 * noise)):
    sizes = {"batch_sizes": [4] * 16}
    evaluated = np.ones(well.shape, dtype=bool)
    landscape = Landscape(batches.mean(0), np.ones(2), evaluated, sizes, batch_losses=batches)
    landscape.save(name + ".zarr")
    view = shown(name + ".zarr")
    (faint,) = roles.visible(view, roles.Role.FAINT_BASINS)
    texts = [s.Text for s in GetSources().values() if hasattr(s, "Text")]
    SaveScreenshot(name + ".png", view, ImageResolution=(400, 400))
    has_cells = int(faint.Input.GetDataInformation(6).GetNumberOfCells() > 0)
    has_legend = "pale: noise?" in texts
    print("faint", name, faint.Opacity < 1, has_legend, has_cells, view.AxesGrid.XTitle)
    views.close_views()
nearest = {"nearest": 0.1}
Landscape(well, np.ones(2), evaluated, nearest).save("geometric.zarr")
print("faint", "geometric", shown("geometric.zarr").AxesGrid.XTitle)
"""

SCRIPTED = """
# what a script changes after it has shown a landscape, and views that were closed
import gc
import runpy
import numpy as np
from tlp_core import Landscape
from tlp_paraview import fitting, pipeline, roles, views

x = np.linspace(-1, 1, 9)
wells = 0.1 + (np.square(x)[:, None] - 0.3) ** 2 + np.square(x) + 0.1 * x[:, None]
for step, scale in ((0, 1.0), (5, 40.0)):
    Landscape(scale * wells, np.ones(2), np.ones((9, 9), dtype=bool)).save(f"of_{step}.zarr")
built = pipeline.build(TLPLandscapeReader(FileName=["of_0.zarr"]))
layout = views.show_landscape(built, size=(800, 450))
native, view = fitting.views_of(layout)


def picture(name, size):
    SaveScreenshot(name, layout, ImageResolution=size)
    return [round(each, 3) for each in view.AxesGrid.CustomBounds[2:4]]


camera = fitting.camera_state(native)
for number in range(3):
    picture(f"sized_{number}.png", [600, 338])
print("cameras", fitting.camera_state(native) == camera)
Render(native)
print("first render", fitting.camera_state(native) == camera)
scale = lambda: view.AxesGrid.DataScale[1]
seen = lambda: [round(end / scale(), 3) for end in picture("seen.png", [400, 225])]
print("linear", seen())
built.profile.LogarithmicLoss = 1
print("logarithmic", seen(), [source.Text for source in GetSources().values()
                              if getattr(source, "Text", "").startswith("log")])
built.profile.LogarithmicLoss, built.profile.UseLossRange = 0, 1
built.profile.LossRange = [0, 9]
print("range", seen())
built.profile.UseLossRange = 0

views.show_persistence_diagram(built)
for each in GetRenderViews():
    Delete(each)
del each, native, view
mine = Threshold(registrationName="mine", Input=FindSource("Slice"))
SetActiveSource(built.source)
helpers = len(GetSources())
runpy.run_path(MACRO)
print("shown again", len(GetRenderViews()), len(GetSources()) - helpers)
print("kept", FindSource("Diagonal") is not None, mine.Input.SMProxy.GetXMLName())
Delete(mine)
Delete(pipeline.find_pipeline(built.profile).descriptors)
built.source.FileName = ["of_5.zarr"]
SetActiveSource(built.source)
runpy.run_path(MACRO)
shown = fitting.basins_in(GetRenderViews()[-1])[0]
print("other file", shown.LookupTable.RGBPoints[0] > 4)
views.close_views()

series = pipeline.build(TLPLandscapeReader(FileName=["of_0.zarr", "of_5.zarr"]))
views.show_landscape(series, size=(800, 450))
tree = views.show_tree(series)
(shown,) = fitting.basins_in(fitting.views_of(tree)[0])
before = list(shown.LookupTable.RGBPoints)
GetAnimationScene().AnimationTime = 1
RenderAllViews()
print("tree", before == list(shown.LookupTable.RGBPoints), before[-4] > 10 * before[0])
one = pipeline.build(TLPLossLandscape(Problem="quadratic-bowl", Resolution=9))
views.show_profile(one, CreateRenderView())
one.profile.UseLossRange, one.profile.LossRange = 1, [0, 99]
views.compare_profiles([one])
(bar,) = roles.visible(GetActiveView(), roles.Role.COLOR_BAR)
print("one basin", bar.AddRangeLabels, len(bar.CustomLabels))
Landscape(wells - 1, np.ones(2), np.ones((9, 9), dtype=bool)).save("negative.zarr")
negative = pipeline.build(TLPLandscapeReader(FileName=["negative.zarr"]))
built.profile.LogarithmicLoss = 1
try:
    views.compare_profiles([built, negative])
except ValueError as error:
    print("refused:", error)
try:
    views.compare_stores("of_0.zarr", "none.zarr", logarithmic=True)
except RuntimeError as error:
    print("refused:", error)

built.profile.LogarithmicLoss = 0
built.profile.UpdatePipeline()


def show_and_close():
    for each in fitting.views_of(views.show_landscape(built, size=(400, 200))):
        each.GetRenderWindow().AddObserver("DeleteEvent", lambda *_: print("window freed"))
    views.close_views()


show_and_close()
gc.collect()
"""

SLICED = """
import numpy as np
from tlp_core import Landscape
from tlp_paraview import fitting, pipeline, roles, views

source = TLPLossLandscape(Resolution=5, Arguments="n=4", NumberOfDirections=4)
layout = views.show_landscape(pipeline.build(source), size=(800, 450))
part, view = FindSource("Slice"), fitting.views_of(layout)[0]


def shown():
    (words,) = [t.Text for t in GetSources().values() if "samples" in getattr(t, "Text", "")]
    levels = [s.Isosurfaces[0] for s in GetSources().values() if hasattr(s, "Isosurfaces")]
    return words, view.AxesGrid.XTitle, max(levels)


print("slice", *shown(), sep=" | ")
part.Position = [1.0]
print("slice", *shown(), sep=" | ")
SaveScreenshot("moved.png", view, ImageResolution=(400, 400))  # the first picture of the view
for place in (0.5, 1.0):
    part.Position = [place]
    SaveScreenshot("moved_again.png", view, ImageResolution=(400, 400))
part.Directions, part.Position = [4, 2, 0], [0.0, 0.5]
print("slice", *shown(), sep=" | ")

(bar,) = roles.visible(view, roles.Role.COLOR_BAR)
before = list(bar.CustomLabels)
profile = pipeline.all_profiles()[0]
profile.Width = "n-th root"
profile.UpdatePipeline()
print("colours", len(before) > 2 and list(bar.CustomLabels) == before)
known = np.ones((3, 3), dtype=bool)
known[0, 0] = False
Landscape(np.where(known, 2.0 + np.arange(9).reshape(3, 3), np.nan), np.ones(2), known).save(
    "missing.zarr")
views.show_landscape(pipeline.build(TLPLandscapeReader(FileName=["missing.zarr"])))
Landscape(np.full((3, 3), 2.5), np.ones(2), np.ones((3, 3), dtype=bool)).save("level.zarr")
flat = views.show_landscape(pipeline.build(TLPLandscapeReader(FileName=["level.zarr"])))
grid = fitting.views_of(flat)[0].AxesGrid
print("flat", grid.ZAxisUseCustomLabels, list(grid.ZAxisLabels))
print("missing", [t.Text for t in GetSources().values() if "9 sam" in getattr(t, "Text", "")])
"""

COMPARED = """
import numpy as np
from tlp_core import Landscape
from tlp_paraview import fitting, views

x = np.linspace(-1, 1, 9)
for name, scale in (("low", 1.0), ("high", 3.0)):
    losses = scale * ((np.square(x)[:, None] - 0.3) ** 2 + np.square(x)) + 0.1
    Landscape(losses, np.ones(2), np.ones((9, 9), dtype=bool)).save(f"{name}.zarr")
layout = views.compare_stores("low.zarr", "high.zarr", logarithmic=True, size=(800, 450))
both = fitting.views_of(layout)
grids = [view.AxesGrid for view in both]
print("ends", [[round(y / g.DataScale[1], 6) for y in g.CustomBounds[2:4]] for g in grids])
bars = [fitting.basins_in(view)[0].LookupTable.RGBPoints for view in both]
print("colours", bars[0][0] == bars[1][0], bars[0][-4] == bars[1][-4])
print("texts", sorted(s.Text for s in GetSources().values() if ".zarr" in getattr(s, "Text", "")))
SaveScreenshot("compared.png", layout, ImageResolution=[800, 450])
for refused in (
    lambda: views.compare_stores("none.zarr"),
    lambda: views.compare_stores(),
    lambda: views.compare_profiles([None], headings=["one", "two"]),
):
    try:
        refused()
    except (RuntimeError, ValueError) as error:
        print("refused:", error)
"""

ENSEMBLE = """
import numpy as np
from tlp_core import Landscape
from tlp_paraview import ensemble_views, pipeline

x = np.linspace(-1, 1, 9)
for step, place in ((0, 0.5), (5, 0.6), (9, 0.2)):
    losses = (np.square(x)[:, None] - place**2) ** 2 + np.square(x) + 0.1 * x
    Landscape(losses, np.ones(2), np.ones((9, 9), dtype=bool)).save(f"step_{step}.zarr")
built = pipeline.build(TLPLandscapeReader(FileName=["step_*.zarr"]))
ensemble = ensemble_views.tree_ensemble([built])
beside, tracking = ensemble_views.show_tracking(ensemble, beside=built, size=(800, 400))
views_of = [view for view in GetViews() if beside.GetViewLocation(view) >= 0]
print("beside", sorted(view.SMProxy.GetXMLName() for view in views_of), beside.GetSize())
for view in views_of:
    inputs = [(each.Input.SMProxy.GetXMLName(), each.Input.Port) for each in view.Representations
              if hasattr(each, "Input")]
    print("shown", ("TLPBasinTracking", 2) in inputs, ("TLPBasinTracking", 0) in inputs,
          ("TLPLandscapeProfile", 0) in inputs)
print("range", [round(end, 3) for end in built.profile.LossRange], built.profile.UseLossRange)
layouts = [ensemble_views.show_ensemble(ensemble), ensemble_views.show_tracking(ensemble)[0]]
for number, layout in enumerate(layouts):
    SaveScreenshot(f"ensemble_{number}.png", layout, ImageResolution=(600, 300))
ensemble.DiagramDistance = "none"
refused = lambda: ensemble_views.tree_ensemble([])
for show in (lambda: ensemble_views.show_ensemble(ensemble), refused):
    try:
        show()
    except (RuntimeError, ValueError) as error:
        print("refused:", error)
"""

TRACED = """
import runpy
import paraview.simple
from paraview import smtrace
from tlp_paraview import fitting, pipeline, roles

MACRO = {macro!r}
GetActiveViewOrCreate("RenderView")  # as in the GUI, in which the names of views are others
smtrace.start_trace()
for name, resolution in (("Pipeline", 9), ("Views", 7)):  # as modules of the suite
    source = TLPLossLandscape(registrationName=name, Resolution=resolution, Arguments="tilt=0.5")
    SetActiveSource(source)
    runpy.run_path(MACRO)
SetActiveSource(pipeline.all_profiles()[0])
runpy.run_path(MACRO)
for view in fitting.views_of(GetLayout()):
    Delete(view)
closed, = (each for each in map(pipeline.find_pipeline, pipeline.all_profiles())
           if each.source == source)
SetActiveSource(closed.descriptors)
runpy.run_path(MACRO)
code = smtrace.stop_trace()
print("shown again", code.count("tlp_views.show_again(descriptors"))
print("builds", code.count("tlp_pipeline.build("), "profile_1 = tlp_built.profile" in code)
ResetSession()
exec(code, {{"__name__": "__main__", **vars(paraview.simple)}})
for profile in pipeline.all_profiles():
    source = pipeline.find_pipeline(profile).source
    cells = profile.GetDataInformation(0).GetNumberOfCells()
    print("replayed", source.Resolution, source.Arguments, cells > 0)
shown = [view for view in GetRenderViews() if fitting.profiles_in(view)]
print("views", len(GetRenderViews()), len(shown))
SaveScreenshot("replayed.png", GetLayout(shown[0]), ImageResolution=[800, 450])
"""

EVEN = """
import numpy as np
from tlp_core import Landscape
from tlp_paraview import pipeline, views

shape = (3, 3, 3)
Landscape(np.full(shape, 2.0), np.ones(3), np.ones(shape, dtype=bool)).save("even.zarr")
built = pipeline.build(TLPLandscapeReader(FileName=["even.zarr"]))
views.show_landscape(built)
print("printed:", [source.Text for source in GetSources().values() if hasattr(source, "Text")])
"""

SETTINGS = """
from paraview import servermanager
from tlp_paraview import interaction, pipeline, versions, views
def result_or_error(run):
    try:
        return run()
    except (ValueError, RuntimeError, OSError) as error:
        return str(error)
failed = pipeline.build(TLPLossLandscape(Resolution=9, Arguments="nonsense=1"))
print("printed", result_or_error(lambda: views.show_landscape(failed)))
failed.source.Arguments = ""
layout = views.show_landscape(failed)
print("attached", interaction.attach())
none = servermanager.sources.ThresholdSelectionSource(
    ArrayName="BasinId", Thresholds=[900.0, 999.0], FieldType="CELL")
failed.profile.SMProxy.SetSelectionInput(0, versions.appended_selection(none), 0)
failed.profile.UseLossRange, failed.profile.LossRange = 1, [-1.0, 9.0]
failed.profile.KeepPlaces = 0
views.show_tree(failed)
print("range", list(failed.profile.LossRange), failed.profile.KeepPlaces)
for name in ("a.xyz", "nowhere/a.png"):
    print("printed", result_or_error(lambda: views.save_animation(name, layout)))
views.save_animation("one.png", layout, size=(300, 200))
"""


CHANGED = """
from tlp_paraview import fitting, interaction, pipeline, views

source = TLPLossLandscape(registrationName="Source", Resolution=9)
built = pipeline.build(source)
layout = views.show_landscape(built, size=(400, 200))
native, profile = fitting.views_of(layout)


def shown():
    inputs = [each.Input for each in native.Representations if hasattr(each, "Input")]
    return sorted(getattr(each, "Text", each.SMProxy.GetXMLName()) for each in inputs)


def update():
    for proxy in (built.profile, built.descriptors):
        proxy.UpdatePipeline()
    return views.update_views(pipeline.find_pipeline(built.profile))


first, proxies = shown(), len(GetSources())
print("again", update())
for n in (4, 1, 2):
    source.Arguments, source.NumberOfDirections, source.Resolution = f"n={n}", n, 5 if n == 4 else 9
    print("updated", n, update(), [t for t in shown() if "samples" in t])
print("same", shown() == first, len(GetSources()) == proxies)

scale = FindSource("Surface").ScaleFactor
source.Normalization, source.Distance = "model", 0.5
print("height", update(), FindSource("Surface").ScaleFactor != scale)

interaction.attach()
built.simplification.UseMaxMinima = built.simplification.MaxMinima = 1
built.profile.UpdatePipeline()
print("follows", not fitting.camera_was_moved(profile))
profile.CameraParallelScale *= 0.5
zoomed = fitting.camera_state(profile)
built.simplification.UseMaxMinima = 0
built.profile.UpdatePipeline()
print("zoom", fitting.camera_state(profile) == zoomed)
"""

IMAGES = """
for kind, n in (("Surface", 2), ("Volume", 3), ("Slice", 3)):
    source = TLPLossLandscape(Resolution=9, NumberOfDirections=n, Arguments=f"n={n}")
    view = CreateView("RenderView")
    shown = Show(OutputPort(source, 1), view)
    shown.SetRepresentationType(kind)
    ColorBy(shown, ("POINTS", "Loss"))
    Render(view)
    for change in (dict(Resolution=8), dict(Resolution=9, Arguments="nonsense=1")):
        for name, value in change.items():
            setattr(source, name, value)
        Render(view)
        Render(view)
    source.Arguments = f"n={n}"
    Render(view)
    print(kind, OutputPort(source, 1).GetDataInformation().GetNumberOfPoints() == 9**n)
"""

REPLACED = """
from paraview import simple
from tlp_paraview import pipeline, views


def stand_in(**options):
    # a filter in TTK's place, with the properties of TTK's filter
    tree = simple.TLPMergeTree(**options)
    for name in ("TreeType", "DebugLevel"):
        object.__setattr__(tree, name, None)
    return tree


ttk_filter, pipeline.ttk_filter = pipeline.ttk_filter, lambda: stand_in
source = TLPLossLandscape(Resolution=9)
built = pipeline.build(source)
print("filter", built.tree_filter)
print("kept", pipeline.replace_crashing_tree(built) is built)
source.Arguments, source.NumberOfDirections = "n=1", 1
built.profile.UpdatePipeline()
print("empty", built.graph.GetDataInformation().GetNumberOfPoints())
views.update_views(built)
again = pipeline.find_pipeline(built.profile)
passed = simple.PassArrays(Input=again.graph, PointDataArrays=["Loss"])
print("from a graph", views.update_views(pipeline.build_from_graph(passed)))
basins = again.profile.GetDataInformation().GetNumberOfCells()
print("replaced", again.tree.SMProxy.GetXMLName(), basins)
pipeline.ttk_filter = ttk_filter
"""


BLOCKS = """
from pathlib import Path
from paraview import simple
from tlp_paraview import heat_map
rows = [f"{step},{group},{loss},l.zarr,k" for step, group, loss in (
    (1, "block 0", 4.0), (1, "block 1", 3.0), (5, "block 0", 2.0))]
Path("blocks.csv").write_text("\\n".join(["step,group,loss,landscape,key", *rows, ""]))
table = simple.TLPBlockTable(FileName="blocks.csv")
view = heat_map.show_block_table(table, "loss")
view.ViewSize = (300, 200)
for time in (1, 5):
    view.ViewTime = time
    simple.Render(view)
    print("frame", simple.OutputPort(table, 2).GetDataInformation().GetBounds()[:2])
simple.SaveScreenshot("blocks.png", view)
try:
    heat_map.show_block_table(table, "none")
except ValueError as error:
    print(error)
"""


MARKS = """
from tlp_paraview import fitting, interaction, views, pipeline
layout = views.show_landscape(pipeline.build(TLPLossLandscape(Resolution=9)))
view = fitting.views_of(layout)[1]
words = Text(registrationName="mine", Text="loss")
shown = Show(words, view)
shown.FontSize = 55
moved = Transform(registrationName="moved", Input=Sphere(), Transform="Transform")
ball = Show(moved, view)
ball.Scale = [2.0, 3.0, 4.0]
profile = pipeline.all_profiles()[0]
profile.LogarithmicLoss = 0
fitting.fit_layout(layout, (1000, 500))
fitting.fit_layout(layout, (1600, 900))
print("mine", words.Text, shown.FontSize, list(ball.Scale), list(moved.Transform.Scale))
print("profiles", len(fitting.profiles_in(view)))
own = CreateView("RenderView")
Show(Calculator(Input=Sphere(), Function="1", ResultArrayName="one"), own)
Show(Calculator(Input=OutputPort(profile, 2), Function="2*Loss", ResultArrayName="Twice"), own)
own.CameraPosition, own.AxesGrid.XTitleFontSize = [10.0, 2.0, 3.0], 33
interaction.attach()
own.ViewSize = (300, 200)
print("own view", list(own.CameraPosition), own.AxesGrid.XTitleFontSize)
second = TLPLandscapeProfile(Nodes=profile.Nodes, Arcs=profile.Arcs,
                             Segmentation=profile.Segmentation)
print("second of a tree", views.show_again(second) is not None)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """Return the results of the snippets that draw; one pvpython with a display runs them all."""
    snippets = {
        "even": EVEN,
        "settings": SETTINGS,
        "changed": CHANGED,
        "replaced": REPLACED,
        "images": IMAGES,
        "blocks": BLOCKS,
        "colors": COLORS,
        "faint": FAINT,
        "scripted": f"MACRO = {str(MACRO)!r}\n" + SCRIPTED,
        "sliced": SLICED,
        "compared": COMPARED,
        "ensemble": ENSEMBLE,
        "marks": MARKS,
    }
    folder = tmp_path_factory.mktemp("drawn")
    return {**run_snippets(snippets, folder, display=True), "folder": folder}


def test_a_script_gets_axes_and_colours_of_what_it_changed(drawn):
    text = drawn["scripted"].text
    for number in range(3):
        with Image.open(drawn["folder"] / f"sized_{number}.png") as picture:
            assert picture.size == (600, 338)
    for line in (
        "cameras True",
        "first render True",
        "shown again 2 1",
        "kept True TLPLandscapeSlice",
        "other file True",
    ):
        assert line in text
    assert "linear [0.052, 1.69]" in text
    assert "logarithmic [-1.28, 0.228] ['log10 loss']" in text
    assert "range [0.0, 9.0]" in text
    assert "tree True True" in text
    assert "one basin 0 1" in text
    refused = [line for line in text.splitlines() if line.startswith("refused:")]
    assert "must have losses above 0, got -0.9" in refused[0]
    assert "none.zarr" in refused[1]
    assert text.count("window freed") == 2  # an observer that holds its view would keep both


def test_a_view_tells_which_slice_it_shows(drawn):
    lines = [line.split(" | ")[1:] for line in drawn["sliced"].text.splitlines() if "|" in line]
    found = [line for line in lines if len(line) == 3]
    assert [line[:2] for line in found] == [
        ["625 samples in 4 directions; slice where direction 4 is 0", "direction 1"],
        ["625 samples in 4 directions; slice where direction 4 is 1", "direction 1"],
        [
            "625 samples in 4 directions; slice where direction 1 is 0, direction 3 is 0.5",
            "direction 4",
        ],
    ]
    assert float(found[1][2]) > float(found[0][2]) + 0.9  # the square of the position is added
    assert "colours True" in drawn["sliced"].text
    assert "flat 1 [2.5]" in drawn["sliced"].text
    assert "9 samples in 2 directions, some without a loss" in drawn["sliced"].text
    pictures = [drawn["folder"] / f"{name}.png" for name in ("moved", "moved_again")]
    titles = [np.asarray(Image.open(path).convert("L"))[:40] for path in pictures]
    assert titles[0].min() < 128
    assert np.array_equal(*titles)


def test_views_follow_a_source_that_has_changed(drawn):
    text = drawn["changed"].text
    assert "again False" in text
    for n, heading in (
        (4, "625 samples in 4 directions; slice where"),
        (1, "9 samples in 1 d"),
        (2, "81 samples in 2 d"),
    ):
        assert f"updated {n} True ['{heading}" in text
    assert "same True True" in text
    assert "height True True" in text


def test_stores_are_compared_in_one_line(drawn):
    done = drawn["compared"]
    assert done.code == 0, done.text
    ends = ast.literal_eval(re.search(r"ends (.*)", done.text)[1])
    assert ends[0] == ends[1] == pytest.approx([-1, np.log10(3 * 1.49 + 0.1)], rel=0.2)
    assert "colours True True" in done.text
    assert "texts ['high.zarr: loss landscape', 'low.zarr: loss landscape']" in done.text
    assert "refused: TLP Landscape Reader: " in done.text
    assert "refused: there must be at least one profile to compare, got none" in done.text
    assert "refused: there must be 1 headings, got 2" in done.text
    pixels = np.asarray(Image.open(drawn["folder"] / "compared.png").convert("RGB"), dtype=int)
    for half in (pixels[:, :400], pixels[:, 400:]):
        assert (half[..., 2] - half[..., 0] > 60).sum() > 2000


def test_an_ensemble_is_drawn_as_map_embedding_and_tracks(drawn):
    assert drawn["ensemble"].code == 0, drawn["ensemble"].text
    assert drawn["ensemble"].errors == []
    for number in (0, 1):
        with Image.open(drawn["folder"] / f"ensemble_{number}.png") as picture:
            pixels = np.asarray(picture.convert("RGB"), dtype=int)
        blue = (pixels[..., 2] > 80) & (pixels[..., 2] - pixels[..., 0] > 60)
        assert 0.002 < blue.mean() < 0.5
        assert (pixels.min(axis=-1) > 250).mean() > 0.4
    text = drawn["ensemble"].text
    assert "beside ['RenderView', 'RenderView', 'SpreadSheetView']" in text
    shown = sorted(re.findall("shown (.*)", text))
    assert shown == ["False False True", "False True False", "True False False"]
    assert re.search(r"range \[\S+, \S+\] 1", text), "all steps share the loss axis"
    assert "refused: an ensemble must have distances" in drawn["ensemble"].text
    assert "refused: an ensemble must have at least one pipeline" in drawn["ensemble"].text


@pytest.mark.exhaustive
def test_a_python_trace_of_the_macro_replays(tmp_path):
    code = TRACED.format(macro=str(MACRO))
    done = run_snippets({"traced": code}, tmp_path, display=True)["traced"]
    assert done.code == 0, done.text
    assert done.errors == []
    assert "builds 2 True" in done.text
    assert "shown again 1" in done.text
    assert "replayed 9 tilt=0.5 True" in done.text
    assert "replayed 7 tilt=0.5 True" in done.text
    assert "views 4 2" in done.text
    picture = np.asarray(Image.open(tmp_path / "replayed.png").convert("RGB"), dtype=int)
    for half in (picture[:, :400], picture[:, 400:]):
        assert ((half[..., 2] - half[..., 0]) > 60).sum() > 2000  # blue surface, blue basins


def test_colours_go_with_the_axis_and_labels_differ(drawn):
    lines = [line.split() for line in drawn["colors"].text.splitlines()]
    found = [line[1:] for line in lines if line and line[0] == "colors"]
    assert len(found) == 12
    for name, log, minima, is_log, middle, low_fits, high_fits, *bar in found:
        low, high, has_ends, *labels = map(float, bar)
        # the fourth of the eight colours is at 0.45 of the range of the linear scale
        # the narrow range of the flat landscape stays linear
        assert is_log == (log if name == "wells" or minima == "1" else "0"), name
        assert low_fits == "True"
        if minima == "1":  # one basin: one colour, one label
            assert (has_ends, len(labels)) == (0, 1), name
            continue
        assert high_fits == "True"
        assert has_ends == 1
        assert len(labels) >= 2
        scale = np.log if is_log == "1" else np.asarray
        places = (scale(labels) - scale(low)) / (scale(high) - scale(low))
        assert places.min() > 0.06  # the height of a label
        assert places.max() < 0.94
        assert np.diff(places).min() > 0.06
        if name == "wells":
            assert (middle == "0.45") == (log == "0"), middle
    labels = [line[1:] for line in lines if line and line[0] == "labels"]
    version = re.search(r"version (\d+)\.(\d+)", drawn["colors"].text)
    ends = ("{:.3g}", "{:.6g}") if tuple(map(int, version.groups())) >= (6, 1) else ("%.3g", "%.6g")
    wells, flat = (["wells", ends[0], "1", "'Mixed'", "2"], ["flat", ends[1], "0", "'Fixed'", "5"])
    assert labels == [wells, flat]
    titles = dict(re.findall(r"title (\w+) '(.*)'", drawn["colors"].text))
    for name, label in (("wells", "20"), ("flat", "2.3035")):  # beside the longest label
        assert titles[name].startswith(" " * len(label)), titles
        assert titles[name].strip() == "loss"


def test_basins_that_may_be_noise_are_faint_and_widths_have_their_unit(drawn):
    assert drawn["faint"].errors == []
    found = [line for line in drawn["faint"].text.splitlines() if line.startswith("faint")]
    assert found == [
        "faint certain True True 0 number of samples",
        "faint noisy True True 1 number of samples",
        "faint geometric volume, in mean samples",
    ]


def test_a_basin_narrower_than_a_pixel_is_seen_by_its_outline_and_minimum(drawn):
    with Image.open(drawn["folder"] / "narrow.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    frame = pixels[200:360, 60:310]
    is_line = frame.max(axis=2) < 60
    is_red = (frame[..., 0] > 150) & (frame[..., 1:].max(axis=2) < 80)
    widths = is_line[15:140].sum(axis=1)
    assert (widths > 0).all(), "from the lower end of the wide basin down to the minimum"
    assert (widths <= 4).all(), "no wider than its line"
    assert is_red[140:].any()


def test_a_part_of_a_profile_is_drawn_inside_its_axes_only(drawn):
    with Image.open(drawn["folder"] / "part.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    is_blue = pixels[..., 2] - pixels[..., 0] > 12
    frame = np.zeros_like(is_blue)
    frame[54:350, 50:322] = True  # fitting.FRAME
    bar = np.zeros_like(is_blue)
    bar[:, 330:] = True
    assert is_blue[frame].mean() > 0.3
    assert not is_blue[~frame & ~bar].any()


def test_a_zoom_into_a_narrow_basin_shows_it_wide_and_goes_back(drawn):
    text = drawn["faint"].text
    assert "zoomed 1.0 True\nback False False\n" in text
    assert "refused: a profile must be shown in a view to zoom into its basins" in text
    with Image.open(drawn["folder"] / "zoomed.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    dark = (pixels[..., 2] > 80) & (pixels[..., 0] < 30)  # of the lowest average loss
    assert np.median(dark[100:250, :300].sum(axis=1)) >= 36


def test_a_selected_basin_is_filled_after_a_zoom(drawn):
    with Image.open(drawn["folder"] / "selected.png") as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=int)
    is_selected = (pixels[..., 0] > 150) & (pixels[..., 1] < 50)
    assert is_selected[60:120, 60:120].mean() > 0.8, "the rest are lines of the axes"


def test_an_error_behind_an_image_is_one_sentence_without_errors_of_rendering(drawn):
    done = drawn["images"]
    wanted = ["resolution must be odd", "unexpected keyword argument 'nonsense'"] * 3
    assert len(done.errors) == len(wanted), done.text
    for text, error in zip(wanted, done.errors):
        assert text in error
    for kind in ("Surface", "Volume", "Slice"):
        assert f"{kind} True" in done.text


def test_a_threshold_keeps_a_camera_that_the_user_moved(drawn):
    assert "follows True" in drawn["changed"].text
    assert "zoom True" in drawn["changed"].text


def test_ttks_filter_is_replaced_where_it_would_crash(drawn):
    done = drawn["replaced"]
    assert "filter TTK's merge tree filter" in done.text
    assert "kept True" in done.text
    (error,) = done.errors
    assert "crashes where the highest sample joins several basins" in error
    assert "empty 0" in done.text
    assert "replaced TLPMergeTree 3" in done.text
    assert "from a graph False" in done.text, "it has no TLP Neighbor Graph"


def test_a_landscape_of_equal_losses_shows_the_reason_instead_of_surfaces(drawn):
    assert drawn["even"].errors == []
    assert "all losses are 2" in drawn["even"].text


def test_views_keep_settings_and_work_after_errors(drawn):
    done = drawn["settings"]
    assert done.code == 0, done.text
    assert len(done.errors) == 1
    assert "arguments of two-wells must fit" in done.errors[0]
    lines = done.text.splitlines()
    printed = [line.removeprefix("printed ") for line in lines if "printed " in line]
    assert printed == [
        "a pipeline must have a profile to be shown, got an empty one; correct the error that a "
        "filter reports, apply the change, and show the pipeline again",
        "an animation must end in .png, .jpg, .ogv, .avi, got a.xyz",
        "an animation must be written to an existing folder, found none for nowhere/a.png; "
        "create it",
    ]
    assert "attached 1" in done.text
    assert "range [-1.0, 9.0] 0" in done.text


def test_what_a_user_adds_to_a_view_is_left_alone(drawn):
    """Also a text with our words and a filter of a type that the suite uses."""
    done = drawn["marks"]
    assert done.errors == []
    assert "mine loss 55 [2.0, 3.0, 4.0] [1.0, 1.0, 1.0]" in done.text
    assert "profiles 1" in done.text
    assert "own view [10.0, 2.0, 3.0] 33" in done.text
    assert "second of a tree True" in done.text


def test_a_table_of_blocks_is_a_heat_map_whose_frame_follows_time(drawn):
    done = drawn["blocks"]
    assert done.errors == []
    assert "frame (0.0, 2.0)" in done.text
    assert "frame (2.0, 4.0)" in done.text
    assert "quantity must be one of Group, loss, Step, got 'none'" in done.text
