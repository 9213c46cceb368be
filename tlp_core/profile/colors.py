"""The colours of a profile, the same in ParaView and in matplotlib."""

from __future__ import annotations

from pathlib import Path

COLOR_MAP = Path(__file__).with_name("tlp_blues.json")
"""File of the colour map of the average loss, dark blue for low, in ParaView's format."""

RED, ORANGE = (0.84, 0.10, 0.11), (0.99, 0.55, 0.0)
"""Red, green and blue of minima and of saddles, 0 to 1."""
