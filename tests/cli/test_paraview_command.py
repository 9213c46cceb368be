"""The commands that start ParaView with the suite."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from tests.paraview_programs import ROOT, launcher, run
from tlp_core.cli.main import main
from tlp_core.cli.paraview import (
    add_macros,
    check_paraview,
    find_program,
    find_ttk_plugin,
    separated,
)

FOLDERS = ("tlp_core", "plugins", "state_files")
MACROS = {"loss_landscape_profile.py", "zoom_into_basins.py"}
FILES = ("pyproject.toml", "setup.py", "README.md", "LICENSE")

OPENED = """
import sys
import tlp_core, tlp_paraview
from paraview import simple
from tlp_paraview import files, pipeline
print("places", tlp_core.__file__, tlp_paraview.__file__, files.plugin_file(), sys.argv[1:])
print("loaded at the start", hasattr(simple, "TLPMergeTree"))
simple.LoadState(str(files.state_folder() / "two_wells.pvsm"))
(profile,) = pipeline.all_profiles()
profile.UpdatePipeline()
print("basins", profile.GetDataInformation(0).GetNumberOfCells())
"""


def paraview_of(folder, described):
    """Make a stand-in for ParaView whose pvpython prints its versions."""
    for name in ("paraview", "pvpython"):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho {described}\n")
        program.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["sample", "x", "--quiet"], ["sample", "x", "--quiet"]),
        (["paraview", "--state=a.pvsm"], ["paraview", "--", "--state=a.pvsm"]),
        (
            ["pvpython", "--paraview", "/opt", "a.py", "-n"],
            ["pvpython", "--paraview", "/opt", "--", "a.py", "-n"],
        ),
        (
            ["pvpython", "--paraview=/opt", "--", "--dr"],
            ["pvpython", "--paraview=/opt", "--", "--dr"],
        ),
        (["pvserver", "-h"], ["pvserver", "-h", "--"]),
        ([], []),
    ],
)
def test_arguments_of_paraview_are_not_those_of_tlp(given, expected):
    assert separated(given) == expected


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ("described 5.11.0 3.9 1.26.4", "embeds Python 3.9, and tlp is installed for Python 3."),
        ("described 5.11.0 {own} 2.1.0", "ParaView 5.11.0 needs numpy<2.0, got 2.1.0; run: "),
        ("described 5.13.2 {own} 2.4.1", "ParaView 5.13.2 needs numpy<2.4, got 2.4.1; run: "),
        ("no display", "must start, and printed: no display"),
    ],
)
def test_a_paraview_that_does_not_fit_is_reported(described, message, tmp_path, capsys):
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = paraview_of(tmp_path, described.format(own=own))
    assert main(["paraview", "--paraview", folder]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("fits", ["5.11.0 {own} 1.26.4", "5.13.2 {own} 2.3.5", "6.1.1 {own} 2.4.1"])
def test_a_paraview_that_fits_is_accepted(fits, tmp_path):
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    folder = paraview_of(tmp_path, f"described {fits.format(own=own)}")
    check_paraview(find_program("pvpython", folder), dict(os.environ))


def test_a_missing_paraview_is_reported(tmp_path, capsys):
    assert main(["pvpython", "--paraview", str(tmp_path), "script.py"]) == 1
    error = capsys.readouterr().err
    assert f"ParaView's program pvpython must be installed, found none in {tmp_path}" in error


def test_macros_are_added_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    add_macros()
    folder = tmp_path / "ParaView" / "Macros"
    assert {path.name for path in folder.iterdir()} == MACROS
    assert capsys.readouterr().err.count("added the macro") == len(MACROS)
    for macro in folder.iterdir():
        macro.write_text("my own")
    add_macros()
    assert {macro.read_text() for macro in folder.iterdir()} == {"my own"}
    assert capsys.readouterr().err == ""


TTK_STAND_IN = """<ServerManagerConfiguration><ProxyGroup name="filters">
  <SourceProxy name="InTTKsPlace" class="vtkShrinkFilter"/>
</ProxyGroup></ServerManagerConfiguration>"""

LOADED = """
from paraview import servermanager, simple
known = servermanager.ActiveConnection.Session.GetProxyDefinitionManager()
print("loaded", known.HasDefinition("filters", "InTTKsPlace"))
"""


@pytest.mark.paraview
@pytest.mark.parametrize("by_tlp", [False, pytest.param(True, marks=pytest.mark.exhaustive)])
def test_ttks_plugin_is_loaded_at_the_start(tmp_path, by_tlp):
    """A state file with TTK's filters opens only then."""
    if by_tlp and shutil.which("pvpython") is None:
        pytest.skip("no pvpython on PATH")
    plugin = tmp_path / "TopologyToolKit" / "TopologyToolKit.xml"
    plugin.parent.mkdir()
    plugin.write_text(TTK_STAND_IN)
    (tmp_path / "loaded.py").write_text(LOADED)
    tlp = [sys.executable, "-m", "tlp_core", "pvpython", "--"]
    command = tlp if by_tlp else [launcher("pvpython")]
    done = run(["env", f"TLP_TTK_PLUGIN={plugin}", *command, "--dr", "loaded.py"], tmp_path)
    assert "loaded True" in done.text


def test_a_named_plugin_of_ttk_must_be_a_file(tmp_path, monkeypatch, capsys):
    """ParaView would load all plugins of its folder."""
    folder = paraview_of(tmp_path, "")
    for named in (tmp_path / "none.so", tmp_path):
        monkeypatch.setenv("TLP_TTK_PLUGIN", str(named))
        assert main(["paraview", "--paraview", folder]) == 1
        assert f"must name TTK's plugin file, got {named}" in capsys.readouterr().err


def test_ttks_plugin_is_found_in_paraviews_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("TLP_TTK_PLUGIN", raising=False)
    program = find_program("paraview", paraview_of(tmp_path, ""))
    assert find_ttk_plugin(program) is None
    plugin = tmp_path / "lib/x86/paraview-5.13/plugins/TopologyToolKit/TopologyToolKit.so"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    assert find_ttk_plugin(program) == plugin


@pytest.mark.paraview
def test_a_wheel_has_all_that_paraview_needs(tmp_path):
    if shutil.which("pvpython") is None:
        pytest.skip("no pvpython on PATH")
    source = tmp_path / "source"
    source.mkdir()
    for path in (ROOT / name for name in (*FOLDERS, *FILES)):
        if path.is_dir():
            shutil.copytree(path, source / path.name)
        else:
            shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "-q"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source], check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"tlp_paraview/macros/{name}" for name in MACROS} <= set(names)
    assert "tlp_core/profile/tlp_blues.json" in names
    states = {path.name for path in (ROOT / "state_files").glob("*.pvsm")}
    assert {f"tlp_paraview/state_files/{name}" for name in states} <= set(names)
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    (tmp_path / "opened.py").write_text(OPENED)
    command = [sys.executable, "-m", "tlp_core", "pvpython", str(tmp_path / "opened.py"), "--own"]
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    places, loaded, basins = done.stdout.splitlines()[-3:]
    assert places.count(str(site)) == 3
    assert places.endswith("['--own']")
    assert loaded == "loaded at the start True"
    assert basins == "basins 3"


GETENT = """#!/bin/sh
echo "user:x:{uid}:{gid}:,,,:{home}:/bin/sh"
"""


@pytest.mark.paraview
@pytest.mark.parametrize("with_sudo", [False, True])
def test_cmake_installs_what_opens_a_state_without_the_clone(tmp_path, with_sudo):
    """The macro goes to the user, with sudo, too, whose HOME may be root's."""
    build = launcher("pvpython").parent.parent
    if shutil.which("cmake") is None or not (build / "cmake_install.cmake").exists():
        pytest.skip("no CMake, or no build folder")
    prefix, home, roots = (tmp_path / name for name in ("prefix", "home", "root"))
    home.mkdir()
    roots.mkdir()
    environment = {**os.environ, "HOME": str(roots if with_sudo else home)}
    environment.pop("DESTDIR", None)
    if with_sudo:
        getent = tmp_path / "bin" / "getent"
        getent.parent.mkdir()
        entry = GETENT.format(uid=os.getuid(), gid=os.getgid(), home=home)
        getent.write_text(entry, encoding="utf-8")
        getent.chmod(0o755)
        environment |= {"SUDO_USER": "user", "PATH": f"{getent.parent}:{os.environ['PATH']}"}
    command = ["cmake", "--install", str(build), "--prefix", str(prefix)]
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert {path.name for path in (home / ".config/ParaView/Macros").iterdir()} == MACROS
    assert not any(roots.iterdir())
    if with_sudo:
        return
    (tmp_path / "opened.py").write_text(OPENED)
    done = run([prefix / "bin" / "tlp-pvpython", "opened.py", "--own"], tmp_path)
    assert done.code == 0, done.text
    assert done.errors == []
    places, loaded, basins = done.text.splitlines()[-3:]
    assert places.count(str(prefix)) == 3
    assert loaded == "loaded at the start True"
    assert basins == "basins 3"
