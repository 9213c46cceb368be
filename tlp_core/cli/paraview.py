"""ParaView's programs with the suite: ``paraview``, ``pvpython``, ``pvbatch``, ``pvserver``."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from xml.sax.saxutils import quoteattr

from platformdirs import user_cache_path

from tlp_core.atomic_files import atomic_write
from tlp_core.cli.options import Parsers, add_command
from tlp_core.version import major_minor

PROGRAMS = {
    "paraview": "start ParaView's window with the suite",
    "pvpython": "run a script in ParaView's Python with the suite",
    "pvbatch": "run a script in ParaView's batch program with the suite",
    "pvserver": "start ParaView's server with the suite",
}

PARAVIEW_VARIABLE = "TLP_PARAVIEW"
"""Environment variable with the folder of a ParaView."""

_PLUGIN = "TopologicalLandscapeProfiles.xml"
_TTK_VARIABLE = "TLP_TTK_PLUGIN"

_NUMPY_LIMITS = (((5, 13), (2, 0)), ((6, 1), (2, 4)))
"""ParaView before the first version needs NumPy before the second; CMakeLists.txt has them, too."""

_DESCRIBE = (
    "import sys, paraview, numpy;"
    "print('described', paraview.__version__, '%d.%d' % sys.version_info[:2], numpy.__version__)"
)


def add_commands(commands: Parsers) -> None:
    """Add the commands to the parser of ``tlp``."""
    for program, text in PROGRAMS.items():
        command = add_command(commands, program, start, text)
        command.add_argument(
            "--paraview",
            dest="folder",
            default=os.environ.get(PARAVIEW_VARIABLE, ""),
            help="folder of ParaView, with bin/pvpython (default: the environment variable "
            f"{PARAVIEW_VARIABLE}, else the programs on PATH)",
        )
        command.add_argument(
            "rest", nargs=argparse.REMAINDER, metavar="...", help="arguments of the program"
        )


def separated(arguments: Sequence[str]) -> list[str]:
    """Return the arguments of the command line with ``--`` before those of ParaView's program.

    Without it, argparse would take them for options of ``tlp``.

    Args:
        arguments: of the command line.
    """
    if not arguments or arguments[0] not in PROGRAMS:
        return list(arguments)
    own, rest = [arguments[0]], list(arguments[1:])
    while rest and (rest[0] in ("-h", "--help") or rest[0].startswith("--paraview")):
        own += rest[: 1 if "=" in rest[0] or not rest[0].startswith("--paraview") else 2]
        rest = list(arguments[len(own) :])
    return [*own, *([] if rest[:1] == ["--"] else ["--"]), *rest]


def start(options: argparse.Namespace) -> int:
    """Start a program of ParaView in place of this one."""
    program, plugin = find_program(options.command, options.folder), find_plugin()
    environment = paraview_environment(plugin, find_ttk_plugin(program))
    check_paraview(find_program("pvpython", options.folder), environment)
    if options.command == "paraview":
        add_macros()
    rest = options.rest[1:] if options.rest[:1] == ["--"] else options.rest
    sys.stdout.flush()
    os.execve(program, [str(program), *rest], environment)


def find_program(name: str, folder: str) -> Path:
    """Return a program of ParaView.

    Args:
        name: such as ``pvpython``.
        folder: folder of ParaView, or of its programs; empty for those on PATH.

    Raises:
        FileNotFoundError: if there is none.
    """
    search = os.pathsep.join([str(Path(folder) / "bin"), folder]) if folder else None
    found = shutil.which(name, path=search)
    if found is None:
        place = f"in {folder}" if folder else "on PATH"
        raise FileNotFoundError(
            f"ParaView's program {name} must be installed, found none {place}; install ParaView "
            "(Debian: apt install paraview python3-paraview), or name its folder by --paraview"
        )
    return Path(found)


def find_plugin() -> Path:
    """Return the plugin's file, of the wheel or of a checkout.

    Raises:
        FileNotFoundError: if this installation has no plugin.
    """
    package = _plugin_package()
    places = (package / _PLUGIN, package.parent / _PLUGIN)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the plugin {_PLUGIN} must be in {package} or beside it, found none; install the "
            "suite again"
        )
    return found


def find_ttk_plugin(program: Path) -> Path | None:
    """Return TTK's plugin, of the environment or of ParaView's plugins; None if there is none.

    Args:
        program: one of ParaView's programs.

    Raises:
        FileNotFoundError: if the environment variable names no file.
    """
    named = os.environ.get(_TTK_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(
                f"{_TTK_VARIABLE} must name TTK's plugin file, got {named}; correct or unset it"
            )
        return Path(named).absolute()
    prefix = program.resolve().parent.parent
    found = [
        place
        for lib in ("lib*", "lib/*")
        for inner in ("", "TopologyToolKit/")
        for ending in ("so", "dylib", "dll")
        for place in prefix.glob(f"{lib}/paraview-*/plugins/{inner}TopologyToolKit.{ending}")
    ]
    return next(iter(sorted(found)), None)


def paraview_environment(plugin: Path, ttk_plugin: Path | None) -> dict[str, str]:
    """Return the environment in which ParaView finds the suite, its packages and its plugin.

    At its start, ParaView loads TTK's plugin and all others in its folder. State files with TTK's
    filters need it.

    Args:
        plugin: the plugin's file.
        ttk_plugin: TTK's, or None.
    """
    places = dict.fromkeys(
        str(place)
        for place in (
            Path(__file__).resolve().parents[2],
            _plugin_package().parent,
            sysconfig.get_path("purelib"),
            sysconfig.get_path("platlib"),
        )
    )
    own = {
        "PYTHONPATH": os.pathsep.join(places),
        "PV_PLUGIN_CONFIG_FILE": str(_write_plugin_list(plugin)),
    }
    if ttk_plugin is not None:
        own["PV_PLUGIN_PATH"] = str(ttk_plugin.parent)
    merged = {
        name: os.pathsep.join(filter(None, (value, os.environ.get(name))))
        for name, value in own.items()
    }
    # without PASSIVE, waiting threads spin, and torch is four times slower inside ParaView
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, **merged}


def check_paraview(pvpython: Path, environment: dict[str, str]) -> None:
    """Check that a ParaView can run the suite.

    Args:
        pvpython: its Python program.
        environment: with the suite.

    Raises:
        RuntimeError: if it does not start, embeds another version of Python, or does not work with
            the installed NumPy.
    """
    done = subprocess.run(
        [str(pvpython), "-c", _DESCRIBE], env=environment, capture_output=True, text=True
    )
    lines = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("described ")]
    if not lines:
        last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"{pvpython} must start, and printed: {last}")
    ((paraview, python, numpy),) = lines
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python != own:
        raise RuntimeError(
            f"ParaView {paraview} at {pvpython} embeds Python {python}, and tlp is installed for "
            f"Python {own}; install it with Python {python}"
        )
    found = major_minor(paraview)
    limit = next((numbers for before, numbers in _NUMPY_LIMITS if found < before), None)
    if limit is not None and major_minor(numpy) >= limit:
        text = f"numpy<{limit[0]}.{limit[1]}"
        raise RuntimeError(
            f"ParaView {paraview} needs {text}, got {numpy}; run: {sys.executable} -m pip install "
            f"'{text}'"
        )


def add_macros() -> None:
    """Copy the macros to ParaView's macros of the user, unless one there has the name."""
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    for macro in sorted((_plugin_package() / "macros").glob("*.py")):
        target = folder / "ParaView" / "Macros" / macro.name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(macro, target)
            print(f"tlp paraview: added the macro {target}", file=sys.stderr)


def _plugin_package() -> Path:
    """Return the folder of the package tlp_paraview.

    Raises:
        FileNotFoundError: if it is not installed.
    """
    spec = find_spec("tlp_paraview")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(
            "the package tlp_paraview with the plugin must be installed beside tlp_core, found "
            f"none for {sys.executable}; install the suite by pip, or use the launchers of CMake"
        )
    return Path(spec.origin).parent


def _write_plugin_list(plugin: Path) -> Path:
    """Write the file that tells ParaView to load the plugin at its start, and return its path."""
    file = user_cache_path("tlp") / "plugins.xml"
    text = (
        '<?xml version="1.0"?>\n<Plugins>\n  <Plugin name="TopologicalLandscapeProfiles" '
        f'filename={quoteattr(str(plugin))} auto_load="1"/>\n</Plugins>\n'
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return file
