"""Each state file opens in a fresh process, from any folder, and shows what its script shows."""

import gzip
from pathlib import Path

import pytest

from tests.conftest import DATA
from tests.paraview_programs import ROOT

pytestmark = pytest.mark.paraview

STATES = sorted((ROOT / "state_files").glob("*.pvsm"))
OLD_STATES = sorted((DATA / "states").glob("*.pvsm.gz"))

SUMMARY = """
from paraview import servermanager
from tlp_paraview import fitting, pipeline, views
for profile in pipeline.all_profiles():
    profile.UpdatePipeline()
    basins = servermanager.Fetch(profile, idx=0)
    sizes = basins.GetCellData().GetArray("Size")
    print("sizes", [sizes.GetValue(i) for i in range(sizes.GetNumberOfTuples())])
print("steps", *GetTimeKeeper().TimestepValues)
layout = next(iter(GetLayouts().values()))
print("views", sum(layout.GetViewLocation(view) >= 0 for view in GetRenderViews()))
fitting.fit_layout(layout, (1600, 900))
SaveScreenshot({picture!r}, layout, ImageResolution=[1600, 900])
views.close_views()
"""

VIEWS = {"small_multiples": 10}
STEPS = {"training_over_time": "0.0 5.0 10.0 20.0 40.0 80.0 160.0 320.0"}


def shown(run_pvpython, code, picture):
    done = run_pvpython(code + SUMMARY.format(picture=str(picture)), display=True)
    assert done.code == 0, done.text
    assert done.errors == []
    told = [line for line in done.text.splitlines() if line.startswith(("sizes", "views", "steps"))]
    assert told[0] != "sizes []"
    return sorted(told)  # several profiles come in any order


def test_there_is_a_state_for_each_thing_a_user_looks_for():
    stems = {path.stem for path in STATES}
    assert stems == {
        "two_wells",
        "pinn_convection_profile",
        "pinn_convection_4d",
        "training_over_time",
        "small_multiples",
        "your_model",
    }
    text = (ROOT / "state_files" / "README.md").read_text(encoding="utf-8")
    assert all(f"\n## {stem}\n" in text for stem in stems)


@pytest.mark.parametrize("state", STATES, ids=lambda path: path.stem)
def test_a_state_shows_what_its_script_shows(run_pvpython, tmp_path, state):
    from PIL import Image, ImageChops, ImageStat

    script = f"exec(open({str(state.with_suffix('.py'))!r}).read())"
    told = shown(run_pvpython, script, tmp_path / "script.png")
    assert shown(run_pvpython, f"LoadState({str(state)!r})", tmp_path / "state.png") == told
    assert told[-1] == f"views {VIEWS.get(state.stem, 2)}"
    assert told[-2] == f"steps {STEPS.get(state.stem, '')}".strip()
    pictures = [Image.open(tmp_path / f"{k}.png").convert("RGB") for k in ("script", "state")]
    difference = ImageStat.Stat(ImageChops.difference(*pictures)).mean
    assert max(difference) < 2.0


@pytest.mark.parametrize("state", OLD_STATES, ids=lambda path: path.stem)
def test_a_state_of_an_older_version_still_opens(run_pvpython, tmp_path, state):
    text = gzip.decompress(state.read_bytes()).decode()
    resolution = '<Element index="0" value="21"/>'
    assert text.count(resolution) == 1
    (tmp_path / "old.pvsm").write_text(text.replace(resolution, resolution.replace("21", "9")))
    told = shown(run_pvpython, "LoadState('old.pvsm')", tmp_path / "old.png")
    assert told[-1] == "views 2"


@pytest.mark.parametrize("state", STATES, ids=lambda path: path.stem)
def test_a_state_names_no_folder_of_a_machine(state):
    text = state.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def test_a_state_whose_model_is_gone_says_so_and_lives(run_pvpython, tmp_path):
    state = (ROOT / "state_files" / "your_model.pvsm").read_text(encoding="utf-8")
    (tmp_path / "gone.pvsm").write_text(state.replace("two_moons.py", "no_moons.py"))
    done = run_pvpython(
        "LoadState('gone.pvsm')\nFindSource('Profile').UpdatePipeline()\n"
        "source = FindSource('Your model')\n"
        "source.Problem, source.Checkpoint, source.Normalization = 'two-wells', '', 'none'\n"
        "FindSource('Profile').UpdatePipeline()\n"
        "print('cells', FindSource('Profile').GetDataInformation(0).GetNumberOfCells())\n"
        "from tlp_paraview import views\nviews.close_views()\n",
        display=True,
    )
    assert done.code == 0, done.text
    (error,) = done.errors
    assert "found no file 'no_moons.py'" in error
    assert "cells 3" in done.text
