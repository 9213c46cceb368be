"""Each state file opens in a fresh process and shows what its script shows."""

from pathlib import Path

import pytest

from tests.paraview_programs import ROOT

pytestmark = pytest.mark.paraview

STATES = sorted((ROOT / "state_files").glob("*.pvsm"))

SUMMARY = """
from paraview import servermanager
profile = FindSource("Profile")
profile.UpdatePipeline()
basins = servermanager.Fetch(profile, idx=0)
sizes = basins.GetCellData().GetArray("Size")
print("sizes", [sizes.GetValue(i) for i in range(sizes.GetNumberOfTuples())])
layout = list(GetLayouts().values())[0]
print("views", [layout.GetViewLocation(view) >= 0 for view in GetRenderViews()])
layout.SetSize(1600, 900)
SaveScreenshot({picture!r}, layout, ImageResolution=[1600, 900])
for view in GetRenderViews():
    Delete(view)
"""


@pytest.mark.parametrize("state", STATES, ids=lambda path: path.stem)
def test_a_state_shows_what_its_script_shows(run_pvpython, tmp_path, state):
    from PIL import Image, ImageChops, ImageStat

    results = {}
    for kind, code in (
        ("script", f"exec(open({str(state.with_suffix('.py'))!r}).read())"),
        ("state", f"LoadState({str(state)!r})"),
    ):
        picture = str(tmp_path / f"{kind}.png")
        done = run_pvpython(code + SUMMARY.format(picture=picture), display=True)
        assert done.code == 0, done.text
        assert done.errors == []
        results[kind] = [
            line for line in done.text.splitlines() if line.startswith(("sizes", "views"))
        ]
    assert results["state"] == results["script"]
    assert results["state"][1] == "views [True, True]"
    script, loaded = (Image.open(tmp_path / f"{k}.png").convert("RGB") for k in results)
    difference = ImageStat.Stat(ImageChops.difference(script, loaded)).mean
    assert max(difference) < 2.0


@pytest.mark.parametrize("state", STATES, ids=lambda path: path.stem)
def test_a_state_names_no_folder_of_a_machine(state):
    text = state.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
