"""Functions that run ParaView's programs through the launchers, and return what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COLOR = re.compile("\x1b\\[[0-9;]*m")
ERROR_LINE = re.compile(r"ERR\||Traceback|Segmentation|X Error")


@dataclass(frozen=True)
class Result:
    """Output and exit code of a program."""

    code: int
    text: str

    @property
    def errors(self) -> list[str]:
        """Lines of the output that report an error, without the colours of a terminal."""
        lines = COLOR.sub("", self.text).splitlines()
        return [line for line in lines if ERROR_LINE.search(line)]


def launcher(name: str) -> Path:
    """Return the path of a launcher of the build; skip the test if it does not exist."""
    folder = Path(os.environ.get("TLP_LAUNCHERS", ROOT / "build" / "bin"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"no launcher {name}; configure with CMake, or set TLP_LAUNCHERS")
    return path


def xvfb_run() -> list[str]:
    """Return the command that gives a program a display.

    Each process of pytest-xdist searches from its own display number, because two searches from the
    same number can find the same display.
    """
    program = os.environ.get("TLP_XVFB_RUN") or "xvfb-run"
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return [program, "-n", str(99 + 200 * worker), "-a", "-s", "-screen 0 1600x1000x24 -noreset"]


def run(
    command: list[str | Path], folder: Path, *, display: bool = False, timeout: float = 180
) -> Result:
    """Run a command with its own home folder and, on request, with a display."""
    prefix = xvfb_run() if display else []
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(home),
        "PYTHONUNBUFFERED": "1",  # otherwise errors precede what was printed earlier
    }
    done = subprocess.run(
        [str(part) for part in [*prefix, *command]],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    return Result(done.returncode, done.stdout)


def run_pvpython(code: str, folder: Path, *, display: bool = False, timeout: float = 180) -> Result:
    """Run code in pvpython, after ``from paraview.simple import *``."""
    script = folder / "script.py"
    script.write_text("from paraview.simple import *\n" + code, encoding="utf-8")
    command: list[str | Path] = [launcher("pvpython"), "--dr", "--", script]
    return run(command, folder, display=display, timeout=timeout)


SNIPPETS = """
import builtins, gc, json, pathlib, sys, traceback
import paraview.simple

for name, code in json.loads(pathlib.Path("snippets.json").read_text()).items():
    gc.freeze()  # a trace collects garbage at every call, among all objects of all modules
    print("\\nsnippet", name, flush=True)
    left = 0
    try:
        exec(compile(code, name, "exec"), {"__name__": "__main__", **vars(paraview.simple)})
    except SystemExit as end:
        left = end.code or 0
    except BaseException:
        left = 1
        traceback.print_exc()
    if GetViews():
        ResetSession()
    else:  # which takes less time
        for proxy in GetSources().values():
            Delete(proxy)
    sys.stderr.flush()
    print("\\nexit code", left, flush=True)
"""


def run_snippets(
    snippets: dict[str, str], folder: Path, *, display: bool = False, timeout: float = 900
) -> dict[str, Result]:
    """Run several pieces of code in one pvpython, one after another, each in an empty session.

    Returns:
        For each name, the output of its code and the exit code that it requested.

    Raises:
        RuntimeError: if the program ended early; the message contains its output.
    """
    (folder / "snippets.json").write_text(json.dumps(snippets), encoding="utf-8")
    done = run_pvpython(SNIPPETS, folder, display=display, timeout=timeout)
    results = {}
    for part in done.text.split("\nsnippet ")[1:]:
        name, _, text = part.partition("\n")
        text, ended, code = text.rpartition("\nexit code ")
        if ended:
            results[name] = Result(int(code.split()[0]), text)
    if done.code or len(results) < len(snippets):
        raise RuntimeError(f"pvpython must run all snippets, ended with {done.code}:\n{done.text}")
    return results


def has_ttk(folder: Path) -> bool:
    """Return whether TTK's plugin is named by TLP_TTK_PLUGIN or in ParaView's plugin folders.

    A separate pvpython looks for it. ParaView must not be imported here, because it puts Debian's
    packages before those of the virtual environment.
    """
    code = "from tlp_paraview import pipeline\nprint('ttk', pipeline.find_ttk_plugin())\n"
    done = run_pvpython(code, folder)
    if done.code:
        raise RuntimeError(done.text)
    return "ttk None" not in done.text
