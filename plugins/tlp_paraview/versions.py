"""What differs between ParaView's versions, each with the version it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paraview import simple


def library_folders() -> list[Path]:
    """Return the folders in which this ParaView keeps its plugins.

    5.11 tells only the paths of the variable PV_PLUGIN_PATH and one beside the program, so the
    folder in its library path, ``paraview-5.11/plugins``, is added.
    """
    from paraview.modules.vtkRemotingCore import vtkProcessModule, vtkPVPluginLoader

    paths = vtkPVPluginLoader().GetSearchPaths() or ""
    named = [Path(path) for path in paths.replace(";", ":").split(":") if path]
    version = simple.GetParaViewVersion()
    prefix = Path(vtkProcessModule.GetProcessModule().GetSelfDir()).parent
    inner = f"paraview-{version.major}.{version.minor}/plugins"
    return named + sorted(prefix.glob(f"lib*/{inner}")) + sorted(prefix.glob(f"lib/*/{inner}"))


def split_right(layout: Any, view: Any, new_view: Any) -> None:
    """Put ``new_view`` to the right of ``view``; ``SplitViewHorizontal`` is there from 5.11 on."""
    location = layout.SplitViewHorizontal(view, 0.5)
    if layout.GetViewLocation(new_view) < 0:
        layout.AssignView(location + 1, new_view)


def clear_colors(representation: Any) -> None:
    """Use a solid colour; in 5.11 ``ColorBy(rep, None)`` fails on data without scalars."""
    simple.ColorBy(representation, ("POINTS", None))
