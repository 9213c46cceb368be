"""Sources whose data grows: samplings in the background, and readers that follow their files.

A timer of a view looks for new data in the GUI, and tells the progress in the view and, where it
can, in the status bar; :func:`wait` and :func:`wait_for_change` look in a script. The state of a
source is its property DataState, which also reaches the client of a server.
"""

from __future__ import annotations

import json
import time
from typing import Any

from paraview import simple

from tlp_paraview import fitting, interaction, pipeline, status_bar, styles, versions, views

_EVERY = 1000
"""Time between two looks for new data, in milliseconds."""

_NOTE = (0.02, 0.93)
"""Place of the progress in a view, as fractions of its size."""

_NAMES = ("TLPLossLandscape", "TLPLandscapeReader")


class _Follower:
    """Looks for new data of the sources of a session, and shows it."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._notes: dict[str, Any] = {}
        self._timed: Any = None
        self._looked = 0.0
        self._busy = False

    def start(self) -> bool:
        """Start the timer of a view, if there is something to follow; return whether there is."""
        if not any(state_of(source) for source in _sources()):
            return False
        timed = _interactor()
        if timed is not None and timed != self._timed:
            timed.AddObserver("TimerEvent", self._rings)
            timed.CreateRepeatingTimer(_EVERY)
            self._timed = timed
        return True

    def _rings(self, *_event: Any) -> None:
        """Look for new data; a view has other timers, too, some of them fast."""
        if time.monotonic() - self._looked >= 0.9 * _EVERY / 1000:
            self.look()
            self._looked = time.monotonic()

    def look(self) -> bool:
        """Show new data, and return whether some source still grows."""
        if self._busy:  # the timer rings while views are built
            return True
        self._busy = True
        active = simple.GetActiveSource()  # whose panel the user sees
        try:
            states = [(source, state_of(source)) for source in _sources()]
            for source, state in states:
                if state:
                    self._show(source, state)
            running = [state for _, state in states if state and state["is_running"]]
            status_bar.show("; ".join(filter(None, (state["progress"] for state in running))))
            return bool(running)
        finally:
            simple.SetActiveSource(active)
            self._busy = False

    def _show(self, source: Any, state: dict[str, Any]) -> None:
        key = source.GetGlobalIDAsString()
        if self._shown.get(key, "") != state["data"]:
            self._shown[key] = state["data"]
            before = len(pipeline.steps_of(source))
            _read_again(source)
            if source.GetDataInformation(0).GetNumberOfPoints():
                _update_views(source, before)
        self._note(source, state["text"])

    def _note(self, source: Any, text: str) -> None:
        """Show the progress in a view of the source, above the landscape."""
        key = source.GetGlobalIDAsString()
        note = self._notes.get(key)
        if note is not None and all(each != note for each in simple.GetSources().values()):
            note = None  # deleted with a view that was built again
        if (note.Text if note is not None else "") == text:
            return
        if note is None:
            profile = _profile_of(source)
            every = simple.GetRenderViews() if profile is not None else ()
            shown = [view for view in every if interaction.shows(view, profile)]
            if not shown:
                return
            note = self._notes[key] = styles.show_text(text, shown[0], position=_NOTE)
            fitting.fit(shown[0], keep_camera=True)
        note.Text = text
        fitting.render()


_follower = _Follower()


def follow() -> bool:
    """Follow the sources of the session that grow, by a timer of the GUI.

    Returns:
        Whether there is such a source: a TLP Loss Landscape with In Background, or a TLP Landscape
        Reader with Follow Files.
    """
    return _follower.start()


def wait(source: Any, *, timeout: float | None = None, every: float = 0.5) -> None:
    """Wait until a sampling in the background ends; a script sees its data afterwards.

    Args:
        source: a TLP Loss Landscape with In Background.
        timeout: seconds to wait at most. Default: None, no limit.
        every: seconds between two looks. Default: 0.5.

    Raises:
        ValueError: if the source does not sample in the background.
        TimeoutError: if the sampling takes longer.
        RuntimeError: if the sampling failed.
    """
    if source.SMProxy.GetXMLName() != _NAMES[0] or not source.InBackground:
        raise ValueError(
            "a script can wait for the end of a TLP Loss Landscape with In Background only; "
            "wait_for_change waits for the files of a reader"
        )
    end = None if timeout is None else time.monotonic() + timeout
    source.UpdatePipeline()
    while (state := state_of(source)) and state["is_running"]:
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"the sampling takes longer than {timeout:g} s: {state['text']}")
        time.sleep(every)
    _read_again(source)
    if state and state["error"]:
        raise RuntimeError(state["error"])


def wait_for_change(
    reader: Any, *, timeout: float | None = None, every: float = 0.5
) -> list[float]:
    """Wait until the files of a reader hold something that it has not read, and read it.

    Args:
        reader: a TLP Landscape Reader with Follow Files.
        timeout: seconds to wait at most. Default: None, no limit.
        every: seconds between two looks. Default: 0.5.

    Returns:
        The steps of the reader; none for a single landscape.

    Raises:
        ValueError: if the reader does not follow its files.
        TimeoutError: if nothing changes in time.
    """
    if reader.SMProxy.GetXMLName() != _NAMES[1] or not reader.FollowFiles:
        raise ValueError("a script can wait for a TLP Landscape Reader with Follow Files only")
    end = None if timeout is None else time.monotonic() + timeout
    while (state := state_of(reader)) and state["data"] == state["read"]:
        if end is not None and time.monotonic() > end:
            raise TimeoutError(f"nothing has changed in the files of the reader in {timeout:g} s")
        time.sleep(every)
    _read_again(reader)
    return pipeline.steps_of(reader)


def state_of(source: Any) -> dict[str, Any] | None:
    """Return the state of a source, or None.

    Returns:
        ``data``, which changes with the data; for a reader also ``read``, which was ``data`` when
        it last read its files; ``text``, for a view; ``progress``, the part of ``text`` for the
        status bar; ``is_running``; and ``error``.
    """
    source.UpdatePropertyInformation()
    text = source.GetPropertyValue("DataState")
    return json.loads(text) if text else None


def _sources() -> list[Any]:
    return [s for s in simple.GetSources().values() if s.SMProxy.GetXMLName() in _NAMES]


def _read_again(source: Any) -> None:
    """Let a source read what there is now."""
    source.SMProxy.InvokeCommand("ReadAgain")
    source.UpdatePipelineInformation()
    simple.GetAnimationScene().UpdateAnimationUsingDataTimeSteps()
    source.UpdatePipeline()


def _update_views(source: Any, known_steps: int) -> None:
    """Update the views of a source, or build them where a sampling has its first samples.

    Args:
        source: the source.
        known_steps: number of its steps that were shown before.
    """
    profile = _profile_of(source)
    if profile is None:
        views.show_landscape(pipeline.build(source))
    elif (found := pipeline.find_pipeline(profile)) is not None:
        for proxy in (found.profile, found.descriptors):
            proxy.UpdatePipeline()
        steps = pipeline.steps_of(source)
        views.update_views(found, new_steps=steps[known_steps:])
    interaction.attach()


def _profile_of(source: Any) -> Any:
    followers = (p for p in pipeline.all_profiles() if pipeline.comes_from(p, source))
    return next(followers, None)


def _interactor() -> Any:
    """Return the interactor of a view, which has a timer in the GUI."""
    found = (versions.interactor(view) for view in simple.GetRenderViews())
    return next((each for each in found if each is not None), None)
