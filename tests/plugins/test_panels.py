"""Tests of the XML file against its classes and the choices of the core."""

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import pytest

from tlp_core.choices import (
    DIRECTION_METHODS,
    ENGINES,
    GRID_RULES,
    KNN_METHODS,
    KNN_RULES,
    NORMALIZATIONS,
    PROFILE_WIDTHS,
    REGIONS,
    SIBLING_ORDERS,
    SPECTRUM_ORDERS,
)
from tlp_core.problems import READY_PROBLEMS

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
ROOT = ElementTree.parse(PLUGINS / "TopologicalLandscapeProfiles.xml").getroot()
PROXIES = {proxy.get("name"): proxy for proxy in ROOT.iter("SourceProxy")}
PROPERTIES = [
    (proxy, element)
    for proxy in PROXIES
    for element in PROXIES[proxy]
    if element.tag.endswith("VectorProperty")
]

PORTS = {
    "TLPLossLandscape": (["Samples", "Image"], []),
    "TLPLandscapeReader": (["Samples", "Image"], []),
    "TLPBlockTable": (["Heat Map", "Labels", "Frame"], []),
    "TLPNeighborGraph": (["Graph"], ["Input"]),
    "TLPLandscapeSlice": (["Slice", "Critical Points", "Network"], ["Input"]),
    "TLPMergeTree": (["Skeleton Nodes", "Skeleton Arcs", "Segmentation"], ["Input"]),
    "TLPTreeSimplification": (
        ["Skeleton Nodes", "Skeleton Arcs", "Segmentation"],
        ["Nodes", "Arcs", "Segmentation"],
    ),
    "TLPLandscapeProfile": (
        [
            "Basins",
            "Critical Points",
            "Samples",
            "Outline",
            "Tree",
            "Persistence Diagram",
            "Faint Basins",
            "Network",
            "Network Sample",
        ],
        ["Nodes", "Arcs", "Segmentation"],
    ),
    "TLPTreeEnsemble": (
        ["Ensemble", "Distances", "Distance Map", "Labels", "Embedding"],
        ["Nodes", "Arcs", "Segmentation"],
    ),
    "TLPDistanceMap": (["Distance Map", "Labels", "Embedding"], ["Distances", "Ensemble"]),
    "TLPTreeBarycenter": (["Graph", "Trees"], ["Trees", "Barycenters", "Matchings"]),
    "TLPBasinTracking": (["Basins", "Relations", "Events", "Labels"], ["Input"]),
    "TLPLandscapeDescriptors": (["Descriptors"], ["Nodes", "Arcs", "Segmentation"]),
}


def behind(proxy):
    pytest.importorskip("paraview")
    module, _, name = PROXIES[proxy].get("class").rpartition(".")
    return getattr(import_module(module), name)


def test_proxies_and_ports_are_those_of_the_design():
    assert {
        name: (
            [port.get("name") for port in proxy.iter("OutputPort")],
            [entry.get("name") for entry in proxy.iter("InputProperty")],
        )
        for name, proxy in PROXIES.items()
    } == PORTS


@pytest.mark.parametrize("proxy", PROXIES)
def test_names_are_labels_without_blanks_and_classes(proxy):
    assert PROXIES[proxy].get("label").replace(" ", "") == proxy
    assert PROXIES[proxy].get("class").endswith(f".{proxy}")
    assert PROXIES[proxy].get("label") == behind(proxy).LABEL


@pytest.mark.parametrize(
    ("proxy", "element"), PROPERTIES, ids=lambda v: getattr(v, "attrib", {}).get("name", v)
)
def test_properties_are_documented_and_named_like_their_labels(proxy, element):
    assert element.get("label").replace(" ", "") == element.get("name")
    assert len(element.findtext("Documentation").split()) >= 3
    assert hasattr(behind(proxy), element.get("command"))


@pytest.mark.parametrize("proxy", PROXIES)
def test_every_proxy_is_in_the_menu_with_help(proxy):
    assert PROXIES[proxy].find("Hints/ShowInMenu").get("category") == "Loss Landscape"
    help_text = PROXIES[proxy].find("Documentation")
    assert 3 <= len(help_text.get("short_help").split()) <= 6
    assert help_text.get("short_help") != help_text.get("long_help")
    assert len(help_text.text.split()) > 10


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_classes_have_as_many_ports(proxy):
    outputs, inputs = PORTS[proxy]
    assert len(behind(proxy).OUTPUTS) == len(outputs)
    assert len(behind(proxy).INPUTS) == len(inputs)


def test_setting_the_defaults_changes_nothing():
    for proxy in PROXIES:
        algorithm = behind(proxy)()
        before = dict(vars(algorithm))
        for owner, element in PROPERTIES:
            command = element.get("command")
            if owner == proxy and command != "SetInputArrayToProcess":
                default = element.get("default_values")
                if default is None:
                    continue  # a list that is empty, or filled by the algorithm
                kind = {"I": int, "D": float, "S": str}[element.tag[0]]
                several = int(element.get("number_of_elements")) > 1
                values = default.split() if several else [default]
                getattr(algorithm, command)(*map(kind, values))
        assert vars(algorithm) == before, proxy


def entries(proxy, name):
    element = next(e for p, e in PROPERTIES if p == proxy and e.get("name") == name)
    return tuple(
        entry.get("text") or entry.get("value")
        for entry in element.iter()
        if entry.tag in ("Entry", "String")
    )


@pytest.mark.parametrize(
    ("proxy", "name", "table"),
    [
        ("TLPLossLandscape", "Problem", (*READY_PROBLEMS, "file", "hugging-face")),
        ("TLPLossLandscape", "Normalization", NORMALIZATIONS),
        ("TLPLossLandscape", "DirectionMethod", DIRECTION_METHODS),
        ("TLPLossLandscape", "Region", REGIONS),
        ("TLPLossLandscape", "Engine", ("automatic", *ENGINES)),
        ("TLPLossLandscape", "Order", SPECTRUM_ORDERS),
        ("TLPLandscapeProfile", "Order", SIBLING_ORDERS),
        ("TLPLandscapeProfile", "Width", PROFILE_WIDTHS),
        ("TLPNeighborGraph", "GridRule", GRID_RULES),
        ("TLPNeighborGraph", "NeighborRule", KNN_RULES),
        ("TLPNeighborGraph", "NeighborMethod", KNN_METHODS),
    ],
)
def test_choices_are_the_cores(proxy, name, table):
    assert entries(proxy, name) == tuple(table)


@pytest.mark.parametrize(
    ("proxy", "name", "table"),
    [
        ("TLPLossLandscape", "StepDirections", "STEP_DIRECTIONS"),
        ("TLPLossLandscape", "Sampling", "SAMPLINGS"),
        ("TLPLossLandscape", "Preset", "PRESETS"),
        ("TLPTreeEnsemble", "DiagramDistance", "DISTANCES"),
        ("TLPNeighborGraph", "Graph", "GRAPHS"),
        ("TLPNeighborGraph", "ImplicitGraph", "IMPLICIT"),
    ],
)
def test_choices_are_those_of_the_class(proxy, name, table):
    assert entries(proxy, name) == tuple(getattr(import_module(behind(proxy).__module__), table))


def test_groups_name_properties_that_come_before_them():
    for proxy, element in PROXIES.items():
        seen = set()
        for child in element:
            if child.tag == "PropertyGroup":
                assert {entry.get("name") for entry in child} <= seen, proxy
            seen.add(child.get("name"))


def test_every_setter_is_a_property():
    for proxy in PROXIES:
        commands = {e.get("command") for p, e in PROPERTIES if p == proxy}
        source = Path(import_module(behind(proxy).__module__).__file__).read_text()
        own = {f"Set{name}" for name in re.findall(r"def Set(\w+)", source)}
        if proxy != "TLPLandscapeDescriptors":
            assert own <= commands, proxy


# property: (the property that decides, its values with which the first is shown, or several such)
SHOWN_WITH = {
    "TLPLossLandscape": {
        "ProblemFile": ("Problem", ["file"]),
        "ProblemFunction": ("Problem", ["file"]),
        "UseDirectionsStep": ("StepDirections", ["one checkpoint"]),
        "DirectionsStep": ("UseDirectionsStep", ["on"], "StepDirections", ["one checkpoint"]),
        "Order": ("DirectionMethod", ["lanczos"]),
        "Distance": ("DistanceByRise", ["off"]),
        "Rise": ("DistanceByRise", ["on"]),
        "Nearest": ("GeometricSpacing", ["on"], "Sampling", ["grid"]),
        "GeometricSpacing": ("Sampling", ["grid"]),
        "Resolution": ("Sampling", ["grid"]),
        "NumberOfSamples": ("Sampling", ["scattered"]),
        "Region": ("Sampling", ["scattered"]),
        "Solutions": ("DirectionMethod", ["trajectory", "checkpoints"]),
        "UseTimeBudget": ("InBackground", ["off"]),
        "TimeBudget": ("UseTimeBudget", ["on"], "InBackground", ["off"]),
        "StopSampling": ("InBackground", ["on"]),
        "CoarseResolutions": ("InBackground", ["on"]),
        "ModelFolder": ("Problem", ["hugging-face"]),
    },
    "TLPNeighborGraph": {
        "GridRule": ("Graph", ["automatic", "grid"]),
        "ImplicitGraph": ("Graph", ["automatic", "grid"]),
        "UseNumberOfNeighbors": ("Graph", ["k nearest neighbors"]),
        "NumberOfNeighbors": (
            *("UseNumberOfNeighbors", ["on"]),
            *("Graph", ["k nearest neighbors"]),
        ),
        "NeighborRule": ("Graph", ["k nearest neighbors"]),
        "NeighborMethod": ("Graph", ["k nearest neighbors"]),
        "Seed": ("NeighborMethod", ["nn-descent"], "Graph", ["k nearest neighbors"]),
    },
    "TLPTreeSimplification": {
        "FalseDiscoveryRate": ("LeaveOutNoise", ["on"]),
        "MaxMinima": ("UseMaxMinima", ["on"]),
    },
    "TLPLandscapeProfile": {
        "FalseDiscoveryRate": ("MarkNoise", ["on"]),
        "LossRange": ("UseLossRange", ["on"]),
        "HeightScale": ("UseHeightScale", ["on"]),
    },
    "TLPTreeEnsemble": {"RelativeLosses": ("DiagramDistance", ["bottleneck", "wasserstein"])},
}

PRESET = {
    "NumberOfDirections",
    "DirectionMethod",
    "Solutions",
    "Order",
    "Sampling",
    "Resolution",
    "NumberOfSamples",
    "Region",
    "GeometricSpacing",
    "Nearest",
}
"""Properties that a preset replaces, so they are also hidden with one."""


def values_by_code(proxy, name):
    """Return the value of a property for each code that a decorator can name."""
    element = next(e for p, e in PROPERTIES if p == proxy and e.get("name") == name)
    if element.find("BooleanDomain") is not None:
        return {"0": "off", "1": "on"}
    codes = [e for e in element.iter() if e.tag in ("Entry", "String")]
    return {e.get("value"): e.get("text") or e.get("value") for e in codes}


def test_what_does_not_apply_is_hidden():
    found, with_preset = {}, {}
    for proxy, root in PROXIES.items():
        for element in root:
            if element.find("Hints/PropertyWidgetDecorator/Expression") is not None:
                continue  # tested below
            for decorator in element.iter("PropertyWidgetDecorator"):
                # ParaView splits "values" at blanks; "value" is one, which may have blanks
                one, several = decorator.get("value"), decorator.get("values", "").split()
                other = decorator.get("property")
                values = [
                    values_by_code(proxy, other)[code] for code in [one] * bool(one) + several
                ]
                place = with_preset if other == "Preset" else found.setdefault(proxy, {})
                name = element.get("name")
                place[name] = (*place.get(name, ()), other, values)
    assert found == SHOWN_WITH
    assert with_preset == {name: ("Preset", ["custom"]) for name in PRESET}


@pytest.mark.parametrize("name", ["MaxIterations", "Tolerance"])
def test_settings_of_the_eigensolver_are_shown_with_a_preset_too(name):
    """A preset has its own method, whatever method was chosen before."""
    element = next(e for p, e in PROPERTIES if (p, e.get("name")) == ("TLPLossLandscape", name))
    presets = import_module(behind("TLPLossLandscape").__module__).PRESETS
    methods = {plan.method for plan in presets.values() if plan is not None}
    assert methods <= {"pyhessian", "lanczos"}
    expression = element.find("Hints/PropertyWidgetDecorator/Expression")
    assert expression.get("type") == "or"
    shown = {}
    for decorator in expression:
        codes = values_by_code("TLPLossLandscape", decorator.get("property"))
        shown[decorator.get("property")] = [codes[c] for c in decorator.get("values").split()]
    assert shown == {
        "DirectionMethod": ["pyhessian", "lanczos"],
        "Preset": [name for name in entries("TLPLossLandscape", "Preset") if name != "custom"],
    }


def test_no_number_means_another_thing():
    """A check box says whether a number counts; 0 and -1 are numbers."""
    meaning = r"(?<![\w.])(0|-1)( \(default\))?: |[Tt]wo equal numbers|negative (number )?means"
    for proxy, element in PROPERTIES:
        if element.find("BooleanDomain") is None and element.find("EnumerationDomain") is None:
            text = element.findtext("Documentation")
            assert not re.search(meaning, text), f"{proxy}.{element.get('name')}"


def test_a_check_box_comes_before_its_value():
    pairs = set()
    for proxy in PROXIES:
        found = {e.get("name"): e for p, e in PROPERTIES if p == proxy}
        for name, value in found.items():
            if f"Use{name}" in found:
                box = found[f"Use{name}"]
                assert box.get("label") == f"Use {value.get('label')}"
                assert box.get("default_values") == "0"
                assert list(found).index(f"Use{name}") + 1 == list(found).index(name)
                pairs.add(name)
    assert pairs == {
        "DirectionsStep",
        "TimeBudget",
        "NumberOfNeighbors",
        "MaxMinima",
        "LossRange",
        "HeightScale",
    }


def test_triton_is_not_imported_if_there_is_no_gpu(tmp_path):
    """Its LLVM and that of the software renderer end ParaView; torch takes it for not installed."""
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    (tmp_path / "triton.py").touch()
    find = "from importlib.util import find_spec; print(find_spec('triton') is None)"
    path = os.pathsep.join([str(tmp_path), str(PLUGINS), str(PLUGINS.parent)])
    for code, is_hidden in ((find, False), (f"import tlp_paraview; {find}", True)):
        found = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert found.stdout == f"{is_hidden}\n"
