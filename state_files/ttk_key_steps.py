"""The profiles of the steps of a training that TTK's temporal reduction of its trees keeps.

    pvpython ttk_key_steps.py [STATE.pvsm]

The script builds the pipeline of ttk_key_steps.pvsm; with an argument, it saves the state there. It
needs TTK's plugin.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, ttk_views, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="Training",
    Problem="file",
    ProblemFile="two_moons.py",
    Checkpoints=["moons_training"],
    Normalization="layer",
    Distance=2.0,
    Resolution=21,
)
built = pipeline.build(source, threshold=0.01)
ttk_views.show_key_steps(built, threshold=0.01)

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
