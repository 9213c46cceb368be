"""Tests of the state files: each opens from any folder, and shows the recorded profile."""

import ast
import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageStat

from tests.conftest import DATA
from tests.paraview_programs import ROOT, run_snippets

pytestmark = pytest.mark.paraview

ALL_STATES = sorted((ROOT / "state_files").glob("*.pvsm"))
STATES = [state for state in ALL_STATES if not state.stem.startswith("ttk_")]
"""Those that need no TTK; tests/pvpython/test_ttk.py opens the others."""

OLD_STATES = sorted((DATA / "states").glob("*.pvsm.gz"))

SUMMARY = """
from paraview import servermanager
from tlp_paraview import fitting, pipeline
for profile in pipeline.all_profiles():
    profile.UpdatePipeline()
    table = servermanager.Fetch(profile, idx=0).GetCellData()
    values = {{
        name: [table.GetArray(name).GetValue(i) for i in range(table.GetNumberOfTuples())]
        for name in ("Size", "Birth", "Death")
    }}
    print("sizes", values["Size"])
    print("range", [min(values["Birth"]), max(values["Death"])])
print("steps", [*GetTimeKeeper().TimestepValues])
layout = next(iter(GetLayouts().values()))
print("views", sum(layout.GetViewLocation(view) >= 0 for view in GetRenderViews()))
fitting.fit_layout(layout, (800, 450))
SaveScreenshot({picture!r}, layout, ImageResolution=[800, 450])
"""

MISSING_MODEL = """
LoadState("missing_model.pvsm")
FindSource("Profile").UpdatePipeline()
source = FindSource("Your model")
source.Problem, source.Checkpoint, source.Normalization = "two-wells", "", "none"
FindSource("Profile").UpdatePipeline()
print("cells", FindSource("Profile").GetDataInformation(0).GetNumberOfCells())
"""

FEWER_POINTS = {"pinn_convection_profile": (21, 9), "pinn_convection_4d": (11, 5)}
"""Points per axis of a state and its script, and in the tests, which take less time so."""

VIEWS = {"small_multiples": 10}

FEWER_RUNS = {"small_multiples": 'find_file("pinn_sweep.csv")])'}
"""Ends of the line of a script that finds landscapes, of which the tests show three."""

_MOONS = [0, 5, 10, 20, 40, 80, 160, 320]
STEPS = dict.fromkeys(("training_over_time", "tree_ensemble", "basin_tracking"), _MOONS)

# Profiles of the state files when they were made. If the losses are in a store, the sizes are those
# of all basins. If opening a state file samples the losses, they are those of basins with at least
# 5 % of the samples.


def _numbers(text):
    return [int(number) for number in text.split()]


STORED_SIZES = {
    "two_wells": [[340, 401, 1681]],
    "small_multiples": [
        [1681],
        [1681],
        [1681],
        [1681],
        [1681],
        [1681],
        _numbers(
            "1 1 1 1 2 2 2 3 4 4 6 6 8 14 18 31 33 33 54 58 60 81 246 268 487 959 1681",
        ),
        _numbers(
            "1 1 2 2 3 3 6 9 11 14 18 21 24 25 29 30 33 34 142 214 288 336 431 485 642 670 1060 "
            "1528 1681"
        ),
        [2, 16, 18, 25, 62, 986, 1404, 1637, 1681],
    ],
}
SAMPLED_SIZES = {
    "pinn_convection_profile": [[95, 285, 360, 547, 729]],
    "pinn_convection_4d": [[42, 154, 249, 307, 436, 625]],
    "training_over_time": [[73, 77, 134, 961]],
    "tree_ensemble": [[33, 37, 60, 441]],
    "basin_tracking": [[33, 37, 60, 441]],
    "your_model": [[75, 125, 229, 278, 303, 961]],
}
# lowest and highest loss of each profile
LOSS_RANGES = {
    "two_wells": [[-0.10000000000000003, 4.827160493827167]],
    "small_multiples": [
        [0.00013076818140689284, 123.74092102050781],
        [0.00014879707305226475, 105.59750366210938],
        [0.00015221897047013044, 153.2000274658203],
        [0.0002661206526681781, 655.0272216796875],
        [0.0003457668353803456, 118.94710540771484],
        [0.00037458958104252815, 851.892578125],
        [0.001438072999008, 4573.12109375],
        [0.0018434000667184591, 3551.6767578125],
        [0.005545627325773239, 6158.31298828125],
    ],
    "pinn_convection_profile": [[0.005545627326, 45617.30859]],
    "pinn_convection_4d": [[0.005545627326, 39063.75781]],
    "training_over_time": [[0.4388291240, 9.150936127]],
    "tree_ensemble": [[0.4450367987, 9.150936127]],
    "basin_tracking": [[0.4450367987, 9.150936127]],
    "your_model": [[0.016524385661, 16.78747749]],
}


def replace_once(text, before, after):
    assert text.count(before) == 1
    return text.replace(before, after)


def with_resolution(state, before, after):
    """Return the text of a state whose source has another number of points per axis."""
    pattern = f'(<Property name="Resolution"[^>]*>\\s*<Element index="0" value="){before}"'
    changed, count = re.subn(pattern, f'\\g<1>{after}"', state)
    assert count == 1
    return changed


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Return the folder and the summaries of all states; one process opens them."""
    folder, snippets = tmp_path_factory.mktemp("states"), {}
    for state in STATES:
        file = state
        if state.stem in FEWER_POINTS:
            file = folder / state.name
            text = with_resolution(state.read_text("utf-8"), *FEWER_POINTS[state.stem])
            file.write_text(text, encoding="utf-8")
        snippets[state.stem] = f"LoadState({str(file)!r})\n" + summary(folder, state.stem)
    for old in OLD_STATES:
        text = gzip.decompress(old.read_bytes()).decode()
        (folder / old.stem).write_text(with_resolution(text, 21, 9))
        snippets[old.name] = f"LoadState({old.stem!r})\n" + summary(folder, old.stem)
    state = (ROOT / "state_files" / "your_model.pvsm").read_text(encoding="utf-8")
    without_model = state.replace("two_moons.py", "no_moons.py")
    (folder / "missing_model.pvsm").write_text(without_model, encoding="utf-8")
    snippets["missing model"] = MISSING_MODEL
    return folder, run_snippets(snippets, folder, display=True)


@pytest.fixture(scope="module")
def scripts(request, tmp_path_factory):
    """Return the folder and the summaries of the scripts that the chosen tests compare."""
    folder, snippets = tmp_path_factory.mktemp("scripts"), {}
    chosen = [getattr(item, "callspec", None) for item in request.session.items]
    names = {spec.params.get("script") for spec in chosen if spec is not None}
    for script in (state.with_suffix(".py") for state in STATES if state.stem in names):
        text = script.read_text("utf-8")
        if script.stem in FEWER_POINTS:
            before, after = FEWER_POINTS[script.stem]
            text = replace_once(text, f"Resolution={before}", f"Resolution={after}")
        if script.stem in FEWER_RUNS:
            found = FEWER_RUNS[script.stem]
            text = replace_once(text, found, f"{found}[:3]")
        run_script = f"exec(compile({text!r}, {str(script)!r}, 'exec'))\n"
        snippets[script.stem] = run_script + summary(folder, script.stem)
    return folder, run_snippets(snippets, folder, display=True)


def summary(folder, name):
    """Return code that prints what a session shows, and draws it."""
    return SUMMARY.format(picture=str(folder / f"{name}.png"))


def shown(result):
    """Return the printed summary of a session, independent of the order of its profiles."""
    assert result.code == 0, result.text
    assert result.errors == []
    found = {}
    for line in result.text.splitlines():
        name, _, value = line.partition(" ")
        if name in ("sizes", "range", "steps", "views"):
            found.setdefault(name, []).append(ast.literal_eval(value))
    assert all(found["sizes"])
    return {name: sorted(values) for name, values in found.items()}


def test_each_use_has_a_state_file():
    stems = {path.stem for path in ALL_STATES}
    assert stems == {
        "two_wells",
        "pinn_convection_profile",
        "pinn_convection_4d",
        "training_over_time",
        "small_multiples",
        "tree_ensemble",
        "basin_tracking",
        "ttk_distances",
        "ttk_clusters",
        "ttk_key_steps",
        "ttk_tracking",
        "your_model",
    }
    text = (ROOT / "state_files" / "README.md").read_text(encoding="utf-8")
    assert all(f"\n## {stem}\n" in text for stem in stems)


QUICK_SCRIPTS = ("two_wells", "your_model")


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(s.stem, marks=() if s.stem in QUICK_SCRIPTS else pytest.mark.exhaustive)
        for s in STATES
    ],
)
def test_a_state_shows_what_its_script_shows(states, scripts, script):
    opened, ran = (shown(results[script]) for _, results in (states, scripts))
    if script in FEWER_RUNS:
        assert ran["views"] == [4]
        assert len(ran["sizes"]) == 3
        assert all(sizes in opened["sizes"] for sizes in ran["sizes"])
        return
    assert opened == ran
    folders = (states[0], scripts[0])
    pictures = [Image.open(folder / f"{script}.png").convert("RGB") for folder in folders]
    difference = ImageStat.Stat(ImageChops.difference(*pictures)).mean
    assert max(difference) < 2.0


@pytest.mark.parametrize("name", [path.stem for path in STATES])
def test_a_state_shows_what_was_recorded(states, name):
    state = shown(states[1][name])
    assert state["views"] == [VIEWS.get(name, 2)]
    assert state["steps"] == [STEPS.get(name, [])]
    sizes = sorted(sorted(profile) for profile in state["sizes"])
    if name in STORED_SIZES:
        assert sizes == sorted(STORED_SIZES[name])
        assert state["range"] == pytest.approx(np.array(LOSS_RANGES[name]), rel=1e-12)
        return
    large = [[size for size in profile if size >= 0.05 * max(profile)] for profile in sizes]
    for found, recorded in zip(large, SAMPLED_SIZES[name], strict=True):
        assert found[-1] == recorded[-1]
        assert found == pytest.approx(recorded, rel=0.03, abs=3)
    assert state["range"] == pytest.approx(np.array(LOSS_RANGES[name]), rel=1e-3)


@pytest.mark.parametrize("state", OLD_STATES, ids=lambda path: path.stem)
def test_a_state_of_an_older_version_still_opens(states, state):
    assert shown(states[1][state.name])["views"] == [2]


@pytest.mark.parametrize("state", ALL_STATES, ids=lambda path: path.stem)
def test_a_state_names_no_folder_of_a_machine(state):
    text = state.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


@pytest.mark.parametrize("state", ALL_STATES, ids=lambda state: state.stem)
def test_labels_of_colour_bars_have_no_format_of_a_version(state):
    """ParaView 6.1 shows a format of printf in a state as it is; automatic labels have none."""
    formats = re.findall(
        r'"AutomaticLabelFormat"[^>]*>\s*<Element index="0" value="(\d)"', state.read_text()
    )
    assert set(formats) == {"1"}


def test_a_state_without_its_model_file_reports_it_and_opens(states):
    done = states[1]["missing model"]
    assert done.code == 0, done.text
    (error,) = done.errors
    assert "no_moons.py'" in error
    assert "cells 3" in done.text
