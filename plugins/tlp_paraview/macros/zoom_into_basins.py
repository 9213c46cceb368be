"""Macro that moves the camera of a profile to its selected basins, or back to the whole profile."""

from tlp_paraview import zoom

zoom.zoom_into_basins()
