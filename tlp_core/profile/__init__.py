"""Stage 4: the basins of a merge tree, drawn in the plane."""

from tlp_core.profile.basins import Basins, CriticalPoints
from tlp_core.profile.colors import COLOR_MAP, ORANGE, RED
from tlp_core.profile.layout import Profile, landscape_profile, position_places, width_title

__all__ = [
    "COLOR_MAP",
    "ORANGE",
    "RED",
    "Basins",
    "CriticalPoints",
    "Profile",
    "landscape_profile",
    "position_places",
    "width_title",
]
