"""Your own model: the landscape of the classifier in two_moons.py, a file like your own.

    pvpython your_model.py [STATE.pvsm]

The script builds the pipeline of your_model.pvsm; with an argument, it saves the state there.
"""

import sys

from paraview import simple
from tlp_paraview import pipeline, views

pipeline.load_plugin()
source = simple.TLPLossLandscape(
    registrationName="Your model",
    Problem="file",
    ProblemFile="two_moons.py",
    Checkpoint="moons_training/step_320.pt",
    Normalization="layer",
    Distance=2.0,
    Resolution=31,
)
views.show_landscape(pipeline.build(source))

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
