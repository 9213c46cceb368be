"""Stage 4: the basins of a merge tree, drawn in the plane."""

from tlp_core.profile.layout import (
    Basins,
    CriticalPoints,
    Profile,
    landscape_profile,
    position_places,
)

__all__ = ["Basins", "CriticalPoints", "Profile", "landscape_profile", "position_places"]
