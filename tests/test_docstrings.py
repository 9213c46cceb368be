"""Docstrings of the public names: every argument and field, what comes back, what is raised."""

import dataclasses
import inspect
import re

import pytest

import tlp_core

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
