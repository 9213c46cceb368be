"""Tests of the GUI under Xvfb: menu, panel, Apply, macro, time, mouse, state file, window."""

import json
import re
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from tests.conftest import DATA
from tests.paraview_programs import ROOT, run
from tests.pipeline.test_background import SLOW
from tlp_core import Landscape, load_problem, random_directions, sample_grid

pytestmark = pytest.mark.paraview

MACRO = ROOT / "plugins/tlp_paraview/macros/loss_landscape_profile.py"
BASELINES = DATA / "gui"

EVENTS = """<?xml version="1.0" ?>
<pqevents>
  {events}
  <pqevent object="pqClientMainWindow/menubar/menu_Macros" command="activate" arguments="check"/>
</pqevents>
"""

MENU = """
  <pqevent object="pqClientMainWindow/menubar" command="activate" arguments="menuSources"/>
  <pqevent object="pqClientMainWindow/menubar/menuSources/Alphabetical" command="activate"
           arguments="TLPLossLandscape"/>
"""

APPLY = """
  <pqevent object="pqClientMainWindow/propertiesDock/propertiesPanel/Accept" command="activate"
           arguments=""/>
"""

PANEL = (
    "pqClientMainWindow/propertiesDock/propertiesPanel/scrollArea/qt_scrollarea_viewport/"
    "scrollAreaWidgetContents/PropertiesFrame/ProxyPanel"
)

IN_BACKGROUND = f"""
  <pqevent object="{PANEL}/Problem/ComboBox" command="set_string" arguments="file"/>
  <pqevent object="{PANEL}/ProblemFile/FileChooser/FileLineEdit" command="set_string"
           arguments="{{file}}"/>
  <pqevent object="{PANEL}/InBackground/CheckBox" command="set_boolean" arguments="true"/>
"""

STOP = f"""
  <pqevent object="{PANEL}/StopSampling/1QPushButton0" command="activate" arguments=""/>
"""

FILE_OPEN = """
  <pqevent object="pqClientMainWindow/menubar/menu_File" command="activate"
           arguments="actionFileOpen"/>
  <pqevent object="pqClientMainWindow/FileOpenDialog" command="filesSelected"
           arguments="{files}"/>
"""

RECENT_FILE = """
  <pqevent object="pqClientMainWindow/menubar/menu_File" command="activate"
           arguments="&amp;Recent Files"/>
  <pqevent object="pqClientMainWindow/menubar/menu_File/menuRecentFiles" command="activate"
           arguments="{file}"/>
"""

ALL_SOURCES = """
import json
from paraview import simple
opened = [
    [name, source.SMProxy.GetXMLName(), list(source.FileName),
     source.GetDataInformation(0).GetNumberOfPoints(), list(source.TimestepValues)]
    for (name, _), source in simple.GetSources().items()
]
shown = [
    str(each.Representation)
    for each in simple.GetActiveView().Representations
    if hasattr(each, "Input") and each.Visibility
]
print("printed", json.dumps({"opened": opened, "shown": shown}), flush=True)
"""

CHECK = """
import json
from paraview import servermanager, simple
(source,) = simple.GetSources().values()
ports = [source.GetDataInformation(port).DataInformation for port in range(2)]
made = {
    "kind": source.SMProxy.GetXMLName(),
    "points": [port.GetNumberOfPoints() for port in ports],  # before anything asks for an update
    "shown": [
        (str(each.Representation), int(each.Visibility))
        for each in simple.GetActiveView().Representations
        if getattr(each, "Input", None) == source
    ],
}
samples, image = (servermanager.Fetch(source, idx=port) for port in range(2))
made["range"] = samples.GetPointData().GetArray("Loss").GetRange()
made["dimensions"] = image.GetDimensions()
print("printed", json.dumps(made), flush=True)
"""

HEAD = f"""
import json, sys
sys.path.insert(0, {str(ROOT / "tests/gui")!r})
from desktop import Desktop, picture, session, settle

def macro():
    exec(open({str(MACRO)!r}).read(), {{}})
    settle()

def report(**values):
    print("printed", json.dumps(values), flush=True)

def selected(name, port=0):
    "Return the selected ids of an output: basins of cells, samples and basins of points."
    from paraview import servermanager, simple
    from tlp_paraview import interaction
    proxy = simple.FindSource(name)
    if proxy.SMProxy.GetSelectionInput(port) is None:
        return None
    field = "cells" if (name, port) == ("Profile", 0) else "points"
    chosen = interaction.selected_ids(proxy, port, field)
    return {{key: sorted(set(ids.tolist())) for key, ids in chosen.items()}}

def on_screen(view, x, y):
    "Return the place of a point of the profile's view on the screen; its frame is blue."
    image = picture()
    frame = [
        (x, y)
        for x in range(image.size[0] // 2, image.size[0])
        for y in range(120, image.size[1])
        if max(image.getpixel((x, y))[:2]) < 60 and image.getpixel((x, y))[2] > 180
    ]
    left, bottom = min(x for x, _ in frame), max(y for _, y in frame)
    renderer = view.SMProxy.GetRenderer()
    renderer.SetWorldPoint(x, y, 0.0, 1.0)
    renderer.WorldToDisplay()
    x, y, _ = renderer.GetDisplayPoint()
    return round(left + x), round(bottom - y)

def place_of(basin):
    "Return the place of a basin on the screen, near its top."
    from paraview import servermanager
    profile, view = FindSource("Profile"), GetActiveView()
    bounds = [0.0] * 6
    servermanager.Fetch(profile, idx=0).GetCellBounds(basin, bounds)
    height = bounds[2] + 0.8 * (bounds[3] - bounds[2])
    stretch = GetRepresentation(profile, view).Scale[1]
    return on_screen(view, (bounds[0] + bounds[1]) / 2, height * stretch)

def alone(kind):
    "Return the basin and the place of the critical point that is farthest from all others."
    from math import dist
    from paraview import servermanager
    points = servermanager.Fetch(FindSource("Critical Points"))
    kinds, basins = (points.GetPointData().GetArray(name) for name in ("CriticalType", "BasinId"))
    places = [points.GetPoint(i)[:2] for i in range(points.GetNumberOfPoints())]
    chosen = max(
        (i for i in range(len(places)) if kinds.GetValue(i) == kind),
        key=lambda i: min(dist(places[i], place) for place in places if place != places[i]),
    )
    return int(basins.GetValue(chosen)), places[chosen]

def select(desktop, key, place, reach):
    desktop.click(place)
    desktop.press(key)
    desktop.drag([c - reach for c in place], [c + reach for c in place])

with session():
    from paraview.simple import *
"""


def gui(launcher, folder, body):
    return run_in_gui([launcher("paraview")], folder, body)


def run_in_gui(command, folder, body):
    """Run code in the GUI that a command starts, and return what it printed."""
    script = folder / "gui.py"
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    script.write_text(HEAD + lines)
    done = run([*command, "--dr", f"--script={script}"], folder, display=True, timeout=300)
    return done, printed_by(done)


def printed_by(done):
    """Return the values that a script printed."""
    printed = {}
    for line in done.text.splitlines():
        if line.startswith("printed "):
            printed.update(json.loads(line.removeprefix("printed ")))
    return printed


def difference(picture, baseline):
    """Return the mean difference of two screenshots, 0 to 255."""
    from PIL import Image, ImageChops, ImageStat

    wanted = Image.open(baseline).convert("RGB")
    actual = Image.open(picture).convert("RGB").resize(wanted.size)
    return max(ImageStat.Stat(ImageChops.difference(actual, wanted)).mean)


def write_macro(launcher, folder, name, code):
    """Add a macro to an empty home, and turn off the welcome dialog.

    The option ``--dr`` turns it off, too, but ParaView 5.13 and later read no macros with it.
    """
    text = run([launcher("paraview"), "--version"], folder, display=True).text
    version = re.search(r"paraview version (\S+)", text)[1]
    settings = folder / "home" / ".config" / "ParaView"
    (settings / "Macros").mkdir(parents=True, exist_ok=True)
    (settings / "Macros" / f"{name}.py").write_text(code)
    no_dialog = "[General]\nGeneralSettings.ShowWelcomeDialog=false\n"
    for file in (f"ParaView{version}.ini", "ParaView.ini"):  # the latter from ParaView 6 on
        (settings / file).write_text(no_dialog)


def checked(launcher, folder, events, code):
    """Return what a macro prints after events of the menus."""
    (folder / "events.xml").write_text(EVENTS.format(events=events))
    write_macro(launcher, folder, "check", code)
    options = [f"--test-directory={folder}", f"--test-script={folder / 'events.xml'}", "--exit"]
    done = run([launcher("paraview"), *options], folder, display=True, timeout=120)
    assert done.code == 0, done.text
    assert done.errors == [], done.text
    return printed_by(done)


def test_menu_panel_and_apply_make_a_landscape(launcher, tmp_path):
    made = checked(launcher, tmp_path, MENU + APPLY, CHECK)
    assert made["kind"] == "TLPLossLandscape"
    assert made["points"] == [41 * 41, 41 * 41]
    assert [visible for _, visible in made["shown"]].count(1) >= 1
    assert made["range"] == pytest.approx([-0.1, 4.827160493827167])
    assert made["dimensions"] == [41, 41, 1]


STOPPED = """
import json, time
from paraview import simple
from tlp_paraview import follow
(source,) = simple.GetSources().values()
while follow.state_of(source)["is_running"]:
    time.sleep(0.1)
source.SMProxy.InvokeCommand("ReadAgain")
source.UpdatePipeline()
points = source.GetDataInformation(0).GetNumberOfPoints()
made = {"points": points, "file": source.ProblemFile, "in_background": int(source.InBackground)}
print("printed", json.dumps(made), flush=True)
"""


def test_the_button_of_the_panel_stops_a_sampling_in_the_background(launcher, tmp_path):
    """By what was sampled: without the click, the sampling ends with all 1,681 samples."""
    file = tmp_path / "slow.py"
    file.write_text(SLOW)
    made = checked(
        launcher, tmp_path, MENU + IN_BACKGROUND.format(file=file) + APPLY + STOP, STOPPED
    )
    assert (made["file"], made["in_background"]) == (str(file), 1)
    assert made["points"] < 41 * 41


def write_landscapes(place):
    """Write a store, a folder of stores and a file of another program."""
    (place / "landscapes").mkdir()
    stores = {"bowl": 5, "landscapes/step1": 3, "landscapes/step2": 3}
    for name, resolution in stores.items():
        shape = (resolution, resolution)
        landscape = Landscape(np.ones(shape), np.ones(2), np.ones(shape, bool))
        landscape.save(place / f"{name}.zarr")
    places = np.linspace(-1, 1, 9) * np.ones((2, 1))
    np.savez(place / "theirs.npz", loss=np.ones((9, 9)), coordinates=places)


def test_file_open_and_recent_files_take_what_was_chosen(launcher, tmp_path):
    """A store, a folder of stores and an import, each beside other landscapes."""
    write_landscapes(tmp_path)
    bowl, folder, theirs = (
        str(tmp_path / name) for name in ("bowl.zarr", "landscapes", "theirs.npz")
    )
    choices = [theirs, folder, bowl]
    events = "".join(FILE_OPEN.format(files=files) + APPLY for files in choices)
    events += RECENT_FILE.format(file=theirs) + APPLY
    found = checked(launcher, tmp_path, events, ALL_SOURCES)
    assert sorted(found["opened"]) == sorted(
        [name, "TLPLandscapeReader", files, points, steps]
        for name, files, points, steps in (
            ("theirs.npz", [theirs], 81, []),
            ("landscapes", [folder], 9, [1.0, 2.0]),
            ("bowl.zarr", [bowl], 25, []),
            ("theirs.npz", [theirs], 81, []),
        )
    )
    assert "'Point Gaussian'" in found["shown"]


TRAINING = (
    f"""
ZOOM = {str(ROOT / "plugins/tlp_paraview/macros/zoom_into_basins.py")!r}
"""
    + """
import numpy as np
import paraview
source = TLPLossLandscape(
    registrationName="Training", Problem="file", ProblemFile="two_moons.py",
    Checkpoints=["moons_training"], Normalization="layer", Distance=2.0, Resolution=15,
    Store="kept",
)
SetActiveSource(source)
desktop = Desktop()
desktop.resize(1600, 1000)
macro()
picture().save("built.png")
from tlp_paraview import versions
version = ".".join(paraview.__version__.split(".")[:2])
report(listed=bool(versions.color_presets().HasPreset("TLP Blues")), version=version)

GetAnimationScene().AnimationTime = 160
settle()
profile = FindSource("Profile")
report(view_time=GetActiveView().ViewTime)
cells = profile.GetDataInformation(0).GetNumberOfCells()
picture().save("step160.png")

from paraview import servermanager
table = servermanager.Fetch(profile, idx=0).GetCellData()
sizes = [int(table.GetArray("Size").GetValue(b)) for b in range(cells)]
parents = [table.GetArray("ParentId").GetValue(b) for b in range(cells)]
aim = max(set(range(cells)) - set(parents), key=sizes.__getitem__)
select(desktop, "s", place_of(aim), 3)
report(basins=selected("Profile"), samples=selected("Surface"), aim=aim, size=sizes[aim])
picture().save("selected.png")

profile.SMProxy.SetSelectionInput(0, None, 0)
settle()
report(cleared=selected("Surface"))
points, view, clicked = FindSource("Critical Points"), GetActiveView(), {}
for kind in (0, 1):
    basin, place = alone(kind)
    select(desktop, "s", on_screen(view, *place), 3)
    chosen = GetActiveSource()
    clicked[kind] = {
        "active": chosen.SMProxy.GetXMLName(), "basin": basin, "size": sizes[basin],
        "samples": selected("Surface"), "basins": selected("Profile"),
        "widget": "Transform" in chosen.ListProperties(),
    }
    points.SMProxy.SetSelectionInput(0, None, 0)
    SetActiveView(view)
    settle()
report(clicked=clicked, after=selected("Surface"))
narrow = min(set(range(cells)) - set(parents), key=sizes.__getitem__)
ids = servermanager.sources.IDSelectionSource(FieldType="CELL", IDs=[0, narrow])
profile.SMProxy.SetSelectionInput(0, versions.appended_selection(ids), 0)
before = list(view.CameraFocalPoint), view.CameraParallelScale
exec(open(ZOOM).read(), {})
settle()
bounds = [0.0] * 6
servermanager.Fetch(profile, idx=0).GetCellBounds(narrow, bounds)
wide = (bounds[1] - bounds[0]) * view.ViewSize[1] / (2 * view.CameraParallelScale)
profile.SMProxy.SetSelectionInput(0, None, 0)
settle()
x, y = (bounds[0] + bounds[1]) / 2, view.CameraFocalPoint[1]
select(desktop, "s", on_screen(view, x, y), 3)
near = list(view.AxesGrid.CustomBounds)
seen = [bounds[:2], near[:2]]
desktop.turn_wheel(on_screen(view, x, y))
nearer = list(view.AxesGrid.CustomBounds)
report(narrow=narrow, wide=wide, hit=selected("Profile"), seen=seen,
       wheel=[(nearer[i + 1] - nearer[i]) / (near[i + 1] - near[i]) for i in (0, 2)])
profile.SMProxy.SetSelectionInput(0, None, 0)
SetActiveView(view)
exec(open(ZOOM).read(), {})
settle()
after = list(view.CameraFocalPoint), view.CameraParallelScale
report(back=np.allclose(before[0], after[0]) and bool(np.isclose(before[1], after[1])))
select(desktop, "d", (560, 570), 60)
report(picked=selected("Surface"), their_basins=selected("Profile"))

FindSource("Tree Simplification").PersistenceThreshold = 0.3
RenderAllViews()
settle()
report(cells=cells, fewer=profile.GetDataInformation(0).GetNumberOfCells())
GetAnimationScene().AnimationTime = 0
settle()
desktop.resize(1000, 700)
picture().save("small.png")
SaveState("session.pvsm")
"""
)

OF_READING = "Input proxy does not support selection extraction."
"""The end of an error that ParaView 6.1 prints while it reads the state, and that has no effect."""

REOPENED = """
LoadState("session.pvsm")
settle()
moved = GetRenderViews()[0]
moved.CameraPosition = [1.0, 2.0, 30.0]
from paraview import servermanager
from tlp_paraview import versions
profile = FindSource("Profile")
ids = servermanager.sources.IDSelectionSource(FieldType="CELL", IDs=[0, 0])
profile.SMProxy.SetSelectionInput(0, versions.appended_selection(ids), 0)
settle()
report(linked=selected("Surface"))
macro()
report(camera=list(moved.CameraPosition), steps=list(FindSource("Training").TimestepValues))
threshold = FindSource("Tree Simplification").PersistenceThreshold
report(threshold=threshold, views=len(GetRenderViews()))
report(frame=[round(e, 3) for e in GetRenderViews()[-1].AxesGrid.CustomBounds[:2]])
"""


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """Run a session like a user's: build, change time, select, change threshold, resize, save."""
    from tests.paraview_programs import launcher

    folder = tmp_path_factory.mktemp("gui")
    done, printed = gui(launcher, folder, TRAINING)
    assert done.code == 0, done.text
    return folder, done, printed


def test_a_session_of_work_prints_no_error(worked):
    assert worked[1].errors == []


@pytest.mark.parametrize("name", ["built", "step160", "small"])
def test_the_window_looks_as_it_did(worked, name):
    """Windows differ between versions of ParaView, so each has its own pictures."""
    folder = BASELINES / worked[2]["version"]
    if not folder.is_dir():
        pytest.skip(f"no pictures of ParaView {folder.name}; keep those of this test in {folder}")
    assert difference(worked[0] / f"{name}.png", folder / f"{name}.png") < 4


def test_the_colour_map_is_in_paraviews_list(worked):
    assert worked[2]["listed"]


def test_the_windows_of_two_steps_differ(worked):
    assert difference(worked[0] / "step160.png", worked[0] / "built.png") > 6


def test_a_click_on_a_basin_selects_its_samples(worked):
    printed = worked[2]
    assert printed["basins"]["BasinId"] == [printed["aim"]]
    assert len(printed["samples"]["SampleId"]) == printed["size"] > 1
    assert printed["basins"]["BasinId"][0] in printed["samples"]["BasinId"]
    assert printed["cleared"] is None


def test_a_narrow_basin_is_hit_after_a_zoom_and_the_next_zoom_goes_back(worked):
    printed = worked[2]
    assert printed["wide"] >= 39
    assert printed["hit"]["BasinId"] == [printed["narrow"]]
    assert printed["back"]


def test_axes_after_a_zoom_and_after_the_wheel_are_those_of_the_part_that_is_seen(worked):
    (left, right), (first, last) = worked[2]["seen"]
    assert first < left < right < last
    assert last - first < 10 * (right - left)
    assert worked[2]["wheel"] == pytest.approx([0.83, 0.83], abs=0.03)


def test_a_click_on_a_minimum_or_a_saddle_selects_the_basin_that_begins_there(worked):
    clicked = worked[2]["clicked"]
    assert [each["active"] for each in clicked.values()] == ["Calculator"] * 2
    for each in clicked.values():
        assert not each["widget"]
        assert len(each["samples"]["SampleId"]) == each["size"] > 1
        assert each["basin"] in each["basins"]["BasinId"]
    assert [len(each["basins"]["BasinId"]) for each in clicked.values()] == [1, 3]
    assert worked[2]["after"] is None


def test_selecting_samples_selects_their_basins(worked):
    printed = worked[2]
    assert len(printed["picked"]["SampleId"]) > 1
    assert printed["their_basins"]["BasinId"] == printed["picked"]["BasinId"]


def test_time_and_slider_move_the_profile(worked):
    printed = worked[2]
    assert printed["view_time"] == 160
    assert printed["fewer"] < printed["cells"]


def test_a_saved_session_opens_linked_and_keeps_its_camera(worked, launcher):
    done, printed = gui(launcher, worked[0], REOPENED)
    assert done.code == 0, done.text
    is_known = worked[2]["version"] == "6.1"
    assert [line for line in done.errors if not (is_known and line.endswith(OF_READING))] == []
    assert printed["threshold"] == 0.3
    assert printed["views"] >= 2
    assert printed["steps"] == [0, 5, 10, 20, 40, 80, 160, 320]
    assert len(printed["linked"]["SampleId"]) > 0
    assert printed["camera"] == [1, 2, 30]
    assert printed["frame"] == [0, 225]


OPENED = """<?xml version="1.0" ?>
<pqevents>
  <pqevent object="pqClientMainWindow/menubar/menu_Macros" command="activate" arguments="use"/>
  <pqevent object="pqClientMainWindow/menubar/menu_File" command="activate"
           arguments="actionFileLoadServerState"/>
  <pqevent object="pqClientMainWindow/FileLoadServerStateDialog" command="filesSelected"
           arguments="{state}"/>
  <pqevent object="LoadStateOptionsDialog/widget/OKButton" command="activate" arguments=""/>
  <pqevent object="pqClientMainWindow/menubar/menu_Macros" command="activate" arguments="use"/>
</pqevents>
"""

USE = """
from paraview.simple import *
source = FindSource("Source")
source.UpdatePipeline()
Delete(source)
"""

OWN_PROBLEM = """
import torch
from tlp_core import Problem

def make_problem():
    model = torch.nn.Linear(2, 1, bias=False)
    return Problem(model, lambda m, b: m.weight.square().sum(), [torch.zeros(1)], name="own")
"""

DRAGGED = """
import sys
from pathlib import Path
from {qt} import QtCore, QtGui, QtWidgets

class Label(QtWidgets.QLabel):
    def mousePressEvent(self, event):
        drag, data = QtGui.QDrag(self), QtCore.QMimeData()
        data.setUrls([QtCore.QUrl.fromLocalFile(sys.argv[1])])
        drag.setMimeData(data)
        (drag.exec if hasattr(drag, "exec") else drag.exec_)(QtCore.Qt.DropAction.CopyAction)

    def showEvent(self, event):
        QtCore.QTimer.singleShot(500, lambda: Path("shown").touch())

application = QtWidgets.QApplication([])
label = Label("drag me")
label.setWindowFlags(QtCore.Qt.WindowType.FramelessWindowHint)
label.setGeometry(1400, 0, 150, 100)
label.show()
application.exec() if hasattr(application, "exec") else application.exec_()
"""

DROPPED = """
import os, subprocess
from pathlib import Path
from time import monotonic
desktop = Desktop()
desktop.resize(1300, 900)
environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
opened = []
for name in ("bowl.zarr", "landscapes", "theirs.npz"):
    Path("shown").unlink(missing_ok=True)
    label = subprocess.Popen([PYTHON, "drag.py", os.path.abspath(name)], env=environment)
    end = monotonic() + 60
    while not Path("shown").exists() and label.poll() is None and monotonic() < end:
        settle()
    count = len(GetSources())
    desktop.move(1470, 50)
    desktop._button(1)
    for place in ((1450, 80), (1300, 200), (900, 500), (890, 505), (880, 500)):
        desktop.move(*place)
    settle(0.5)
    desktop._button(0)
    end = monotonic() + 60
    while len(GetSources()) == count and monotonic() < end:
        settle()
    label.kill()
    label.wait()
    reader = GetActiveSource()
    reader.UpdatePipeline()
    samples = reader.GetDataInformation(0).GetNumberOfPoints()
    opened.append([reader.SMProxy.GetXMLName(), [os.path.basename(f) for f in reader.FileName],
                   samples, list(reader.TimestepValues)])
report(opened=opened)
"""


@pytest.mark.exhaustive
def test_landscapes_are_opened_by_drag_and_drop(launcher, tmp_path):
    """They are dragged from the window of another program, as from a file manager."""
    qt = next((name for name in ("PyQt6", "PyQt5") if find_spec(name)), None)
    if qt is None:
        pytest.skip("a file is dragged from a window of Qt for Python, and there is none")
    write_landscapes(tmp_path)
    (tmp_path / "drag.py").write_text(DRAGGED.format(qt=qt))
    done, printed = gui(launcher, tmp_path, f"PYTHON = {sys.executable!r}\n{DROPPED}")
    assert done.code == 0, done.text
    assert done.errors == []
    assert printed["opened"] == [
        ["TLPLandscapeReader", ["bowl.zarr"], 25, []],
        ["TLPLandscapeReader", ["landscapes"], 9, [1, 2]],
        ["TLPLandscapeReader", ["theirs.npz"], 81, []],
    ]


SAVED = """
TLPLossLandscape(
    registrationName="Source", Problem="file", ProblemFile="own_problem.py", Resolution=3
)
"""


@pytest.mark.exhaustive
def test_a_relative_name_is_looked_up_beside_the_opened_state_file(
    launcher, run_pvpython, tmp_path
):
    """First a file of the option ``--state``, then one of the menu; neither is in this folder."""
    studies = [tmp_path / "first study", tmp_path / "second study"]
    for folder in [*studies, tmp_path]:
        folder.mkdir(exist_ok=True)
        (folder / "own_problem.py").write_text(OWN_PROBLEM)
    states = [study / "state.pvsm" for study in studies]
    saves = "".join(f"SaveState({str(state)!r})\n" for state in states)
    done = run_pvpython(SAVED + saves)
    assert done.code == 0, done.text
    write_macro(launcher, tmp_path, "use", USE)
    (tmp_path / "events.xml").write_text(OPENED.format(state=states[1]))
    options = ["--state", states[0], f"--test-directory={tmp_path}"]
    options += [f"--test-script={tmp_path / 'events.xml'}", "--exit"]
    done = run([launcher("paraview"), *options], tmp_path, display=True, timeout=300)
    assert done.code == 0, done.text
    assert done.errors == []
    lines = [line for line in done.text.splitlines() if "runs the code of " in line]
    files = [line.partition("runs the code of ")[2] for line in lines]
    assert files == [str(study / "own_problem.py") for study in studies]


BACKGROUND = """
import time
from pathlib import Path
from paraview import simple
from tlp_paraview import follow, pipeline

def points(proxy):
    return proxy.GetDataInformation(0).GetNumberOfPoints()

def wait(condition):
    end = time.monotonic() + 120
    while not condition() and time.monotonic() < end:
        settle(0.05)

def status_text():
    from tlp_paraview import status_bar

    bar = status_bar._bar()
    return "no status bar" if bar is None else bar.currentMessage()

def texts():
    return [getattr(each, "Text", "") for each in simple.GetSources().values()]

Desktop().resize(1400, 900)
source = simple.TLPLossLandscape(
    Problem="file", ProblemFile=str(Path("slow.py").resolve()), Resolution=41, InBackground=1
)
source.UpdatePipeline()
at_once = points(source)
simple.SetActiveSource(source)
macro()
wait(lambda: points(source))
coarse, profiles = points(source), len(pipeline.all_profiles())
wait(lambda: any("background" in text for text in texts()))
notes = [text for text in texts() if "background" in text]
wait(status_text)
status = status_text()
active = simple.GetActiveSource() == source
source.SMProxy.InvokeCommand("StopSampling")
wait(lambda: not follow.state_of(source)["is_running"])
settle(1.5)
stopped = points(source)
wait(lambda: status_text() in ("", "no status bar"))
ended = status_text()
Path("step_0.zarr").symlink_to("first.zarr")
reader = simple.TLPLandscapeReader(FileName=[str(Path("step_*.zarr").absolute())], FollowFiles=1)
simple.SetActiveSource(reader)
macro()
before = len(pipeline.steps_of(reader))
Path("step_1.zarr").symlink_to("second.zarr")
wait(lambda: len(pipeline.steps_of(reader)) == 2)
report(at_once=at_once, coarse=coarse, profiles=profiles, notes=notes, active=active,
       status=status, ended=ended,
       stopped=stopped, before=before, after=pipeline.steps_of(reader))
"""


@pytest.mark.exhaustive
def test_sampling_in_the_background_and_files_that_grow_are_followed(launcher, tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    problem = load_problem("quadratic-bowl")
    directions = random_directions(problem, 2, normalization="none")
    for name, distance in (("first", 1.0), ("second", 2.0)):
        store = tmp_path / f"{name}.zarr"
        sample_grid(problem, directions, resolution=5, distance=distance, store=store)
    done, printed = gui(launcher, tmp_path, BACKGROUND)
    assert done.code == 0, done.text
    assert done.errors == []
    assert printed["at_once"] == 0
    assert (printed["coarse"], printed["profiles"]) == (81, 1)
    assert printed["notes"][0].startswith("samples in the background: ")
    assert "points per axis: " in printed["notes"][0]
    if printed["status"] != "no status bar":  # without Qt's Python
        assert re.match("(21|41) points per axis: ", printed["status"])
        assert printed["ended"] == ""
    assert printed["active"]
    assert printed["stopped"] in (81, 441), "the finest complete grid stays"
    assert printed["before"] == 0
    assert printed["after"] == [0.0, 1.0]


STARTED = """
source = TLPLandscapeReader(FileName=["bowl.zarr"])
source.UpdatePipeline()
report(points=source.GetDataInformation(0).GetNumberOfPoints())
"""


def test_tlp_starts_the_gui_with_the_plugin_and_the_macros(launcher, tmp_path):
    launcher("paraview")  # skips the test where there is none
    Landscape(np.ones((5, 5)), np.ones(2), np.ones((5, 5), bool)).save(tmp_path / "bowl.zarr")
    command = [sys.executable, "-m", "tlp_core", "paraview", "--"]
    done, printed = run_in_gui(command, tmp_path, STARTED)
    assert done.code == 0, done.text
    assert printed["points"] == 25
    macros = tmp_path / "home" / ".config" / "ParaView" / "Macros"
    assert "zoom_into_basins.py" in {path.name for path in macros.iterdir()}


def test_an_error_in_a_script_is_detected(launcher, tmp_path):
    done, _ = gui(launcher, tmp_path, "raise AssertionError('failing on purpose')")
    assert done.code == 1
    assert done.errors
