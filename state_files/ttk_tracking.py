"""The basins of a training, related by shared samples, and TTK's tracking of their minima.

    pvpython ttk_tracking.py [STATE.pvsm]

The script builds the pipeline of ttk_tracking.pvsm; with an argument, it saves the state there. It
needs TTK's plugin.
"""

import sys

from paraview import simple
from tlp_paraview import ensemble_views, pipeline, ttk_views, views

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
built = pipeline.build(source, threshold=0.01, use_ttk=False)
ensemble_views.show_tracking(ensemble_views.tree_ensemble([built]))
ttk_views.show_tracks(built, threshold=0.01)

if sys.argv[1:]:
    pipeline.save_state(sys.argv[1])
    views.close_views()
