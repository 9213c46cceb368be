"""The layers of the design, read from the imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CORE = sorted((ROOT / "tlp_core").rglob("*.py"))

STAGES = {
    "checks": 0,
    "drafts": 0,
    "array_names": 0,
    "progress": 0,
    "union_find": 0,
    "problem": 1,
    "parameters": 1,
    "directions": 2,
    "hessian": 3,
    "solutions": 3,
    "problems": 3,
    "landscape_store": 3,
    "distribution": 3,
    "series": 3,
    "sweeps": 4,
    "evaluation": 4,
    "landscape": 4,
    "sampling": 5,
    "neighbors": 6,
    "sweep": 7,
    "merge_tree": 8,
    "branches": 9,
    "profile": 10,
    "descriptors": 10,
    "compare": 10,
    "workflow": 11,
    "vtk_bridge": 11,
    "training": 12,
    "transitions": 1,
    "experiments": 14,
    "foreign": 12,
    "cli": 15,
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def stage(module):
    return STAGES.get(module.split(".")[1]) if module.startswith("tlp_core.") else None


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_does_not_know_paraview(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert "paraview" not in tops
    assert "tlp_paraview" not in tops
    if path.parent.name != "vtk_bridge" and path.name != "foreign.py":  # data, and files of data
        assert not tops & {"vtk", "vtkmodules"}


@pytest.mark.parametrize(
    ("package", "owner"),
    [
        ("gudhi", "compare.py"),
        ("h5py", "foreign.py"),
        ("mpi4py", "distribution.py"),
        ("pyhessian", "hessian.py"),
        ("pynndescent", "neighbors.py"),
        ("zarr", "landscape_store.py"),
    ],
)
def test_a_package_has_one_owner(package, owner):
    users = [p.name for p in CORE if package in {n.split(".")[0] for n in imported(p)}]
    assert users == [owner]


@pytest.mark.parametrize("path", CORE, ids=lambda p: str(p.relative_to(ROOT)))
def test_stages_use_earlier_ones(path):
    own = path.relative_to(ROOT / "tlp_core").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    late = {name for name in imported(path) if (stage(name) or 0) > STAGES[own]}
    # a tree's methods forward to branches.py, which works on trees
    assert not {name for name in late if own != "merge_tree" or "branches" not in name}


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
    import tlp_core

    assert callable(tlp_core.topology.merge_tree)
    for name in tlp_core.__all__:
        assert getattr(tlp_core, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'loss_landscape'"):
        tlp_core.loss_landscape  # noqa: B018
