"""Tests of the choice of Qt's Python; tests/gui shows a text in the status bar itself."""

from importlib.util import find_spec

import pytest
from tlp_paraview import status_bar

QT5 = "7f00-7f01 r-xp 00000000 00:00 0 /usr/lib/libQt5Widgets.so.5.15.8\n"


@pytest.fixture
def pyqt5(tmp_path, monkeypatch):
    """Make a package of PyQt5 without files, and hide that of another Qt."""
    monkeypatch.setattr(
        status_bar, "find_spec", lambda name: find_spec(name) if name == "PyQt5" else None
    )
    folder = tmp_path / "PyQt5"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_the_bindings_of_the_systems_qt_are_used(pyqt5):
    assert status_bar._binding(QT5) == "PyQt5"


@pytest.mark.parametrize("folder", ["Qt", "Qt5"])
def test_bindings_with_a_qt_of_their_own_are_not_imported(pyqt5, folder):
    (pyqt5 / folder).mkdir()
    assert status_bar._binding(QT5) is None


def test_bindings_of_another_qt_are_not_imported(pyqt5):
    assert status_bar._binding("") is None
    assert status_bar._binding(QT5.replace("Qt5", "Qt6")) is None


def test_without_a_window_there_is_no_status_bar():
    assert status_bar._bar() is None
    status_bar.show("some progress")  # and no error
