"""Marks on the representations that the suite makes, so that it recognises them later.

A mark is an annotation of the proxy of a representation. ParaView saves it in state files. A
representation that a user adds has no mark, so the suite does not change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

from paraview import servermanager

_KEY = "TLPRole"
_CAMERA = "TLPFittedCamera"
_CONTENT = "TLPContent"
_COLORS = "TLPSharedColors"
_OWN = "none"


_HELPER = "helper of a view"


class Role(StrEnum):
    """The content of a representation."""

    BASINS = "basins"
    FAINT_BASINS = "basins that may be noise"
    OUTLINE = "outline"
    BRANCHES = "branches"
    CRITICAL_POINTS = "critical points of a profile"
    NETWORK = "the network in a profile"
    LANDSCAPE = "landscape"
    LANDSCAPE_POINTS = "critical points of a landscape, and the network"
    SELECTABLE = "samples that are visible if selected"
    COLOR_BAR = "color bar"
    TEXT = "text"
    HEADING = "heading of a landscape"
    LOSS_TITLE = "title of the loss axis"


PROFILE_PARTS = (
    Role.BASINS,
    Role.FAINT_BASINS,
    Role.OUTLINE,
    Role.BRANCHES,
    Role.CRITICAL_POINTS,
    Role.NETWORK,
)
"""Representations of a profile, which are stretched by the same factor."""


POINTS_OF_A_PROFILE = (Role.CRITICAL_POINTS, Role.NETWORK)
"""Representations whose points are moved, not stretched, because a stretch would deform discs."""


def mark(shown: Any, role: Role) -> Any:
    """Mark a representation, and return it."""
    shown.SMProxy.SetAnnotation(_KEY, str(role))
    return shown


def role_of(shown: Any) -> str | None:
    """Return the role of a representation, or of its proxy; None if the suite did not make it."""
    return getattr(shown, "SMProxy", shown).GetAnnotation(_KEY)


def mark_helper(proxy: Any) -> Any:
    """Mark a source or filter that was made for a view only, and return it."""
    proxy.SMProxy.SetAnnotation(_KEY, _HELPER)
    return proxy


def is_helper(proxy: Any) -> bool:
    """Return whether a source or filter was made for a view only."""
    return role_of(proxy) == _HELPER


def set_content(view: Any, content: str) -> None:
    """Remember what a view shows, as a text that changes whenever it must be built again."""
    view.SMProxy.SetAnnotation(_CONTENT, content)


def content_of(view: Any) -> str | None:
    """Return the text of :func:`set_content`; None if there is none."""
    return view.SMProxy.GetAnnotation(_CONTENT)


def set_shared_colors(shown: Any, span: tuple[float, float] | None) -> None:
    """Remember the range of colours that basins share with others; None if they share none."""
    shown.SMProxy.SetAnnotation(_COLORS, _OWN if span is None else " ".join(map(repr, span)))


def shared_colors(shown: Any, untold: tuple[float, float]) -> tuple[float, float] | None:
    """Return the range of :func:`set_shared_colors`; None if there is none.

    Args:
        shown: the representation of the basins.
        untold: the answer for a state of an earlier version, in which no range is remembered.
    """
    found = shown.SMProxy.GetAnnotation(_COLORS)
    if found is None:
        return untold
    return None if found == _OWN else tuple(map(float, found.split()))


def set_fitted_camera(view: Any, camera: str) -> None:
    """Remember the place to which the camera of a view was fitted."""
    view.SMProxy.SetAnnotation(_CAMERA, camera)


def fitted_camera(view: Any) -> str | None:
    """Return the text of :func:`set_fitted_camera`; None if the camera was not fitted."""
    return view.SMProxy.GetAnnotation(_CAMERA)


def visible(view: Any, *roles: Role) -> Iterator[Any]:
    """Yield the visible representations of a view that have one of the given roles."""
    for proxy in proxies_in(view):
        if is_visible(proxy) and role_of(proxy) in roles:
            yield servermanager._getPyProxy(proxy)


def proxies_in(view: Any) -> list[Any]:
    """Return the proxies of all representations of a view, as ParaView's C++ classes.

    The objects of ``paraview.simple`` take milliseconds each to make, because they visit all
    properties.
    """
    shown = view.Representations
    return [shown.GetProxy(i) for i in range(len(shown))]


def is_visible(proxy: Any) -> bool:
    """Return whether a representation is visible, from its proxy."""
    visibility = proxy.GetProperty("Visibility")
    return visibility is not None and bool(visibility.GetElement(0))
