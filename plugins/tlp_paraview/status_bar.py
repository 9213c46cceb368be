"""Texts in the status bar of ParaView's window.

ParaView's Python cannot reach the status bar. PyQt can, if it uses the same Qt libraries as
ParaView, as Debian's python3-pyqt5 and python3-pyqt6 do. PyQt from PyPI brings its own Qt. Two Qt
in one process crash, so such a PyQt is not imported.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_BINDINGS = {"PyQt5": "libQt5Widgets.", "PyQt6": "libQt6Widgets."}
"""Packages, and the library that is in ParaView's memory if it uses that version of Qt."""

_OWN_QT = ("Qt", "Qt5", "Qt6")
"""Folders in which packages of PyPI bring their own Qt."""

_SHOWN = 3000
"""Time for which a text is shown, in milliseconds. Progress comes every second."""

_MAIN_WINDOW = "pqClientMainWindow"
"""Name of ParaView's window. Its script editor is a main window, too."""


def show(text: str) -> None:
    """Show a text in the status bar of the window for some seconds, if it can be reached."""
    bar = _bar() if text else None
    if bar is not None:
        bar.showMessage(text, _SHOWN)


@cache
def _bar() -> Any:
    """Return Qt's status bar of the main window; None if it cannot be reached."""
    maps = Path("/proc/self/maps")  # the libraries of this process, on Linux
    name = _binding(maps.read_text(encoding="utf-8", errors="replace") if maps.exists() else "")
    if name is None:
        return None
    try:
        widgets = import_module(f"{name}.QtWidgets")
    except ImportError:  # made for another version of Qt than ParaView's
        return None
    application = widgets.QApplication.instance()
    windows = application.topLevelWidgets() if application is not None else ()
    main = [each for each in windows if each.objectName() == _MAIN_WINDOW]
    return main[0].statusBar() if main else None


def _binding(libraries: str) -> str | None:
    """Return the package of Qt for Python that uses the Qt of this process, if there is one.

    Args:
        libraries: a text with the names of the libraries that the process has loaded.
    """
    for name, library in _BINDINGS.items():
        spec = find_spec(name) if library in libraries else None
        folders = (spec.submodule_search_locations or ()) if spec is not None else ()
        if folders and not any((Path(f) / inner).exists() for f in folders for inner in _OWN_QT):
            return name
    return None
