"""What follows the mouse, the slider and the window while ParaView runs.

Observers end with the session, so a state file cannot keep them: :func:`attach` sets them up (the
macro calls it) for everything that is there, and once for each thing however often it is called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from paraview import servermanager, simple
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.util.vtkConstants import VTK_INT

from tlp_core import array_names as names
from tlp_paraview import fitting, versions
from tlp_paraview.pipeline import all_profiles, comes_from

Ids = npt.NDArray[np.int64]

_MOVED = ("WarpScalar", "TransformFilter")
"""Filters that put samples and critical points elsewhere and leave their ids."""

_attached: dict[str, Any] = {}
"""What is observed already, by the ids of its proxies; it holds the observers' methods."""


def attach() -> int:
    """Link selections, and keep views fitted, of all profiles; return how many there are."""
    profiles = all_profiles()
    there = {p.GetGlobalIDAsString() for p in (*profiles, *simple.GetRenderViews())}
    for key in _attached.keys() - there:
        del _attached[key]
    for profile in profiles:
        key = profile.GetGlobalIDAsString()
        if key not in _attached:
            _attached[key] = _Follower(profile)
        _attached[key].look_for_samples()
    for view in simple.GetRenderViews():
        key = view.GetGlobalIDAsString()
        if key not in _attached and (fitting.profiles_in(view) or _has_samples(view)):
            _attached[key] = _Fitter(view)
    simple.RenderAllViews()
    return len(profiles)


class _Fitter:
    """Fits a view whenever its window is resized; a camera that was moved stays where it is."""

    def __init__(self, view: Any) -> None:
        self._view, self._size = view, (0, 0)
        self._camera = self._look()
        window = versions.render_window(view)
        if window is not None:
            window.AddObserver("WindowResizeEvent", self._resized)
        self._resized(window, "")

    def _resized(self, window: Any, _event: str) -> None:
        size = tuple(window.GetSize() if window is not None else self._view.ViewSize)
        if size != self._size and min(size) > 1:
            self._size = size
            fitting.fit(self._view, size)
            if not fitting.profiles_in(self._view) and self._look() == self._camera:
                fitting.aim(self._view, size)
            self._camera = self._look()

    def _look(self) -> tuple[float, ...]:
        view = self._view
        return (*view.CameraPosition, *view.CameraFocalPoint, *view.CameraViewUp)


class _Follower:
    """Keeps what belongs to one profile together: its views' axes, and what is selected.

    A plain selection link of ParaView copies the numbers of cells and points from one data set to
    another, where they mean something else; here basins and samples are known by their ids.
    """

    def __init__(self, profile: Any) -> None:
        self._profile, self._drawn = profile, fitting.extent_of(profile)
        self._linked: dict[tuple[str, int], tuple[Any, int]] = {}
        self._origin: tuple[Any, int] | None = None
        self._busy = False
        profile.SMProxy.AddObserver("UpdateDataEvent", self._updated)
        self._link(profile, 0, 1, 2)

    def look_for_samples(self) -> None:
        """Link the filters that show samples of this profile, and their critical points."""
        for proxy in simple.GetSources().values():
            if _xml_name(proxy) == "TLPLandscapeSlice" and comes_from(proxy, self._profile):
                self._link(proxy, 0, 1)
            elif _xml_name(proxy) in _MOVED and comes_from(proxy, self._profile):
                self._link(proxy, 0)

    def _updated(self, _proxy: Any, _event: str) -> None:
        """Fit the views again where what is drawn has another extent now."""
        drawn = fitting.extent_of(self._profile)
        if drawn == self._drawn:
            return
        self._drawn = drawn
        for view in simple.GetRenderViews():
            if any(p.SMProxy == self._profile.SMProxy for p in fitting.profiles_in(view)):
                fitting.fit(view)
            elif fitting.has_own_range(self._profile) and _shows(view, self._profile):
                fitting.recolor(view)

    def _link(self, proxy: Any, *ports: int) -> None:
        fresh = [p for p in ports if (proxy.GetGlobalIDAsString(), p) not in self._linked]
        for port in fresh:
            self._linked[proxy.GetGlobalIDAsString(), port] = (proxy, port)
        if fresh:
            proxy.SMProxy.AddObserver("SelectionChangedEvent", self._selected_by(proxy))

    def _selected_by(self, proxy: Any) -> Any:
        def changed(_proxy: Any, _event: str, port: int) -> None:
            with self._once() as first:
                if first and (proxy.GetGlobalIDAsString(), port) in self._linked:
                    self._follow(proxy, port)

        changed.CallDataType = VTK_INT  # type: ignore[attr-defined]
        return changed

    @contextmanager
    def _once(self) -> Iterator[bool]:
        """Keep selections that follow another one from being followed in turn."""
        if self._busy:
            yield False
            return
        self._busy = True
        try:
            yield True
        finally:
            self._busy = False

    def _follow(self, proxy: Any, port: int) -> None:
        if _selection(proxy, port) is not None:
            self._origin = (proxy, port)
        elif self._origin == (proxy, port):
            self._origin = None
        # else the GUI has just cleared what followed the selection before this one
        basins, samples = (None, None) if self._origin is None else self._ids(*self._origin)
        for place in self._linked.values():
            if place != self._origin:
                _select(*place, self._shows_basins(*place), basins, samples)
        simple.RenderAllViews()

    def _shows_basins(self, proxy: Any, port: int) -> bool:
        return port == 0 and bool(proxy.SMProxy == self._profile.SMProxy)

    def _ids(self, proxy: Any, port: int) -> tuple[Ids, Ids | None]:
        """Return the basins that a selection means and, unless it is one of basins, its samples.

        A basin is an arc with everything below it, so selecting it means the basins in it too.
        """
        field = "cells" if self._shows_basins(proxy, port) else "points"
        chosen = _chosen(proxy, port, field)
        basins = chosen[names.BASIN_ID]
        if field == "points":
            return basins, chosen[names.SAMPLE_ID]
        tree = _arrays(servermanager.Fetch(self._profile, idx=0).GetCellData(), names.PARENT_ID)
        return _with_inner(basins, tree[names.PARENT_ID]), None


def _with_inner(basins: Ids, parent: Ids) -> Ids:
    """Return basins and all those inside of them; a parent has a larger number than a child."""
    inside = np.zeros(len(parent) + 1, dtype=np.bool_)  # the last stands for no parent
    inside[basins] = True
    for basin in range(len(parent) - 1, -1, -1):
        inside[basin] |= inside[parent[basin]]
    return np.flatnonzero(inside)


def _select(
    proxy: Any, port: int, shows_basins: bool, basins: Ids | None, samples: Ids | None
) -> None:
    """Select by ids in the output of a proxy; nothing for None."""
    by_basin = shows_basins or samples is None
    ids, array = (basins, names.BASIN_ID) if by_basin else (samples, names.SAMPLE_ID)
    if ids is None or not len(ids):
        proxy.SMProxy.SetSelectionInput(port, None, 0)
        return
    source = servermanager.sources.ThresholdSelectionSource(
        ArrayName=array,
        Thresholds=_ranges(ids),
        FieldType="CELL" if shows_basins else "POINT",
    )
    proxy.SMProxy.SetSelectionInput(port, versions.appended_selection(source), 0)


def _ranges(ids: Ids) -> list[float]:
    """Return first and last of each run of consecutive ids, one after the other."""
    ids = np.unique(ids)
    breaks = np.flatnonzero(np.diff(ids) > 1)
    first, last = np.append(0, breaks + 1), np.append(breaks, len(ids) - 1)
    return [float(end) for pair in zip(ids[first], ids[last]) for end in pair]


def _selection(proxy: Any, port: int) -> Any:
    return proxy.SMProxy.GetSelectionInput(port)


def _chosen(proxy: Any, port: int, field: str) -> dict[str, Ids]:
    """Return the ids of what is selected in an output."""
    extract = servermanager.filters.ExtractSelection(
        Input=simple.OutputPort(proxy, port),
        Selection=servermanager._getPyProxy(_selection(proxy, port)),
    )
    extract.UpdatePipeline()
    parts = list(_leaves(servermanager.Fetch(extract)))
    wanted = (names.BASIN_ID, names.SAMPLE_ID) if field == "points" else (names.BASIN_ID,)
    found = [
        _arrays(part.GetCellData() if field == "cells" else part.GetPointData(), *wanted)
        for part in parts
    ]
    return {name: np.concatenate([part[name] for part in found]) for name in wanted}


def _arrays(data: Any, *wanted: str) -> dict[str, Ids]:
    arrays = {name: data.GetArray(name) for name in wanted}
    return {
        name: np.zeros(0, dtype=np.int64) if array is None else vtk_to_numpy(array).astype(np.int64)
        for name, array in arrays.items()
    }


def _leaves(data: Any) -> Iterator[Any]:
    if not data.IsA("vtkCompositeDataSet"):
        yield data
        return
    walk = data.NewIterator()
    walk.InitTraversal()
    while not walk.IsDoneWithTraversal():
        yield walk.GetCurrentDataObject()
        walk.GoToNextItem()


def _has_samples(view: Any) -> bool:
    return any(_xml_name(shown) in ("TLPLandscapeSlice", *_MOVED) for shown in _inputs(view))


def _shows(view: Any, profile: Any) -> bool:
    return any(comes_from(shown, profile) for shown in _inputs(view))


def _inputs(view: Any) -> list[Any]:
    """Return what is drawn in a view."""
    inputs = [getattr(shown, "Input", None) for shown in view.Representations]
    return [shown for shown in inputs if shown is not None]


def _xml_name(proxy: Any) -> str:
    return str(proxy.SMProxy.GetXMLName())
