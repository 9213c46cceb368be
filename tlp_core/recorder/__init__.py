"""Landscapes of a network while it trains, recorded from the training loop.

:class:`LandscapeRecorder` serves any loop; :mod:`~tlp_core.recorder.hugging_face` and
:mod:`~tlp_core.recorder.lightning` hold callbacks for these trainers.
"""

from tlp_core.recorder.recorder import LandscapeRecorder

__all__ = ["LandscapeRecorder"]
