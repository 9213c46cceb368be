"""The pipeline from a source to the profile, for the GUI and for scripts.

    source → TLP Neighbor Graph → merge tree → TLP Tree Simplification
           → TLP Landscape Profile and Descriptors

The merge tree filter is TTK's if its plugin can be loaded, and TLP Merge Tree otherwise.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from paraview import servermanager, simple
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkOutputWindow

from tlp_core import array_names as names
from tlp_core.analysis.descriptors import Descriptors
from tlp_core.atomic_files import atomic_write
from tlp_core.problems import HUGGING_FACE
from tlp_paraview.files import plugin_file
from tlp_paraview.folders import library_folders
from tlp_paraview.neighbor_graph import reason_against_ttk

PROFILE = "TLPLandscapeProfile"
READERS = ("TLPLossLandscape", "TLPLandscapeReader", "TLPBlockTable")
"""Names of the proxies with paths of files."""
DESCRIPTORS = "TLPLandscapeDescriptors"
SIMPLIFICATION = "TLPTreeSimplification"
BUILT_IN = "TLP Merge Tree"
TTK_VARIABLE = "TLP_TTK_PLUGIN"
TTK_FILTERS = ("TTKMergeTree", "TTKMergeandContourTreeFTM")
"""Names of TTK's filter: since 1.3, and before."""

_ERROR = re.compile(r"\bERR(OR)?\b|Traceback")
"""Pattern of error messages; ParaView reports other text on stderr as errors, too."""

_PLACE = re.compile(r"^(\S+:\d+ ERR: |ERROR: In .*?\):\s*)", re.DOTALL)
"""Pattern of what comes before the text of an error: of ParaView's log, and of VTK's."""


@dataclass(frozen=True)
class Pipeline:
    """The proxies of one pipeline.

    Attributes:
        source: source or reader of the landscape.
        graph: TLP Neighbor Graph.
        tree: the merge tree filter.
        simplification: TLP Tree Simplification; None in pipelines of version 0.1.0.
        profile: TLP Landscape Profile.
        descriptors: TLP Landscape Descriptors.
        tree_filter: which merge tree filter is used, and the reason if it is the built-in one.
    """

    source: Any
    graph: Any
    tree: Any
    simplification: Any
    profile: Any
    descriptors: Any
    tree_filter: str

    @property
    def basins(self) -> Any:
        """Port 0 of the profile, the basins."""
        return simple.OutputPort(self.profile, 0)

    @property
    def critical_points(self) -> Any:
        """Port 1 of the profile, the critical points."""
        return simple.OutputPort(self.profile, 1)

    @property
    def samples(self) -> Any:
        """Port 2 of the profile, the samples with their basins."""
        return simple.OutputPort(self.profile, 2)

    @property
    def outline(self) -> Any:
        """Port 3 of the profile, the outline."""
        return simple.OutputPort(self.profile, 3)

    @property
    def branches(self) -> Any:
        """Port 4 of the profile, the merge tree drawn over the profile."""
        return simple.OutputPort(self.profile, 4)

    @property
    def diagram(self) -> Any:
        """Port 5 of the profile, the persistence diagram."""
        return simple.OutputPort(self.profile, 5)

    @property
    def faint_basins(self) -> Any:
        """Port 6 of the profile, the basins that may be noise."""
        return simple.OutputPort(self.profile, 6)

    @property
    def network(self) -> Any:
        """Port 7 of the profile, the given network in the profile."""
        return simple.OutputPort(self.profile, 7)

    @property
    def network_sample(self) -> Any:
        """Port 8 of the profile, the given network in the landscape."""
        return simple.OutputPort(self.profile, 8)


def load_plugin() -> None:
    """Load the suite's plugin unless it is loaded.

    With a server, the plugin is loaded on the server, too, where it must be at the same path.
    Afterwards, the proxies are functions of ``paraview.simple``.
    """
    plugin = str(plugin_file())
    known = servermanager.ActiveConnection.Session.GetProxyDefinitionManager()
    if not known.HasDefinition("filters", PROFILE):
        simple.LoadPlugin(plugin, remote=_is_remote(), ns=vars(simple))
    if not hasattr(simple, PROFILE):
        simple.LoadPlugin(plugin, remote=False, ns=vars(simple))


def find_ttk_plugin() -> Path | None:
    """Return the path of TTK's plugin.

    Returns:
        The file that the environment variable TLP_TTK_PLUGIN names, else the first in ParaView's
        plugin folders; None if there is none.

    Raises:
        FileNotFoundError: if TLP_TTK_PLUGIN names no file.
    """
    named = os.environ.get(TTK_VARIABLE)
    if named:
        if not Path(named).is_file():
            raise FileNotFoundError(
                f"{TTK_VARIABLE} must name TTK's plugin file, got {named}; correct or unset it"
            )
        return Path(named)
    places = [
        folder / inner / file
        for folder in library_folders()
        for inner in ("", "TopologyToolKit")
        for file in ("TopologyToolKit.so", "TopologyToolKit.dll", "TopologyToolKit.dylib")
    ]
    return next((place for place in places if place.is_file()), None)


def ttk_filter() -> Any:
    """Load TTK's plugin, and return the constructor of its merge tree filter.

    Returns:
        The function of ``paraview.simple``; None if the plugin is not found, or if ParaView is
        connected to a server on which it is not loaded.

    Raises:
        FileNotFoundError: as :func:`find_ttk_plugin`.
    """
    found = _loaded_ttk_filter()
    if found is None and not _is_remote() and (plugin := find_ttk_plugin()) is not None:
        simple.LoadPlugin(str(plugin), remote=False, ns=vars(simple))
        found = _loaded_ttk_filter()
    return found


def build(
    source: Any, *, threshold: float = 0.0, raise_errors: bool = False, use_ttk: bool = True
) -> Pipeline:
    """Build the pipeline behind a source or reader, and run it.

    Args:
        source: proxy of a source or reader with a landscape at port 0.
        threshold: smallest persistence of the basins that stay, as a fraction, 0 to 1, of the range
            of the losses. Default: 0, all basins.
        raise_errors: raise an exception if a filter reports an error. Default: False, filters print
            their errors as everywhere in ParaView; see :func:`pipeline_errors`.
        use_ttk: use TTK's merge tree filter where it can be used. Default: True. With False, TLP
            Merge Tree is used, which gives the same tree.

    Returns:
        The proxies of the pipeline. After an error, their outputs are empty.

    Raises:
        FileNotFoundError: if the environment variable TLP_TTK_PLUGIN names no file.
        RuntimeError: if ``raise_errors``, with the errors of the filters.
    """
    if not raise_errors:
        return _build(source, threshold, use_ttk)
    with raised_errors():
        return _build(source, threshold, use_ttk)


@contextmanager
def raised_errors() -> Iterator[None]:
    """Raise the errors that filters print in the block.

    Raises:
        RuntimeError: at the end of the block, with the errors.
    """
    with pipeline_errors() as errors:
        yield
    if errors:
        raise RuntimeError("; ".join(dict.fromkeys(map(_without_place, errors))))


def _without_place(message: str) -> str:
    """Return the sentence of an error message, without the place in the code before it."""
    return " ".join(_PLACE.sub("", message).split())


def _build(source: Any, threshold: float, use_ttk: bool) -> Pipeline:
    load_plugin()
    source.UpdatePipeline()
    graph = simple.TLPNeighborGraph(registrationName="Neighbor Graph", Input=source)
    graph.UpdatePipeline()
    tree, tree_filter = _merge_tree(graph) if use_ttk else (_built_in_tree(graph), BUILT_IN)
    return _behind_tree(source, graph, tree, tree_filter, threshold)


def build_from_graph(graph: Any, *, threshold: float = 0.0) -> Pipeline:
    """Build the pipeline behind a graph, such as a TLP Tree Barycenter, and run it.

    Args:
        graph: proxy with samples and the lines between neighbours at port 0.
        threshold: as in :func:`build`.

    Returns:
        The proxies of the pipeline, with the built-in merge tree filter: TTK's ends the process on
        some graphs that are trees.
    """
    load_plugin()
    graph.UpdatePipeline()
    return _behind_tree(graph, graph, _built_in_tree(graph), BUILT_IN, threshold)


def _behind_tree(
    source: Any, graph: Any, tree: Any, tree_filter: str, threshold: float
) -> Pipeline:
    tree.UpdatePipeline()
    scalars = {"ScalarField": ["POINTS", names.LOSS]}
    simplification = simple.TLPTreeSimplification(
        registrationName="Tree Simplification",
        PersistenceThreshold=threshold,
        **_ports(tree),
        **scalars,
    )
    simplification.UpdatePipeline()
    ports = _ports(simplification)
    profile = simple.TLPLandscapeProfile(registrationName="Profile", **ports, **scalars)
    descriptors = _descriptors(simplification)
    profile.UpdatePipeline()
    descriptors.UpdatePipeline()
    return Pipeline(source, graph, tree, simplification, profile, descriptors, tree_filter)


def _descriptors(tree: Any) -> Any:
    return simple.TLPLandscapeDescriptors(
        registrationName="Descriptors", ScalarField=["POINTS", names.LOSS], **_ports(tree)
    )


def find_pipeline(profile: Any) -> Pipeline | None:
    """Return the pipeline of a profile, such as one of a state file; None if filters are missing.

    Descriptors that were deleted are made again, because titles need them.

    Args:
        profile: proxy of a TLP Landscape Profile.
    """
    last = _producer(profile, "Nodes")
    is_simplified = _has_name(last, SIMPLIFICATION)
    tree = _producer(last, "Nodes") if is_simplified else last
    graph = _producer(tree, "Input")
    source = _producer(graph, "Input")
    tables = [proxy for proxy in simple.GetSources().values() if _has_name(proxy, DESCRIPTORS)]
    followers = [table for table in tables if _producer(table, "Nodes") == last]
    if source is None:
        return None
    simplification = last if is_simplified else None
    label = tree.SMProxy.GetXMLLabel()
    descriptors = followers[0] if followers else _descriptors(last)
    return Pipeline(source, graph, tree, simplification, profile, descriptors, label)


def replace_crashing_tree(pipeline: Pipeline) -> Pipeline:
    """Replace TTK's merge tree filter if the neighbour graph reports that it would crash.

    The landscape may have changed since the pipeline was built, for example to one direction.

    Args:
        pipeline: a pipeline.

    Returns:
        The pipeline, with TLP Merge Tree if TTK's filter cannot be used.
    """
    graph = pipeline.graph
    has_samples = pipeline.source.GetDataInformation().GetNumberOfPoints() > 0
    is_refused = has_samples and not graph.GetDataInformation().GetNumberOfPoints()
    if not (getattr(graph, "CheckForTTK", 0) and is_refused):
        return pipeline
    graph.CheckForTTK = 0
    tree = _built_in_tree(graph)
    last = pipeline.simplification
    for follower in [last] if last is not None else [pipeline.profile, pipeline.descriptors]:
        for name, port in _ports(tree).items():
            setattr(follower, name, port)
    simple.Delete(pipeline.tree)
    for proxy in (pipeline.profile, pipeline.descriptors):
        proxy.UpdatePipeline()
    return replace(pipeline, tree=tree, tree_filter=BUILT_IN)


def is_landscape(source: Any) -> bool:
    """Return whether a proxy has losses and is not part of the pipeline of a profile."""
    if any(is_connected(source, profile) for profile in all_profiles()):
        return False
    source.UpdatePipeline()
    return source.PointData[names.LOSS] is not None


def all_profiles() -> list[Any]:
    """Return the profile filters of the session."""
    proxies = simple.GetSources().values()
    return [proxy for proxy in proxies if _has_name(proxy, PROFILE)]


def comes_from(proxy: Any, origin: Any) -> bool:
    """Return whether a proxy is another one, or downstream of it."""
    return origin.SMProxy in upstream(proxy.SMProxy)


def is_connected(proxy: Any, profile: Any) -> bool:
    """Return whether a proxy is before or behind a profile, or the profile itself."""
    return comes_from(proxy, profile) or comes_from(profile, proxy)


def is_beside(proxy: Any, profile: Any) -> bool:
    """Return whether a proxy is behind the merge tree that a profile draws, as descriptors are."""
    tree = _producer(profile, "Nodes")
    return tree is not None and comes_from(proxy, tree)


def upstream(proxy: Any) -> Iterator[Any]:
    """Yield a proxy of ParaView's C++ classes, and all sources and filters from which it comes."""
    yield proxy
    for i in range(proxy.GetNumberOfProducers()):
        producer = proxy.GetProducerProxy(i)
        if producer is not None and producer.GetXMLGroup() in ("sources", "filters"):
            yield from upstream(producer)


def number_of_directions(source: Any) -> int:
    """Return n, the number of coordinates of each sample; 0 if the samples have none."""
    array = source.PointData.GetArray(names.COORDINATES)
    return 0 if array is None else int(array.GetNumberOfComponents())


def steps_of(source: Any) -> list[float]:
    """Return the steps of a training; an empty list for a source with a single landscape."""
    steps = getattr(source, "TimestepValues", None)
    listed = list(steps) if hasattr(steps, "__len__") else [steps] if steps is not None else []
    return listed if len(listed) > 1 else []


def title(pipeline: Pipeline, *, metrics: bool = True) -> str:
    """Return the title of a pipeline: the name of the problem, and its metrics.

    Args:
        pipeline: the pipeline.
        metrics: append the metrics of the problem, such as an accuracy. Default: True.
    """
    row = servermanager.Fetch(pipeline.descriptors).GetRowData()
    columns = [row.GetArrayName(i) for i in range(row.GetNumberOfArrays())]
    if not columns:
        return "loss landscape"
    name, *metric_names = columns[: columns.index(fields(Descriptors)[0].name)]
    shown = metric_names if metrics else []
    texts = [f"{metric} {row.GetAbstractArray(metric).GetValue(0):.2g}" for metric in shown]
    return ", ".join([row.GetAbstractArray(name).GetValue(0) or "loss landscape", *texts])


def save_state(path: str) -> None:
    """Save a state file in which the suite's paths are relative to the folder of the state.

    The folder can then be moved with its files. ``LoadState`` and the option ``--state`` look up
    relative paths beside the state file.

    Args:
        path: the state file, NAME.pvsm.
    """
    simple.SaveState(path)
    file = Path(path).resolve()
    state = ElementTree.parse(file)
    for proxy in state.iter("Proxy"):
        if proxy.get("type") in READERS:
            for value in proxy.iter("Element"):
                text = value.get("value", "")
                prefix = HUGGING_FACE if text.startswith(HUGGING_FACE) else ""
                place = Path(text.removeprefix(prefix))
                if place.is_absolute() and file.parent in place.parents:
                    value.set("value", prefix + str(place.relative_to(file.parent)))
    with atomic_write(file) as temporary:
        state.write(temporary, encoding="utf-8")


@contextmanager
def pipeline_errors() -> Iterator[list[str]]:
    """Collect the error messages of filters, because filter errors do not raise exceptions.

    Yields:
        A list to which each error message is appended while the block runs.

    Example:
        with pipeline_errors() as errors:
            build(source)
        sys.exit(1 if errors else 0)
    """
    errors: list[str] = []

    def note(_window: Any, _event: str, text: str | None = None) -> None:
        if _ERROR.search(text or ""):
            errors.append((text or "").strip())

    note.CallDataType = "string0"  # type: ignore[attr-defined]
    window = vtkOutputWindow.GetInstance()
    tag = window.AddObserver("ErrorEvent", note)
    try:
        yield errors
    finally:
        window.RemoveObserver(tag)


def _ports(tree: Any) -> dict[str, Any]:
    """Return the outputs of a merge tree filter, by the names of the inputs of its followers."""
    inputs = ("Nodes", "Arcs", "Segmentation")
    return {name: simple.OutputPort(tree, port) for port, name in enumerate(inputs)}


def _has_name(proxy: Any, name: str) -> bool:
    return proxy is not None and bool(proxy.SMProxy.GetXMLName() == name)


def _producer(proxy: Any, input_name: str) -> Any:
    """Return the proxy connected to an input; None if there is no such input or connection."""
    connection = getattr(proxy, input_name, None)
    producer = getattr(connection, "SMProxy", None)
    return servermanager._getPyProxy(producer) if producer is not None else None


def _is_remote() -> bool:
    """Return whether ParaView is connected to a server, which loads its own plugins."""
    return bool(servermanager.ActiveConnection.IsRemote())


def _loaded_ttk_filter() -> Any:
    return next((getattr(simple, name) for name in TTK_FILTERS if hasattr(simple, name)), None)


def _built_in_tree(graph: Any) -> Any:
    tree = simple.TLPMergeTree(registrationName="Merge Tree", Input=graph)
    tree.ScalarField = ["POINTS", names.LOSS]
    tree.UpdatePipeline()
    return tree


def _merge_tree(graph: Any) -> tuple[Any, str]:
    """Return a merge tree filter behind the graph, and a text that says which filter it is.

    The built-in filter runs first: it is fast, and its tree shows whether TTK's filter can be used.
    """
    tree = _built_in_tree(graph)
    make = ttk_filter()
    reason = "TTK's plugin was not found" if make is None else _reason_against_ttk(graph, tree)
    if reason:
        return tree, f"{BUILT_IN} (built in: {reason})"
    simple.Delete(tree)
    graph.CheckForTTK = 1  # the landscape may change later
    tree = make(registrationName="Merge Tree", Input=graph)
    tree.ScalarField = ["POINTS", names.LOSS]
    tree.TreeType = "Join Tree"
    tree.DebugLevel = 0
    return tree, "TTK's merge tree filter"


def _reason_against_ttk(graph: Any, tree: Any) -> str:
    """Return the reason why TTK's filter cannot be used on a graph; empty if it can be used."""
    if not tree.GetDataInformation(0).GetNumberOfPoints():
        return "the tree is empty"
    if servermanager.ActiveConnection.GetNumberOfDataPartitions() > 1:
        return "TTK's filter hangs where ParaView runs with several processes"
    arcs = servermanager.Fetch(tree, idx=1)
    upper = vtk_to_numpy(arcs.GetCellData().GetArray(names.UP_NODE_ID))
    return reason_against_ttk(
        has_lines=graph.FieldData[names.NUMBER_OF_LINES].GetRange(0)[0] > 0,
        n=number_of_directions(graph),
        arcs_at_root=int((upper == upper.max()).sum()),
    )
