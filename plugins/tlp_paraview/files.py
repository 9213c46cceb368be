"""Lookup of files that state files and properties name by a relative path."""

from __future__ import annotations

import glob
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tlp_core.landscape.series import Member, member_at
from tlp_paraview.folders import library_folders

STATE_FOLDER_VARIABLE = "TLP_STATE_FILES"
"""Set by the launchers, because an installed suite has its state files in another folder."""

PLUGIN_NAME = "TopologicalLandscapeProfiles"

_PACKAGE = Path(__file__).resolve().parent


def state_folder() -> Path:
    """Return the folder of the suite's state files, as installed or in a checkout."""
    named = os.environ.get(STATE_FOLDER_VARIABLE)
    if named:
        return Path(named)
    places = (folder / "state_files" for folder in _suite_folders())
    return next((place for place in places if place.is_dir()), _PACKAGE / "state_files")


def plugin_file() -> Path:
    """Return the XML file of the plugin, as installed or in a checkout.

    Raises:
        FileNotFoundError: if there is none.
    """
    places = (folder / f"{PLUGIN_NAME}.xml" for folder in _suite_folders())
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"the plugin's file {PLUGIN_NAME}.xml must be beside the package tlp_paraview or in a "
            f"plugin folder of ParaView, found none for {_PACKAGE}; install the suite again"
        )
    return found


def _suite_folders() -> Iterator[Path]:
    """Yield the folders in which an installation may have the suite's files.

    A wheel has them in the package; a checkout beside it; ``cmake --install`` in a plugin folder of
    ParaView, or where its launchers say.
    """
    yield _PACKAGE
    yield from _PACKAGE.parents[:2]
    named = os.environ.get(STATE_FOLDER_VARIABLE)
    if named:
        yield Path(named).parent
    yield from (folder / PLUGIN_NAME for folder in library_folders())


def opened_state_folder() -> Path | None:
    """Return the folder of the state file that is being opened; None if it is not known.

    ParaView does not pass the state file to its proxies. Here it is found as the argument of a
    running ``LoadState``, or, in the GUI, in ParaView's options for opening the state file. A
    source in pvserver does not find it.
    """
    frame = sys._getframe()
    while frame is not None:
        is_load = frame.f_code.co_name == "LoadState"
        if is_load and frame.f_globals.get("__name__", "").startswith("paraview.simple"):
            return Path(frame.f_locals[frame.f_code.co_varnames[0]]).resolve().parent
        frame = frame.f_back  # type: ignore[assignment]
    try:
        folder = _data_directory()
    except (ImportError, AttributeError):  # another version of ParaView
        folder = None
    return Path(folder).resolve() if folder else None


def _data_directory() -> str | None:
    """Return the property Data Directory of ParaView's options for the state file.

    The options are a proxy that exists while ParaView opens a state file. The GUI of 5.9 and later
    sets the property to the folder of the file: for its menu, for a file on the command line and
    for ``--state``. The user can choose another folder in the dialog.
    """
    from paraview.modules.vtkRemotingServerManager import vtkSMProxyManager
    from vtkmodules.vtkCommonCore import vtkCollection

    if not vtkSMProxyManager.IsInitialized():  # pvserver
        return None
    manager = vtkSMProxyManager.GetProxyManager().GetActiveSessionProxyManager()
    if manager is None or not manager.GetInLoadXMLState():
        return None
    proxies = vtkCollection()
    manager.GetSession().GetAllRemoteObjects(proxies)
    options = [each for each in proxies if each.IsA("vtkSMLoadStateOptionsProxy")]
    newest = max(options, key=lambda each: each.GetGlobalID(), default=None)
    return newest.GetProperty("DataDirectory").GetElement(0) if newest else None


def find_file(path: str, beside: Path | None = None) -> str:
    """Return the path of a file that a property names.

    A relative name is looked up beside the state file, then in the suite's folder of state files,
    and then in the working directory: a state file must not run a file that happens to lie there.
    ParaView saves absolute paths. If one of a state file does not exist, because its folder was
    moved, the longest end of the path that exists beside the state file is taken, with a warning.

    Args:
        path: path of a file or folder, or a pattern such as ``run/*.pt``.
        beside: folder of the state file, if it is known.

    Returns:
        The first path that exists; ``path`` itself if none does, for the error message.
    """
    if not path:
        return path
    if not Path(path).is_absolute():
        folders = [folder for folder in (beside, state_folder()) if folder is not None]
        return next((str(each / path) for each in folders if _exists(each / path)), path)
    if beside is None or _exists(Path(path)):
        return path
    parts = Path(path).parts
    ends = (beside.joinpath(*parts[start:]) for start in range(1, len(parts)))
    found = next(filter(_exists, ends), None)
    if found is None:
        return path
    warnings.warn(f"{path} does not exist; {found}, beside the state file, is used", stacklevel=2)
    return str(found)


def _exists(path: Path) -> bool:
    """Return whether a path or pattern names a file or folder."""
    return path.exists() or bool(glob.glob(str(path)))


class SeriesFiles:
    """The files of the steps of a training, as of the last request of ParaView for time steps.

    A file that is deleted later is an error at its step, and does not shift the other steps.

    Args:
        find: function that returns the files at some places, by step, such as
            :func:`~tlp_core.landscape.series.find_checkpoints`.
        beside: folder of the state file, if it is known.
    """

    def __init__(
        self, find: Callable[[Iterable[str]], Sequence[Member]], beside: Path | None
    ) -> None:
        self._find, self._beside = find, beside
        self._members: Sequence[Member] = ()
        self._error: OSError | None = None
        self._warnings: list[str] = []

    def scan(self, places: Iterable[str]) -> None:
        """Find the files at some places; errors and warnings are kept for :meth:`at`."""
        self._members, self._error = (), None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            try:
                self._members = self._find([find_file(place, self._beside) for place in places])
            except OSError as error:
                self._error = error
        self._warnings = [str(warning.message) for warning in caught]

    @property
    def members(self) -> Sequence[Member]:
        """Files by step."""
        return self._members

    @property
    def steps(self) -> list[float]:
        """Step of each file, in ascending order."""
        return [member.step for member in self._members]

    def at(self, time: float | None) -> Member:
        """Return the file of a time: the last step at or before it, else the first step.

        Warnings of :meth:`scan` are issued once.

        Raises:
            OSError: if :meth:`scan` found no files.
        """
        if self._error is not None:
            raise self._error
        messages, self._warnings = self._warnings, []
        for text in messages:
            warnings.warn(text, stacklevel=2)
        return member_at(self._members, time)
