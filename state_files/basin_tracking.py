"""The basins of a training, related by the samples that they share, beside the profile.

    pvpython basin_tracking.py [STATE.pvsm]

The script builds the pipeline of basin_tracking.pvsm; with an argument, it saves the state there.
"""

import sys

from paraview import simple
from tlp_paraview import ensemble_views, pipeline, views

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
ensemble_views.show_tracking(ensemble_views.tree_ensemble([built]), beside=built)

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
