"""Workarounds for differences between versions of ParaView, each with its version."""

from __future__ import annotations

from typing import Any

import paraview
from paraview import simple

from tlp_core.version import major_minor

TIME_FORMAT = "step {time:.12g}"
"""Format of AnnotateTime since 5.10; earlier versions use the format of printf."""


def number_format(digits: int) -> str:
    """Return the format of the ends of a colour bar; that of printf until ParaView 6.0.

    Args:
        digits: significant digits; 0 for as many as are needed, up to six.
    """
    precision = f".{digits}" if digits else ""
    return f"{{:{precision}g}}" if major_minor(paraview.__version__) >= (6, 1) else f"%{precision}g"


def split_right(layout: Any, view: Any, new_view: Any) -> None:
    """Put ``new_view`` to the right of ``view``, with ``SplitViewHorizontal`` of 5.11 and later."""
    location = layout.SplitViewHorizontal(view, 0.5)
    if layout.GetViewLocation(new_view) < 0:
        layout.AssignView(location + 1, new_view)


def row_layout(name: str, views: list[Any]) -> Any:
    """Return a new layout of views of equal width, side by side."""
    layout = simple.CreateLayout(name)
    for view, cell in zip(views, _equal_parts(layout, 0, len(views), across=True)):
        layout.AssignView(cell, view)
    return layout


def table_layout(name: str, left: Any, upper: Any, lower: Any, fraction: float) -> Any:
    """Return a new layout of a view at the left, and two at the right, one above the other.

    Args:
        name: name of the layout.
        left: the view at the left.
        upper: the upper view at the right.
        lower: the lower view at the right.
        fraction: fraction, 0 to 1, of the height of the layout for ``lower``.
    """
    layout = simple.CreateLayout(name)
    first, rest = _split(layout, 0, 0.5, across=True)
    layout.AssignView(first, left)
    for view, cell in zip((upper, lower), _split(layout, rest, 1 - fraction, across=False)):
        layout.AssignView(cell, view)
    return layout


def grid_layout(name: str, grid: list[list[Any]], last: Any, fraction: float) -> Any:
    """Return a new layout of views in rows and columns of equal size, and one view at the right.

    Args:
        name: name of the layout.
        grid: rows of views.
        last: the view at the right.
        fraction: fraction, 0 to 1, of the width of the layout for ``last``.
    """
    layout = simple.CreateLayout(name)
    left, right = _split(layout, 0, 1 - fraction, across=True)
    layout.AssignView(right, last)
    for row, place in zip(grid, _equal_parts(layout, left, len(grid), across=False)):
        for view, cell in zip(row, _equal_parts(layout, place, len(row), across=True)):
            layout.AssignView(cell, view)
    return layout


def _equal_parts(layout: Any, place: int, count: int, *, across: bool) -> list[int]:
    if count == 1:
        return [place]
    first, rest = _split(layout, place, 1 / count, across=across)
    return [first, *_equal_parts(layout, rest, count - 1, across=across)]


def _split(layout: Any, place: int, fraction: float, *, across: bool) -> tuple[int, int]:
    """Split a cell of a layout, and return its two parts, the children in a binary tree."""
    split = layout.SMProxy.SplitHorizontal if across else layout.SMProxy.SplitVertical
    split(place, fraction)
    return 2 * place + 1, 2 * place + 2


def clear_colors(representation: Any) -> None:
    """Use a solid colour; in 5.11 ``ColorBy(rep, None)`` fails on data without scalars."""
    simple.ColorBy(representation, ("POINTS", None))


def point_array(data: Any, name: str) -> Any:
    """Return a point array of fetched data for NumPy; ``numpy_interface`` fails with NumPy 2."""
    from vtkmodules.util.numpy_support import vtk_to_numpy

    return vtk_to_numpy(data.GetPointData().GetArray(name))


def color_presets() -> Any:
    """Return ParaView's list of colour maps."""
    from paraview.modules.vtkRemotingViews import vtkSMTransferFunctionPresets

    return vtkSMTransferFunctionPresets.GetInstance()


def viridis() -> str:
    """Return the name of the colour map viridis, which ParaView 6.1 changed."""
    return "Viridis" if major_minor(paraview.__version__) >= (6, 1) else "Viridis (matplotlib)"


def move(representation: Any, offset: list[float]) -> None:
    """Move a representation by an offset; ``Position`` became ``Translation`` after 5.11."""
    properties = representation.ListProperties()
    name = "Translation" if "Translation" in properties else "Position"
    setattr(representation, name, offset)


def render_window(view: Any) -> Any:
    """Return the VTK window of a render view on the client; None if it has none."""
    get = getattr(view.SMProxy, "GetRenderWindow", None)
    return get() if get is not None else None


def interactor(view: Any) -> Any:
    """Return the VTK interactor of a render view on the client; None if it has none."""
    get = getattr(view.SMProxy, "GetInteractor", None)
    return get() if get is not None else None


def is_in_gui(view: Any) -> bool:
    """Return whether a view is in a window of the GUI; only the GUI may set its size."""
    window = render_window(view)
    return window is not None and window.GetClassName() == "vtkGenericOpenGLRenderWindow"


def appended_selection(source: Any) -> Any:
    """Return a selection source wrapped as the GUI does; without it, the GUI of 5.11 crashes."""
    from paraview.modules.vtkRemotingViews import vtkSMSelectionHelper

    return vtkSMSelectionHelper.NewAppendSelectionsFromSelectionSource(source.SMProxy)
