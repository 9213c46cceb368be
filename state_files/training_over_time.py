"""A training over time: the checkpoints of two_moons.py as time steps, in the same directions.

    pvpython training_over_time.py [STATE.pvsm | ANIMATION.ogv | FRAMES.png]

The script builds the pipeline of training_over_time.pvsm; with an argument, it saves the state
or an animation there.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="Training",
    Problem="file",
    ProblemFile="two_moons.py",
    Checkpoints=["moons_training"],
    Normalization="layer",
    Distance=2.0,
    Resolution=31,
)
layout = views.show_landscape(pipeline.build(source))

if sys.argv[1:]:
    if sys.argv[1].endswith(".pvsm"):
        pipeline.save_state(sys.argv[1])
    else:
        views.save_animation(sys.argv[1], layout)
    views.close_views()
