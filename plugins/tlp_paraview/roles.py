"""Marks on the representations that the suite makes, so that it recognises them later.

A mark is an annotation of the proxy of a representation. ParaView saves it in state files. A
representation that a user adds has no mark, so the suite does not change it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any

_KEY = "TLPRole"


class Role(StrEnum):
    """The content of a representation."""

    BASINS = "basins"
    OUTLINE = "outline"
    BRANCHES = "branches"
    CRITICAL_POINTS = "critical points of a profile"
    LANDSCAPE = "landscape"
    COLOR_BAR = "color bar"
    TEXT = "text"
    LOSS_TITLE = "title of the loss axis"


PROFILE_PARTS = (Role.BASINS, Role.OUTLINE, Role.BRANCHES, Role.CRITICAL_POINTS)
"""Representations of a profile, which are stretched by the same factor."""


def mark(shown: Any, role: Role) -> Any:
    """Mark a representation, and return it."""
    shown.SMProxy.SetAnnotation(_KEY, str(role))
    return shown


def role_of(shown: Any) -> str | None:
    """Return the role of a representation; None if the suite did not make it."""
    return shown.SMProxy.GetAnnotation(_KEY)


def visible(view: Any, *roles: Role) -> Iterator[Any]:
    """Yield the visible representations of a view that have one of the given roles."""
    for shown in view.Representations:
        if role_of(shown) in roles and shown.Visibility:
            yield shown
