"""Links between selections, and updates of views when the time or the window size changes.

Observers end with the session, and a state file cannot save them. :func:`attach` adds them to all
profiles and views of the session: the macro calls it, the functions that show views do, and
:mod:`~tlp_paraview.loaded_states`. Repeated calls add no second observer.
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
from tlp_paraview import fitting, roles, versions
from tlp_paraview.pipeline import all_profiles, comes_from, upstream

Ids = npt.NDArray[np.int64]

_MOVING_FILTERS = ("WarpScalar", "Calculator", "TransformFilter")
"""Filters that move samples and critical points and keep their ids; the last in older states."""

_attached: dict[str, Any] = {}
"""Objects with observers, by the id of their proxy; the dictionary keeps them alive."""


def attach(*, render: bool = True) -> int:
    """Link the selections of all profiles, and fit their views whenever they change.

    Selecting basins, or the minima and saddles where they begin, selects their samples, and
    selecting samples selects their basins. Views are fitted again after a resize of the window, and
    after a change of the drawn profile.

    Args:
        render: render all views. Default: True.

    Returns:
        The number of profiles in the session.
    """
    profiles = all_profiles()
    existing = {p.GetGlobalIDAsString() for p in (*profiles, *simple.GetRenderViews())}
    for key in _attached.keys() - existing:
        del _attached[key]
    for profile in profiles:
        key = profile.GetGlobalIDAsString()
        if key not in _attached:
            _attached[key] = _ProfileLinks(profile)
        _attached[key].link_samples()
    for view in simple.GetRenderViews():
        key = view.GetGlobalIDAsString()
        if key in _attached:
            _attached[key].refit()
        elif fitting.profiles_in(view) or _is_fitted(view, profiles):
            _attached[key] = _Fitter(view)
    if render:
        fitting.render()
    return len(profiles)


class _Fitter:
    """An observer that fits a view after each resize; a camera that the user moved stays.

    After each movement of the camera of a profile, its axes are those of the part that is seen.
    The observers of a window may not hold the view, which holds the window: both would stay.
    """

    def __init__(self, view: Any) -> None:
        self._key, self._size = view.GetGlobalIDAsString(), (0, 0)
        window = versions.render_window(view)
        if window is not None:
            window.AddObserver("WindowResizeEvent", self._resized)
        interactor = versions.interactor(view)
        if interactor is not None:
            interactor.AddObserver("EndInteractionEvent", self._moved)
        view.SMProxy.AddObserver("ResetCameraEvent", self._moved)
        self.refit()

    def refit(self) -> None:
        """Fit the view if its size is not that for which it was fitted last."""
        if (view := view_of(self._key)) is not None:
            self._resized(versions.render_window(view), "")

    def _moved(self, _object: Any, _event: str) -> None:
        view = view_of(self._key)
        if view is not None and min(self._size) > 1 and fitting.profiles_in(view):
            fitting.fit(view, self._size, keep_camera=True)

    def _resized(self, window: Any, _event: str) -> None:
        if (view := view_of(self._key)) is None:
            return
        size = tuple(window.GetSize() if window is not None else view.ViewSize)
        if size != self._size and min(size) > 1:
            self._size = size
            fitting.fit(view, size, keep_camera=True)
            if fitting.profiles_in(view) or fitting.camera_was_moved(view):
                return
            low, high = view.SMProxy.GetRenderer().ComputeVisiblePropBounds()[:2]
            if low > high:  # nothing is drawn yet
                self._size = (0, 0)
            else:
                fitting.fit_camera(view, size)


class _ProfileLinks:
    """Observers of one profile, which link its selections and update the axes of its views.

    A selection link of ParaView copies the indices of cells and points from one dataset to another,
    where the indices have another meaning. Here, basins and samples are selected by their ids.
    """

    def __init__(self, profile: Any) -> None:
        self._profile, self._extent = profile, fitting.extent_of(profile)
        self._linked: dict[tuple[str, int], tuple[Any, int]] = {}
        self._origin: tuple[Any, int] | None = None
        self._busy = False
        profile.SMProxy.AddObserver("UpdateDataEvent", self._updated)
        self._link(profile, 0, 1, 2)

    def link_samples(self) -> None:
        """Link the filters downstream that show samples or critical points of this profile."""
        for proxy in simple.GetSources().values():
            if _xml_name(proxy) == "TLPLandscapeSlice" and comes_from(proxy, self._profile):
                if (proxy.GetGlobalIDAsString(), 0) not in self._linked:
                    proxy.SMProxy.AddObserver("UpdateEvent", self._moved_slice(proxy))
                self._link(proxy, 0, 1)
            elif _xml_name(proxy) in _MOVING_FILTERS and comes_from(proxy, self._profile):
                self._link(proxy, 0)

    def _updated(self, _proxy: Any, _event: str) -> None:
        """Fit the views if the extent of the drawn profile has changed."""
        extent = fitting.extent_of(self._profile)
        if extent == self._extent:
            return
        self._extent = extent
        for view in simple.GetRenderViews():
            if any(p.SMProxy == self._profile.SMProxy for p in fitting.profiles_in(view)):
                fitting.fit(view, keep_camera=True)
            elif fitting.has_own_range(self._profile) and shows(view, self._profile):
                fitting.recolor(view)

    def _moved_slice(self, part: Any) -> Any:
        def updated(_proxy: Any, _event: str) -> None:
            with self._guard() as first:
                views = [view for view in simple.GetRenderViews() if shows(view, part)]
                for view in views if first else ():
                    fitting.fit_slice(view, part)

        return updated

    def _link(self, proxy: Any, *ports: int) -> None:
        new_ports = [p for p in ports if (proxy.GetGlobalIDAsString(), p) not in self._linked]
        for port in new_ports:
            self._linked[proxy.GetGlobalIDAsString(), port] = (proxy, port)
        if new_ports:
            proxy.SMProxy.AddObserver("SelectionChangedEvent", self._selected_by(proxy))

    def _selected_by(self, proxy: Any) -> Any:
        def changed(_proxy: Any, _event: str, port: int) -> None:
            with self._guard() as first:
                if first and (proxy.GetGlobalIDAsString(), port) in self._linked:
                    self._follow(proxy, port)

        changed.CallDataType = VTK_INT  # type: ignore[attr-defined]
        return changed

    @contextmanager
    def _guard(self) -> Iterator[bool]:
        """Yield False while another selection is being followed, so that links do not recurse."""
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
        # otherwise the GUI has cleared a selection that followed an earlier one
        basins, samples = (None, None) if self._origin is None else self._ids(*self._origin)
        for place in self._linked.values():
            if place != self._origin:
                _select(*place, self._shows_basins(*place), basins, samples)
        fitting.render()

    def _shows_basins(self, proxy: Any, port: int) -> bool:
        return port == 0 and bool(proxy.SMProxy == self._profile.SMProxy)

    def _ids(self, proxy: Any, port: int) -> tuple[Ids, Ids | None]:
        """Return the basin ids of a selection and, if it is one of samples, its sample ids.

        A basin is an arc and everything below it, so a selected basin includes the basins in it. A
        minimum or saddle stands for the basin that begins there.
        """
        field = "cells" if self._shows_basins(proxy, port) else "points"
        chosen = selected_ids(proxy, port, field)
        basins = chosen[names.BASIN_ID]
        if field == "points" and not _has_critical_points(proxy, port):
            return basins, chosen[names.SAMPLE_ID]
        tree = _arrays(servermanager.Fetch(self._profile, idx=0).GetCellData(), names.PARENT_ID)
        return _with_nested(basins, tree[names.PARENT_ID]), None


def _with_nested(basins: Ids, parent: Ids) -> Ids:
    """Return basins and all basins inside them; the id of a parent is larger than a child's."""
    inside = np.zeros(len(parent) + 1, dtype=np.bool_)  # the last entry is that of no parent, -1
    inside[basins] = True
    for basin in range(len(parent) - 1, -1, -1):
        inside[basin] |= inside[parent[basin]]
    return np.flatnonzero(inside)


def _select(
    proxy: Any, port: int, shows_basins: bool, basins: Ids | None, samples: Ids | None
) -> None:
    """Select by ids in an output of a proxy; None or no ids clear the selection."""
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
    """Return the first and last id of each run of consecutive ids, in one list."""
    ids = np.unique(ids)
    breaks = np.flatnonzero(np.diff(ids) > 1)
    first, last = np.append(0, breaks + 1), np.append(breaks, len(ids) - 1)
    return [float(end) for pair in zip(ids[first], ids[last]) for end in pair]


def _has_critical_points(proxy: Any, port: int) -> bool:
    """Return whether the points of an output are critical ones, and not all samples."""
    return simple.OutputPort(proxy, port).PointData[names.PERSISTENCE] is not None


def _selection(proxy: Any, port: int) -> Any:
    return proxy.SMProxy.GetSelectionInput(port)


def selected_ids(proxy: Any, port: int, field: str) -> dict[str, Ids]:
    """Return the ids of the selected cells or points of an output, by the name of the array."""
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


def _is_fitted(view: Any, profiles: list[Any]) -> bool:
    """Return whether the suite has fitted a view of samples; views of a user are left alone."""
    was_fitted = roles.fitted_camera(view) is not None
    return was_fitted and any(shows(view, profile) for profile in profiles)


def view_of(key: str) -> Any:
    """Return the render view of an id; None if it was closed."""
    views = simple.GetRenderViews()
    return next((view for view in views if view.GetGlobalIDAsString() == key), None)


def shows(view: Any, profile: Any) -> bool:
    """Return whether a view shows an output of a profile, or what follows from it."""
    return any(profile.SMProxy in upstream(proxy) for proxy in roles.proxies_in(view))


def _xml_name(proxy: Any) -> str:
    return str(proxy.SMProxy.GetXMLName())
