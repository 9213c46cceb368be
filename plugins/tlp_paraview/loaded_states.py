"""Views of a saved state, which are fitted and linked in the GUI when the state has been loaded.

Observers of views and selections end with the session. ParaView calls no code of a plugin when it
loads a state, but it makes the filters of the state, and they watch for the end of the loading.
"""

from __future__ import annotations

from typing import Any

from paraview.modules.vtkRemotingCore import vtkProcessModule
from vtkmodules.vtkCommonCore import vtkWeakReference

_SOON = 10
"""Milliseconds from the first picture to the fit, which must not happen while ParaView draws."""

_watched = vtkWeakReference()
"""The manager of proxies that is watched; there is another one after a connection to a server."""


def watch() -> None:
    """Attach the views of the session after each load of a state in the GUI.

    Only the process that shows the views can do it, so nothing is done in a server. There, the
    macro links the views. Scripts call :func:`~tlp_paraview.interaction.attach` themselves.
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
    from paraview import simple

    from tlp_paraview import versions

    for view in simple.GetRenderViews():
        if versions.is_in_gui(view):
            _FirstPicture(view)


class _FirstPicture:
    """Fits and links a view soon after its first picture, when its window and its data are there.

    The observer of a view may not hold it, or it would stay after it was closed.
    """

    def __init__(self, view: Any) -> None:
        self._key = view.GetGlobalIDAsString()
        self._tag = view.SMProxy.AddObserver("EndEvent", self._drawn)

    def _drawn(self, proxy: Any, _event: str) -> None:
        proxy.RemoveObserver(self._tag)
        interactor = proxy.GetInteractor()
        self._tag = interactor.AddObserver("TimerEvent", self._rings)
        interactor.CreateOneShotTimer(_SOON)

    def _rings(self, interactor: Any, _event: str) -> None:
        from tlp_paraview import fitting, interaction

        interactor.RemoveObserver(self._tag)
        interaction.attach(render=False)
        if (view := interaction.view_of(self._key)) is not None:
            fitting.render(view)
