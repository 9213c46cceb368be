"""A closer look at the selected basins of a profile: narrow ones can be seen and clicked."""

from __future__ import annotations

from typing import Any

from paraview import servermanager, simple

from tlp_core import array_names as names
from tlp_paraview import fitting, interaction

_NARROWEST = 40
"""Smallest width of the selected basins after a zoom, in pixels."""

_ROOM = 1.3
"""Factor on the size of the selected basins, so that what is beside them is seen, too."""

_LOW = 0.1
"""Distance of the lowest minimum from the lower end of the frame, as a fraction of the frame's
height, where the basins are higher than the frame."""


def zoom_into_basins(view: Any = None) -> bool:
    """Move the camera of a profile to its selected basins, or back to the whole profile.

    It goes back if no basin is selected, or if the camera is at the selected basins already. A
    basin that is much narrower than it is high is seen from its lowest minimum up.

    Args:
        view: a render view with a profile. Default: the active view, else the first view that shows
            a profile with a selection, else the first that shows a profile.

    Returns:
        Whether the camera is at selected basins now.

    Raises:
        RuntimeError: if no view shows a profile.
    """
    view = view if view is not None else _wanted_view()
    shown = fitting.basins_in(view)
    if not shown:
        raise RuntimeError("a view must show a profile to zoom into its basins, and this has none")
    bounds = _bounds_of_selected(shown[0])
    before = fitting.camera_state(view)
    if bounds is not None:
        _look_at(view, bounds)
    if bounds is None or fitting.camera_state(view) == before:
        fitting.fit(view)
        bounds = None
    fitting.render(view)
    return bounds is not None


def _wanted_view() -> Any:
    views = [view for view in simple.GetRenderViews() if fitting.basins_in(view)]
    active = simple.GetActiveView()
    if not views:
        raise RuntimeError("a profile must be shown in a view to zoom into its basins, found none")
    if active is not None and any(view.SMProxy == active.SMProxy for view in views):
        return active
    with_selection = (view for view in views if _bounds_of_selected(fitting.basins_in(view)[0]))
    return next(with_selection, views[0])


def _bounds_of_selected(shown: Any) -> tuple[float, float, float, float] | None:
    """Return left, right, low and high of the selected basins as they are drawn, if any are."""
    profile = servermanager._getPyProxy(shown.Input.SMProxy)
    if profile.SMProxy.GetSelectionInput(0) is None:
        return None
    chosen = interaction.selected_ids(profile, 0, "cells")[names.BASIN_ID].tolist()
    if not chosen:
        return None
    basins, cell = servermanager.Fetch(profile, idx=0), [0.0] * 6
    lows, highs = [float("inf")] * 2, [-float("inf")] * 2
    for basin in chosen:
        basins.GetCellBounds(basin, cell)
        for axis in (0, 1):
            lows[axis] = min(lows[axis], cell[2 * axis] * shown.Scale[axis])
            highs[axis] = max(highs[axis], cell[2 * axis + 1] * shown.Scale[axis])
    return lows[0], highs[0], lows[1], highs[1]


def _look_at(view: Any, bounds: tuple[float, float, float, float]) -> None:
    """Show bounds whole, or from their lower end up if they would be too narrow."""
    left, right, low, high = bounds
    size, frame = tuple(view.ViewSize), fitting.frame_of(view)
    width, height = (frame[1] - frame[0]) * size[0], (frame[3] - frame[2]) * size[1]
    whole = _ROOM * max((right - left) / width, (high - low) / height)
    pixel = min(whole, (right - left) / _NARROWEST)
    y = (low + high) / 2 if pixel == whole else low + (0.5 - _LOW) * height * pixel
    fitting.look_at(view, ((left + right) / 2, y), view.CameraPosition[2], pixel, size)
    fitting.fit(view, keep_camera=True)  # so that the discs keep their size on the screen
