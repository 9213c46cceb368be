"""Folders and programs of ParaView, found without the core and without a connection to a server."""

from __future__ import annotations

from pathlib import Path


def library_folders() -> list[Path]:
    """Return the folders in which this ParaView keeps its plugins.

    5.11 reports only the paths of the variable PV_PLUGIN_PATH and one beside the program, so the
    folder in its library path, ``paraview-5.11/plugins``, is added.
    """
    import paraview
    from paraview.modules.vtkRemotingCore import vtkProcessModule, vtkPVPluginLoader

    paths = vtkPVPluginLoader().GetSearchPaths() or ""
    named = [Path(path) for path in paths.replace(";", ":").split(":") if path]
    version = ".".join(paraview.__version__.split(".")[:2])
    module = vtkProcessModule.GetProcessModule()
    if module is None:
        return named
    prefix, inner = Path(module.GetSelfDir()).parent, f"paraview-{version}/plugins"
    return named + sorted(prefix.glob(f"lib*/{inner}")) + sorted(prefix.glob(f"lib/*/{inner}"))


def python_program() -> list[str]:
    """Return the command of a Python with this ParaView's packages: its pvpython."""
    from paraview.modules.vtkRemotingCore import vtkProcessModule

    folder = Path(vtkProcessModule.GetProcessModule().GetSelfDir())
    program = next((p for p in (folder / "pvpython", folder / "pvpython.exe") if p.exists()), None)
    if program is None:
        raise FileNotFoundError(
            f"samples in the background need pvpython beside ParaView, found none in {folder}; "
            "turn In Background off"
        )
    return [str(program), "--no-mpi"]
