"""Views of a saved state, which are fitted and linked when the state has been loaded.

Observers of views and selections end with the session. ParaView calls no code of a plugin when it
loads a state, but it makes the filters of the state, and they watch for the end of the loading.
"""

from __future__ import annotations

from typing import Any

from paraview.modules.vtkRemotingCore import vtkProcessModule
from vtkmodules.vtkCommonCore import vtkWeakReference

_watched = vtkWeakReference()
"""The manager of proxies that is watched; there is another one after a connection to a server."""


def watch() -> None:
    """Attach the views of the session after each load of a state.

    Only the process that shows the views can do it, so nothing is done in a server. There, the
    macro links the views.
    """
    module = vtkProcessModule.GetProcessModule()
    if module is None or module.GetProcessType() != vtkProcessModule.PROCESS_CLIENT:
        return
    from paraview.modules.vtkRemotingServerManager import vtkSMProxyManager

    manager = vtkSMProxyManager.GetProxyManager().GetActiveSessionProxyManager()
    if manager is not None and manager is not _watched.Get():
        manager.AddObserver("LoadStateEvent", _loaded)
        _watched.Set(manager)


def _loaded(_manager: Any, _event: str) -> None:
    from tlp_paraview import interaction

    interaction.attach(render=False)
