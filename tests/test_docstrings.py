"""Docstrings of the public names: every argument and field, what comes back, what is raised."""

import ast
import dataclasses
import inspect
import re

import pytest

import tlp_core
from tests.paraview_programs import ROOT

FUNCTIONS = [n for n in tlp_core.__all__ if inspect.isfunction(getattr(tlp_core, n))]
RECORDS = [n for n in tlp_core.__all__ if dataclasses.is_dataclass(getattr(tlp_core, n))]


def section(text, name):
    """Return the section of a docstring in Google style; empty if there is none."""
    found = re.search(rf"^{name}:\n((?:[ \t]+.*\n?|\n)+)", inspect.cleandoc(text), re.MULTILINE)
    return found.group(1) if found else ""


def entries(text):
    """Return the names that a section explains."""
    return set(re.findall(r"^    (\w+):", text, re.MULTILINE))


def test_the_public_names_are_functions_and_records():
    others = set(tlp_core.__all__) - {*FUNCTIONS, *RECORDS}
    assert others == {"__version__", "LandscapeRecorder"}


def test_the_recorder_explains_its_arguments():
    create = tlp_core.LandscapeRecorder.__init__
    parameters = set(inspect.signature(create).parameters) - {"self"}
    assert entries(section(create.__doc__, "Args")) == parameters
    assert section(create.__doc__, "Raises")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_explains_arguments_and_errors(name):
    function = getattr(tlp_core, name)
    parameters = set(inspect.signature(function).parameters)
    assert entries(section(function.__doc__, "Args")) == parameters
    assert function.__doc__.startswith("Return ")
    raises = section(function.__doc__, "Raises")
    assert raises or name in {"describe", "persistence_diagram"}, "these raise nothing"


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_explains_its_fields(name):
    record = getattr(tlp_core, name)
    fields = {field.name for field in dataclasses.fields(record)}
    assert entries(section(record.__doc__, "Attributes")) == fields


def functions_in_the_readme():
    """Return the functions of the plugin that the README names, with their arguments as text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    modules = {path.stem for path in (ROOT / "plugins" / "tlp_paraview").glob("*.py")}
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    named = [each for cell in cells for each in re.findall(r"`(\w+)\.(\w+)\((.*?)\)`", cell)]
    return [each for each in named if each[0] in modules]


def test_the_readme_names_functions_of_the_plugin():
    assert len(functions_in_the_readme()) >= 20


@pytest.mark.parametrize(
    ("module", "name", "arguments"), functions_in_the_readme(), ids=lambda each: each[:30]
)
def test_a_function_of_the_plugin_is_as_the_readme_says(module, name, arguments):
    """The functions are read and not imported: ParaView's Python would come into this process."""
    text = (ROOT / "plugins" / "tlp_paraview" / f"{module}.py").read_text(encoding="utf-8")
    tree = ast.parse(text)
    functions = {each.name: each for each in tree.body if isinstance(each, ast.FunctionDef)}
    constants = {
        ast.unparse(each.targets[0]): ast.unparse(each.value)
        for file in (ROOT / "plugins" / "tlp_paraview").glob("*.py")
        for each in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(each, ast.Assign)
    }
    function = functions[name]
    promised = ast.parse(f"def {name}({arguments}): pass").body[0].args
    own = function.args
    for kind in ("posonlyargs", "args", "kwonlyargs"):
        found = [each.arg for each in getattr(own, kind)]
        assert found == [each.arg for each in getattr(promised, kind)], kind
    defaults = [ast.unparse(each) for each in (*own.defaults, *own.kw_defaults) if each]
    wanted = [ast.unparse(each) for each in (*promised.defaults, *promised.kw_defaults) if each]
    assert [constants.get(each.rpartition(".")[2], each) for each in defaults] == wanted
    every = [*own.args, *own.kwonlyargs, *([own.vararg] if own.vararg else [])]
    assert all(each.annotation for each in every)
    assert function.returns
    explained = ast.get_docstring(function)
    assert entries(section(explained, "Args")) == {each.arg for each in every}
