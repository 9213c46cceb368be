"""What differs between ParaView's versions, each with the version it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paraview import simple


def library_folders() -> list[Path]:
    """Return the folders in which this ParaView looks for its plugins.

    From 5.11 to 6.1 the search paths are those of ``vtkPVPluginLoader``.
    """
    from paraview.modules.vtkRemotingCore import vtkPVPluginLoader

    paths = vtkPVPluginLoader().GetSearchPaths() or ""
    return [Path(path) for path in paths.replace(";", ":").split(":") if path]


def split_right(layout: Any, view: Any, new_view: Any) -> None:
    """Put ``new_view`` to the right of ``view``; ``SplitViewHorizontal`` is there from 5.11 on."""
    location = layout.SplitViewHorizontal(view, 0.5)
    if layout.GetViewLocation(new_view) < 0:
        layout.AssignView(location + 1, new_view)


def clear_colors(representation: Any) -> None:
    """Use a solid colour; in 5.11 ``ColorBy(rep, None)`` fails on data without scalars."""
    simple.ColorBy(representation, ("POINTS", None))
