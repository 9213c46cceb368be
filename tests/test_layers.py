"""The layers of the design, read from the folders and the imports."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tlp_core

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "tlp_core").rglob("*.py"))
ENTRY_POINTS = {"__init__", "__main__"}


def module_of(path):
    """The dotted name of a module's file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in CORE}


def imported(path):
    """Every module that a file imports, lazy imports and those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield from [name] if name in MODULES else [node.module, name]


def edges():
    """Pairs of modules of the core, the first of which imports the second."""
    for name, path in MODULES.items():
        yield from ((name, other) for other in imported(path) if other in MODULES)


def stage(module):
    """The folder or file at the top level that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def cycle_in(pairs):
    """A cycle of a graph, or None."""
    above = {}
    for one, other in pairs:
        above.setdefault(one, set()).add(other)
    done, way = set(), []

    def visit(node):
        if node in way:
            return [*way[way.index(node) :], node]
        if node not in done:
            way.append(node)
            for other in sorted(above.get(node, ())):
                if cycle := visit(other):
                    return cycle
            way.pop()
            done.add(node)
        return None

    return next((cycle for node in sorted(above) if (cycle := visit(node))), None)


def test_the_check_for_cycles_finds_one():
    assert cycle_in([("a", "b"), ("b", "c"), ("c", "a")]) == ["a", "b", "c", "a"]
    assert cycle_in([("a", "b"), ("a", "c"), ("b", "c")]) is None


def test_no_module_imports_itself_indirectly():
    assert cycle_in(edges()) is None


def test_no_stage_imports_itself_indirectly():
    stages = {(stage(one), stage(other)) for one, other in edges()}
    assert cycle_in((one, other) for one, other in stages if one != other) is None


def test_stages_use_earlier_ones_of_the_documented_order():
    stages = re.findall(r"^- (.*?):", tlp_core.__doc__, re.MULTILINE)
    order = [re.findall(r"``(\w+)``", line) for line in stages]
    place = {name: number for number, names in enumerate(order) for name in names}
    folders = {path.parent.name for path in (ROOT / "tlp_core").glob("*/__init__.py")}
    assert folders <= place.keys(), "every folder is in the list of stages"
    for one, other in edges():
        own, used = stage(one), stage(other)
        if own in place:
            assert used not in ENTRY_POINTS, f"{one} imports the package itself"
            assert place.get(used, -1) <= place[own], f"{one} imports {other}, a later stage"
        elif own not in ENTRY_POINTS:
            assert used not in place, f"{one} imports {other}"


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_does_not_import_paraview(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"paraview", "tlp_paraview"}
    if path.parent.name != "vtk_bridge":
        assert not tops & {"vtk", "vtkmodules"}


def test_algorithms_do_not_import_what_connects_to_a_server():
    """``paraview.simple`` connects, and changes the Python path: algorithms may run in a server.

    What follows the loading of a state is imported then, in the process that shows the views.
    """
    plugins = ROOT / "plugins"
    panels = (plugins / "TopologicalLandscapeProfiles.xml").read_text(encoding="utf-8")
    waiting = set(re.findall(r'class="(tlp_paraview\.\w+)\.', panels))
    assert len(waiting) > 5
    found = {"tlp_paraview.loaded_states"}
    while waiting - found:
        module = (waiting - found).pop()
        found.add(module)
        names = set(imported(plugins / (module.replace(".", "/") + ".py")))
        assert not {"paraview.simple", "paraview.servermanager"} & names, module
        waiting |= {n for n in names if (plugins / (n.replace(".", "/") + ".py")).is_file()}
    assert "tlp_paraview.folders" in found


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("gudhi", "analysis/distances.py"),
        ("h5py", "landscape/exchange.py"),
        ("lightning", "recorder/lightning.py"),
        ("mpi4py", "sampling/partition.py"),
        ("plotly", "report/page.py"),
        ("pyhessian", "directions/hessian/power_iteration.py"),
        ("pynndescent", "topology/graphs.py"),
        ("ruptures", "analysis/change_points.py"),
        ("wandb", "recorder/outputs.py"),
        ("zarr", "landscape/store.py"),
    ],
)
def test_a_package_has_one_owner(package, owner):
    users = [p for p in CORE if package in {n.split(".")[0] for n in imported(p)}]
    assert users == [ROOT / "tlp_core" / owner]


def test_choices_and_settings_need_no_torch():
    modules = ["choices", "problems.settings", "directions.settings", "sampling.settings"]
    names = ", ".join(f"tlp_core.{m}" for m in [*modules, "pipeline.settings", "cli.options"])
    code = f"import sys; sys.modules['torch'] = None; import {names}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("module", ["paraview", "vtk", "vtkmodules", "torch"])
def test_graph_tree_and_profile_work_without(module):
    code = (
        f"import sys; sys.modules[{module!r}] = None; import tlp_core as t;"
        "tree = t.merge_tree([0., 2., 1., 3.], t.grid_graph((4,)));"
        "print(len(t.landscape_profile(tree).basins), t.describe(tree).number_of_minima)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["3", "2"]


def test_public_names_are_those_of_the_design():
    assert callable(tlp_core.merge_tree)
    for name in tlp_core.__all__:
        assert getattr(tlp_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'loss_landscape'"):
        tlp_core.loss_landscape  # noqa: B018
