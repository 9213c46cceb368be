"""The real GUI under Xvfb: menu, panel, Apply, macro, state file, and a picture of the window."""

import pytest

from tests.paraview_programs import ROOT, run

pytestmark = pytest.mark.paraview

EVENTS = """<?xml version="1.0" ?>
<pqevents>
  <pqevent object="pqClientMainWindow/menubar" command="activate" arguments="menuSources"/>
  <pqevent object="pqClientMainWindow/menubar/menuSources/Alphabetical" command="activate"
           arguments="TLPLossLandscape"/>
  <pqevent object="pqClientMainWindow/propertiesDock/propertiesPanel/Accept" command="activate"
           arguments=""/>
</pqevents>
"""

SCRIPT = """
import ctypes, os, sys, traceback

def qt(name, *args):
    for library in ("libQt5Core.so.5", "libQt6Core.so.6"):
        try:
            function = getattr(ctypes.CDLL(library, mode=os.RTLD_NOLOAD | os.RTLD_NOW), name)
            break
        except OSError:
            continue
    function.restype = None
    return function(*args)

def process_events():
    for _ in range(30):
        qt("_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE",
           ctypes.c_int(0))

code = 1
try:
    from paraview.simple import *
    {body}
    process_events()
    RenderAllViews()
    process_events()
    from PIL import ImageGrab
    ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).save({picture!r})
    code = 0
except BaseException:
    traceback.print_exc()
finally:
    sys.stdout.flush()
    sys.stderr.flush()
    qt("_ZN16QCoreApplication4exitEi", ctypes.c_int(code))
"""

MACRO = """
    source = TLPLossLandscape(registrationName="Wells", Resolution=21)
    SetActiveSource(source)
    exec(open({macro!r}).read())
    profile = FindSource("Profile")
    assert profile.GetDataInformation().GetNumberOfCells() == 3
    assert len(GetRenderViews()) >= 2
"""

STATE = """
    LoadState({state!r})
    assert len(GetRenderViews()) == 2
    assert FindSource("Profile").GetDataInformation().GetNumberOfCells() > 0
"""


def gui(launcher, folder, body):
    picture = folder / "window.png"
    script = folder / "gui.py"
    script.write_text(SCRIPT.format(body=body.strip(), picture=str(picture)))
    done = run(
        [launcher("paraview"), "--dr", f"--script={script}"], folder, display=True, timeout=300
    )
    return done, picture


def blue_share(picture):
    from PIL import Image

    pixels = list(Image.open(picture).convert("RGB").getdata())
    return sum(b > r + 30 and b >= g for r, g, b in pixels) / len(pixels)


def test_menu_panel_and_apply_make_a_landscape(launcher, tmp_path):
    (tmp_path / "events.xml").write_text(EVENTS)
    done = run(
        [
            launcher("paraview"),
            "--dr",
            f"--test-directory={tmp_path}",
            f"--test-script={tmp_path / 'events.xml'}",
            "--exit",
        ],
        tmp_path,
        display=True,
        timeout=300,
    )
    assert done.code == 0, done.text
    assert done.errors == []


def test_the_macro_builds_pipeline_and_views(launcher, tmp_path):
    macro = ROOT / "plugins/tlp_paraview/macros/loss_landscape_profile.py"
    done, picture = gui(launcher, tmp_path, MACRO.format(macro=str(macro)))
    assert done.code == 0, done.text
    assert done.errors == []
    assert blue_share(picture) > 0.01


def test_the_state_file_opens(launcher, tmp_path):
    state = ROOT / "state_files" / "pinn_convection_profile.pvsm"
    done, picture = gui(launcher, tmp_path, STATE.format(state=str(state)))
    assert done.code == 0, done.text
    assert done.errors == []
    assert blue_share(picture) > 0.01


def test_the_harness_sees_a_failure(launcher, tmp_path):
    done, _ = gui(launcher, tmp_path, "raise AssertionError('failing on purpose')")
    assert done.code == 1
    assert done.errors
